"""Trials and features to weights, weights to predictions; the one way to call a regressor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from brainkit.console import bar, human_size
from brainkit.errors import UsageError
from brainkit.parts import FitJournal, Mappable, Progress, Regressor, Sharing, resuming_fit
from brainkit.regressors.mean import Mean, training_mean, training_spread
from brainkit.run.artefact import Artefact, Recipe, write_tensors
from brainkit.run.journal import FileFitJournal
from brainkit.run.returned import feature_shape, learned, predictions
from brainkit.run.shared import Run
from brainkit.run.sources import N_NULLS
from brainkit.run.step import confirm, one
from brainkit.seeds import seed_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Regression:
    """A regressor with what it shares and where it computes, so that all call it alike.

    Attributes:
        part: the regressor.
        device: where the betas of one that trains for long lie; those of others lie on the CPU.
        factor: what it learned from the training betas alone; None unless it is `Sharing`.
    """

    part: Regressor
    device: str
    factor: Artefact | None = None

    def fit(
        self,
        betas: Tensor,
        feature: Tensor,
        journal: FitJournal | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """Learn from betas float32 (trials, voxels) and a feature (trials, *shape).

        Args:
            betas: of the training trials.
            feature: a row for each of them; may be mapped from disk.
            journal: where a regressor that trains for long keeps how far it is.
            progress: called by such a regressor after every step.

        Returns:
            Flat weights for safetensors.
        """
        if self.factor and isinstance(self.part, Sharing):
            return self.part.fit_shared(betas, feature, self.factor.tensors())
        if resuming_fit(self.part):
            there = betas.to(self.device)
            return self.part.fit(there, feature, journal=journal, progress=progress)
        return self.part.fit(betas, feature)

    def predict(
        self, weights: Mapping[str, Tensor], new: Tensor, feature: Tensor, betas: Tensor
    ) -> Tensor:
        """Predict float32 (new trials, *shape).

        Args:
            weights: what `fit` returned.
            new: betas of the trials to predict, float32 (new trials, voxels).
            feature: the training feature.
            betas: the training betas.
        """
        if self.factor and isinstance(self.part, Sharing):
            factor = self.factor.tensors()
            return self.part.predict_shared(weights, new, feature, factor, betas)
        there = new.to(self.device) if resuming_fit(self.part) else new
        return self.part.predict(weights, there, feature)

    def importance(
        self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor
    ) -> dict[str, Tensor]:
        """Return each voxel's importance for a feature, see `Mappable`; arguments as of `predict`.

        Raises:
            UsageError: the regressor offers no map.
        """
        if not isinstance(self.part, Mappable):
            raise UsageError(
                f"regressor {self.part.name!r} offers no map; run with --use regressor=ridge"
            )
        factor = self.factor.tensors() if self.factor else None
        return self.part.importance(weights, betas, feature, factor)


def regression(run: Run, feature: str, trials: Artefact) -> Regression:
    """Return how a feature is predicted; the factor it shares is made unless it is current."""
    part = run.method.regressors[feature]
    factor = shared_factor(run, feature, part, trials) if isinstance(part, Sharing) else None
    return Regression(part, run.store.device, factor)


def fit(run: Run, feature: str, trials: Artefact, features: Artefact) -> Artefact:
    """Fit the regressor of one feature."""
    address, regressor = f"regressor.{feature}", regression(run, feature, trials)
    inputs = {"trials": trials.stamp, f"features/{feature}": features.stamp}
    step, extra = f"weights/{feature}", _voxels(run, feature)
    recipe = run.recipe(step, address, inputs=inputs, extra=extra)
    weights = Artefact(run.folder.weights(feature, recipe.stamp), recipe)

    def make(artefact: Artefact) -> None:
        betas, rows = training(run, feature, trials, features)
        journal = FileFitJournal(artefact)
        with (
            _watched(regressor, f"fitting {feature}") as progress,
            run.blame(address, f"fitting {feature}"),
        ):
            fitted = regressor.fit(betas, rows, journal, progress)
        tensors = learned(run, address, fitted, "fit")
        write_tensors(artefact.path, tensors, artefact.recipe)
        journal.finish()

    return one(run, weights, make)


def predict(
    run: Run, feature: str, trials: Artefact, features: Artefact, weights: Artefact
) -> Artefact:
    """Predict one feature of the test images, float16 (images, *shape)."""
    address, regressor = f"regressor.{feature}", regression(run, feature, trials)
    recipe = run.recipe(f"decoded/{feature}", address, inputs={"weights": weights.stamp})
    decoded = Artefact(run.folder.decoded(feature, recipe.stamp), recipe)

    def make(artefact: Artefact) -> None:
        import torch

        betas, rows = training(run, feature, trials, features)
        new = test_betas(run, feature, trials)
        with run.blame(address, f"predicting {feature}"), torch.no_grad():
            predicted = regressor.predict(weights.tensors(), new, rows, betas)
        shape = (len(new), *rows.shape[1:])
        decoded_rows = predictions(run, feature, predicted, shape)
        write_tensors(artefact.path, {"decoded": decoded_rows.half().cpu()}, artefact.recipe)

    n_numbers = len(run.image_ids[1]) * prod(feature_shape(run, feature))
    return one(run, decoded, make, size=human_size(2 * n_numbers))


def mean(run: Run, feature: str, trials: Artefact, features: Artefact) -> Artefact:
    """Average one feature over the training trials: what a brain that says nothing predicts.

    The file holds the mean once for each reconstruction that is made of it.
    """
    recipe = Recipe(
        f"mean/{feature}",
        (repr(Mean()), f"rows={N_NULLS}"),
        (run.version("regressor", Mean()),),
        inputs={"trials": trials.stamp, f"features/{feature}": features.stamp},
    )

    def make(artefact: Artefact) -> None:
        _, rows = training(run, feature, trials, features)
        row = training_mean(rows).half()
        write_tensors(artefact.path, {"decoded": row.repeat(N_NULLS, *[1] * row.ndim)}, recipe)

    return one(run, Artefact(run.folder.mean(feature, recipe.stamp), recipe), make)


def noise(
    run: Run, feature: str, trials: Artefact, features: Artefact, decoded: Artefact
) -> Artefact:
    """Draw noise in place of one feature's predictions, float16 (images, *shape).

    Each number is Gaussian with mean and standard deviation of the training trials, and seeded by
    the image. Units that are not predicted stay NaN.
    """
    recipe = Recipe(
        f"noise/{feature}",
        (f"seed={run.config.seed}",),
        (run.version("regressor", Mean()),),
        inputs={
            "trials": trials.stamp,
            f"features/{feature}": features.stamp,
            f"decoded/{feature}": decoded.stamp,
        },
    )

    def make(artefact: Artefact) -> None:
        _, rows = training(run, feature, trials, features)
        drawn = _drawn(run, feature, training_mean(rows), training_spread(rows))
        drawn[:, decoded.test()[0].isnan()] = float("nan")
        write_tensors(artefact.path, {"decoded": drawn}, recipe)

    return one(run, Artefact(run.folder.noise(feature, recipe.stamp), recipe), make)


def _drawn(run: Run, feature: str, mean: Tensor, spread: Tensor) -> Tensor:
    """Draw a row for each test image, float16 (images, *shape)."""
    import torch

    ids, generator = run.image_ids[1].tolist(), torch.Generator()
    drawn = torch.empty(len(ids), *mean.shape, dtype=torch.float16)
    for row, image in enumerate(ids):
        generator.manual_seed(seed_of(run.config.seed, image, "noise", feature))
        drawn[row] = mean + spread * torch.randn(mean.shape, generator=generator)
    return drawn


@contextmanager
def _watched(regressor: Regression, doing: str) -> Iterator[Progress | None]:
    """Show a bar while a regressor trains for long; others are done before one could read it."""
    if resuming_fit(regressor.part):
        with bar(doing, 1, "steps") as shown:
            yield shown.of
    else:
        yield None


def _voxels(run: Run, feature: str) -> str:
    """Describe for recipes which voxels a feature is predicted from, if not from all."""
    roi = run.method.selection.roi_of(feature)
    return f"voxels={roi}" if roi else ""


def shared_factor(run: Run, feature: str, part: Sharing, trials: Artefact) -> Artefact:
    """Do the work on the betas that all features of equal voxels share, unless it is done."""
    address = f"regressor.{feature}"
    recipe = Recipe(
        "factor",
        tuple(filter(None, (part.shares, _voxels(run, feature)))),
        (run.version(address, part),),
        inputs={"trials": trials.stamp},
    )
    factor = Artefact(run.folder.factor(recipe.stamp), recipe)
    run.work.reached.add(factor.path)
    # Told once, by the first feature that needs it.
    if factor.current:
        confirm(run.work, factor)
        return factor
    if run.work.dry and recipe.step in run.work.computed:
        return factor

    def make(artefact: Artefact) -> None:
        with run.blame(address, "factorising the betas"):
            factors = part.factorise(training_betas(run, feature, trials))
        write_tensors(artefact.path, learned(run, address, factors, "factorise"), recipe)

    return one(run, factor, make, size=human_size(8 * run.plan.rows.n_train**2))


def feature_voxels(run: Run, feature: str, trials: Artefact) -> Tensor | None:
    """Return which columns of the betas a feature is predicted from, int64; None means all."""
    import torch

    if not run.method.selection.roi_of(feature):
        return None
    return torch.from_numpy(run.columns(feature, trials["voxel_xyz"].numpy()))


def training_betas(run: Run, feature: str, trials: Artefact) -> Tensor:
    """Return a feature's training betas, float32 (trials, voxels)."""
    return _of_feature(run, feature, trials, trials["train_betas"])


