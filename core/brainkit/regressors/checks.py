"""What regressors refuse, in one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainkit.errors import DataError
from brainkit.options import options, validated

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = Tensor | NDArray[Any]


def as_tensor(values: Array) -> Tensor:
    """Return a tensor as it is, and an array as a tensor that shares its numbers."""
    import torch

    return values if isinstance(values, torch.Tensor) else torch.as_tensor(values)


def check_betas(betas: Tensor) -> None:
    """Refuse training betas that are not finite (trials, voxels) of two trials or more."""
    if betas.ndim != 2 or betas.shape[0] < 2 or betas.shape[1] < 1:
        raise DataError(
            f"the training betas have shape {tuple(betas.shape)}; "
            "ridge needs (trials, voxels) with at least 2 trials and 1 voxel"
        )
    check_finite(betas)


def check_finite(betas: Tensor) -> None:
    """Refuse betas with values that are not finite."""
    import torch

    # The sum of finite values may overflow, so it only decides whether to look closer.
    if not bool(torch.isfinite(betas.sum())) and not bool(torch.isfinite(betas).all()):
        bad = int((~torch.isfinite(betas)).any(0).sum())
        raise DataError(
            f"the betas have values that are not finite in {bad} of {betas.shape[1]} voxels; "
            "leave those voxels out"
        )


def check_trials(betas: Tensor, feature: Tensor) -> None:
    """Refuse betas and a feature of different numbers of trials."""
    if betas.shape[0] != feature.shape[0]:
        raise DataError(
            f"the betas {tuple(betas.shape)} have {betas.shape[0]} trials and the feature "
            f"{tuple(feature.shape)} has {feature.shape[0]}; give both for the same trials"
        )


def check_new(betas: Tensor, trained: tuple[int, ...], together: str | None = None) -> None:
    """Refuse new betas with other voxels than the training betas of shape `trained`.

    Args:
        betas: the new betas.
        trained: shape of the training betas, or (voxels,).
        together: the option, "name=value; the other value", that standardises over the new trials
            and so refuses a single one.
    """
    if betas.ndim != 2 or betas.shape[1] != trained[-1]:
        raise DataError(
            f"the new betas have shape {tuple(betas.shape)} and the training betas "
            f"{_shape(trained)}; give both with the same voxels"
        )
    check_finite(betas)
    if together and betas.shape[0] == 1:
        set_to, other = together.split("; ")
        raise DataError(
            f"{set_to} standardises over the predicted trials and got only 1; "
            f"predict them together or set {other}"
        )


def check_means(means: Tensor) -> None:
    """Refuse a feature whose means, (units,), show values that are not finite."""
    import torch

    if not bool(torch.isfinite(means).all()):
        bad = int((~torch.isfinite(means)).sum())
        raise DataError(
            f"the feature has values that are not finite in {bad} of its {len(means)} targets; "
            "encode it again"
        )


def check_folds(trials: int, folds: int, least: int = 1) -> None:
    """Refuse fewer than `least` trials for each of so many folds."""
    if trials < folds * least:
        raise DataError(
            f"{trials} training trials cannot make {folds} folds, which need {folds * least} or "
            "more; give more trials"
        )


def check_options(part: object) -> None:
    """Refuse options outside their limits, of a part made in Python rather than by a run."""
    for field in options(part):
        name = getattr(part, "name", type(part).__name__)
        validated(part, field.name, getattr(part, field.name), f"{name}.{field.name}")


def _shape(trained: tuple[int, ...]) -> str:
    return str(trained) if len(trained) > 1 else f"(trials, {trained[0]})"
