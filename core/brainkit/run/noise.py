"""How much of a predicted feature is noise of the test responses, by the voxels' ncsnr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brainkit.parts import rowwise
from brainkit.run.artefact import Artefact
from brainkit.run.regress import feature_voxels, regression, test_betas, training
from brainkit.run.shared import Predictions, Run
from brainkit.seeds import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

N_DRAWS: Final = 100
"""Test images at most whose responses are given more noise."""
AFFINE: Final = 1e-3
"""How far the predictions of twice the noise may be from twice the change, as a share of it."""


def predicted_noise(run: Run, known: Predictions, feature: str) -> float | str:
    """Return the variance of a prediction by noise, or why it is not estimated.

    Summed over the numbers of the feature, mean over the chosen images. For scores only: no
    prediction changes.
    """
    import torch

    trials = known.trials
    if not rowwise(run.method.regressors[feature]):
        return "not estimated: predictions depend on other test responses"
    if "ncsnr" not in trials:
        return "not estimated: the folder of betas has no ncsnr.nii.gz"
    columns = feature_voxels(run, feature, trials)
    ncsnr = trials["ncsnr"] if columns is None else trials["ncsnr"][columns]
    if not bool(ncsnr.isfinite().all()):
        return f"not estimated: {int((~ncsnr.isfinite()).sum())} voxels have no ncsnr"
    betas, rows = training(run, feature, trials, known.features[feature])
    spread = noise_spread(betas, trials["train_repeats"], ncsnr)
    regressor, weights = regression(run, feature, trials), known.weights[feature].tensors()

    def predict(new: Tensor) -> Tensor:
        with run.blame(f"regressor.{feature}", f"predicting {feature}"), torch.no_grad():
            return regressor.predict(weights, new, rows, betas)

    chosen = run.test_rows(run.chosen)
    some = test_betas(run, feature, trials)[chosen[:N_DRAWS]]
    seed = seed_of(run.config.seed, feature, "noise ceiling")
    of_one = noise_of_one(predict, some, spread, seed=seed)
    if of_one is None:
        return f"not estimated: {run.method.regressors[feature].name!r} is not linear in responses"
    return of_one * float((1 / _presentations(trials)[chosen]).mean())


def noise_spread(betas: Tensor, repeats: Tensor, ncsnr: Tensor) -> Tensor:
    """Return the standard deviation of a single presentation's noise in each voxel.

        Var(betas) = signal + noise * mean(1 / repeats),   signal = ncsnr**2 * noise

    Args:
        betas: float32 (trials, voxels).
        repeats: int32 (trials,), presentations averaged into each row.
        ncsnr: float32 (voxels,).
    """
    share = (1 / repeats.double()).mean().float()
    return (betas.var(dim=0) / (ncsnr.square() + share)).sqrt()


def noise_of_one(
    predict: Callable[[Tensor], Tensor], betas: Tensor, spread: Tensor, *, seed: int
) -> float | None:
    """Return the variance that a single presentation's noise makes in a prediction.

    Noise is drawn for each row and added to it and taken from it; what a regressor that is linear
    makes of both lies opposite, at equal distances from what it makes of neither.

    Args:
        predict: from betas (trials, voxels) to a feature (trials, *shape).
        betas: float32 (trials, voxels).
        spread: float32 (voxels,), see `noise_spread`.
        seed: of the draws.

    Returns:
        the variance summed over the feature's numbers; None if it is not linear.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(betas.shape, generator=generator) * spread
    three = predict(torch.cat([betas, betas + noise, betas - noise]))
    same, more, less = three.detach().cpu().double().flatten(1).nan_to_num().chunk(3)
    change, bent = (more - less) / 2, (more + less) / 2 - same
    size = float(change.square().sum())
    if float(bent.square().sum()) > AFFINE**2 * size:
        return None
    return size / len(betas)


def _presentations(trials: Artefact) -> Tensor:
    """Return the presentations behind each test image's response, float64 (images,)."""
    import torch

    ids, repeats = trials["test_image_ids"], trials["test_repeats"]
    unique, rows = torch.unique(ids, return_inverse=True)
    return torch.zeros(len(unique), dtype=torch.float64).index_add_(0, rows, repeats.double())
