"""A regressor for brainkit that predicts the mean of the training feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit import hookimpl, option
from brainkit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.parts import Regressor


@dataclass(frozen=True)
class Mean:
    """The mean of the training feature, whatever the brain did."""

    name = "shrunken-mean"
    shrink: float = option(0.0, "fraction by which the mean is pulled towards zero", ge=0, le=1)

    def fit(self, betas: Tensor, feature: Tensor) -> dict[str, Tensor]:
        """Return {"mean": float32 (targets,), "voxels": int64 (1,)}.

        Args:
            betas: float32 (trials, voxels).
            feature: (trials, *shape), float16 when it comes from disk.
        """
        import torch

        if len(betas) != len(feature):
            raise DataError(
                f"the betas have {len(betas)} trials and the feature {len(feature)}; "
                "give both for the same trials"
            )
        mean = feature.flatten(1).mean(0, dtype=torch.float32)
        return {"mean": mean * (1 - self.shrink), "voxels": torch.tensor([betas.shape[1]])}

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Return the same float32 row for every trial, (trials, *shape)."""
        voxels = int(weights["voxels"])
        if betas.shape[1] != voxels:
            raise DataError(
                f"the new betas have {betas.shape[1]} voxels and the training betas {voxels}; "
                "give both for the same voxels"
            )
        return weights["mean"].repeat(len(betas), 1).reshape(len(betas), *feature.shape[1:])


@hookimpl
def register_regressors(register: Callable[[Regressor], None]) -> None:
    """Register the one part of this plugin."""
    register(Mean())
