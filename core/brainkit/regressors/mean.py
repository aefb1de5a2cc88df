"""Regressors that read nothing from the brain: what a method scores with them is its null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brainkit.options import option
from brainkit.regressors.checks import check_new, check_trials
from brainkit.regressors.gram import centred_targets
from brainkit.regressors.ridge import Ridge

if TYPE_CHECKING:
    from torch import Tensor

TARGETS_AT_A_TIME = 4096


def training_mean(feature: Tensor) -> Tensor:
    """Return the mean over trials of a feature, float32 (*shape); it may be mapped from disk."""
    import torch

    mean = torch.empty(feature[0].numel())
    for cut, targets in centred_targets(feature, None, mean.double(), TARGETS_AT_A_TIME):
        # From the first trial on, see `centred_targets`.
        first = feature.reshape(len(feature), -1)[0, cut].double()
        mean[cut] = (first + targets.mean(0)).float()
    return mean.reshape(feature.shape[1:])


def training_spread(feature: Tensor) -> Tensor:
    """Return the standard deviation over trials of a feature, float32 (*shape), as `training_mean`.

    It is that of the trials themselves, divided by their number.
    """
    import torch

    spread = torch.empty(feature[0].numel())
    for cut, targets in centred_targets(feature, None, spread.double(), TARGETS_AT_A_TIME):
        spread[cut] = targets.std(0, correction=0).float()
    return spread.reshape(feature.shape[1:])


@dataclass(frozen=True)
class Mean:
    """The mean of the training feature, whatever the brain did."""

    name = "mean"

    def fit(self, betas: Tensor, feature: Tensor) -> dict[str, Tensor]:
        """Return {mean} float32 (targets,) and {voxels} int64 (1,).

        Args:
            betas: (trials, voxels); only their number counts.
            feature: (trials, *shape); may be mapped from disk.
        """
        import torch

        check_trials(betas, feature)
        return {
            "mean": training_mean(feature).flatten(),
            "voxels": torch.tensor([betas.shape[1]]),
        }

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Return the same float32 row for every trial, (trials, *shape)."""
        check_new(betas, (len(feature), int(weights["voxels"])), None)
        return weights["mean"].repeat(len(betas), 1).reshape(len(betas), *feature.shape[1:])


@dataclass(frozen=True)
class Shuffled:
    """Ridge fitted to the features of other images: the trials' features are permuted.

    Its predictions have the spread and the noise of ridge's and know nothing of the stimulus.
    """

    name = "shuffled"
    alpha: float | Literal["cv"] = option(
        60_000.0, "penalty on the squared weights, or cv: chosen on the training trials", ge=0
    )
    scaling: Literal["none", "train"] = option(
        "train", "whose statistics restore the spread of the training targets"
    )
    seed: int = option(0, "of the permutation", ge=0)

    def fit(self, betas: Tensor, feature: Tensor) -> dict[str, Tensor]:
        """Return what `Ridge.fit` does for the permuted feature; arguments as there."""
        check_trials(betas, feature)
        return self._ridge.fit(betas, self._permuted(feature))

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Predict (trials, *shape) as `Ridge.predict` does."""
        return self._ridge.predict(weights, betas, self._permuted(feature))

    @property
    def shares(self) -> str:
        """What it shares with ridge: the betas are the same, whatever is predicted from them."""
        return self._ridge.shares

    def factorise(self, betas: Tensor) -> dict[str, Tensor]:
        """Return what `Ridge.factorise` does."""
        return self._ridge.factorise(betas)

    def fit_shared(
        self, betas: Tensor, feature: Tensor, factor: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return what `Ridge.fit_shared` does for the permuted feature."""
        check_trials(betas, feature)
        return self._ridge.fit_shared(betas, self._permuted(feature), factor)

    def predict_shared(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor],
        train_betas: Tensor,
    ) -> Tensor:
        """Predict as `Ridge.predict_shared` does."""
        check_trials(train_betas, feature)
        permuted = self._permuted(feature)
        return self._ridge.predict_shared(weights, betas, permuted, factor, train_betas)

    @property
    def _ridge(self) -> Ridge:
        return Ridge(alpha=self.alpha, scaling=self.scaling)

    def _permuted(self, feature: Tensor) -> Tensor:
        import numpy as np
        import torch

        order = np.random.default_rng(self.seed).permutation(len(feature))
        return feature[torch.from_numpy(order)]
