"""Regressors: parts that learn to predict a feature from voxels.

A regressor has `fit` and `predict` (`brainkit.parts.Regressor`). One whose costly work depends on
the betas alone may offer `Sharing` besides: the runner then does that work once for all features.
One that can tell which voxels it reads a feature from may offer `Mappable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from brainkit.regressors.fold_ridge import FoldRidge
from brainkit.regressors.ridge import Ridge
from brainkit.regressors.voxel_selected import VoxelSelectedRidge

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FoldRidge", "Mappable", "Ridge", "Sharing", "VoxelSelectedRidge"]


@runtime_checkable
class Sharing(Protocol):
    """A regressor whose work on the betas is shared by all features; optional.

    `isinstance(part, Sharing)` tells the runner to write the factor as one artefact, to call the
    two `_shared` methods with it, and to keep the training betas out of the weights. `fit` and
    `predict` of the same part have to give the same predictions without it.
    """

    @property
    def shares(self) -> str:
        """Text that is equal for two parts exactly when they can use one factor."""
        ...

    def factorise(self, betas: Tensor) -> dict[str, Tensor]:
        """Learn what depends on the betas, float32 (trials, voxels), alone."""
        ...

    def fit_shared(
        self, betas: Tensor, feature: Tensor, factor: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Learn like `fit`, given the factor of the same betas."""
        ...

    def predict_shared(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor],
        train_betas: Tensor,
    ) -> Tensor:
        """Predict like `predict`, given the factor and the betas it was made from."""
        ...


@runtime_checkable
class Mappable(Protocol):
    """A regressor that can tell how much each voxel bears on its predictions; optional.

    `isinstance(part, Mappable)` tells `brainkit map` that it may ask.
    """

    def importance(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Give each voxel's importance for a feature.

        Args:
            weights: what `fit` gave, or `fit_shared` of a regressor that offers `Sharing`.
            betas: the training betas, float32 (trials, voxels).
            feature: the training feature, (trials, *shape); may be mapped from disk.
            factor: what `factorise` gave for these betas, with the weights of `fit_shared`.

        Returns:
            "weight" float32 (voxels,), the mean over units of |weight| where betas and units are
            z-scored over the training trials; and, of regressors that select voxels, "selected"
            float32 (voxels,), the share of units in [0, 1] that use the voxel. Units without
            prediction do not count; a voxel that no unit uses is 0.
        """
        ...