def test_betas(run: Run, feature: str, trials: Artefact) -> Tensor:
    """Return one row of a feature's test betas an image, float32 (images, voxels), ids ascending.

    Single trials are averaged, since one image gets one reconstruction.
    """
    import torch

    ids = trials["test_image_ids"]
    betas = _of_feature(run, feature, trials, trials["test_betas"])
    unique, rows, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    if len(unique) == len(ids):
        return betas
    summed = torch.zeros(len(unique), betas.shape[1]).index_add_(0, rows, betas)
    averaged: Tensor = summed / counts[:, None]
    return averaged


def training(run: Run, feature: str, trials: Artefact, features: Artefact) -> tuple[Tensor, Tensor]:
    """Return a feature's training betas, float32 (trials, voxels), and its rows, (trials, *shape).

    The feature stays mapped from disk where every trial is another image's.
    """
    import torch

    ids, encoded = trials["train_image_ids"], features["train"]
    rows = torch.searchsorted(torch.unique(ids), ids)
    same = len(rows) == len(encoded) and bool((rows == torch.arange(len(rows))).all())
    return training_betas(run, feature, trials), encoded if same else encoded[rows]


def _of_feature(run: Run, feature: str, trials: Artefact, betas: Tensor) -> Tensor:
    columns = feature_voxels(run, feature, trials)
    return betas if columns is None else betas[:, columns]
