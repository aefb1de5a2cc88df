"""Ridge regression in which each unit of a feature reads the voxels that correlate with it most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brainkit.errors import DataError
from brainkit.options import option
from brainkit.regressors.checks import (
    as_tensor,
    check_betas,
    check_folds,
    check_means,
    check_new,
    check_options,
    check_trials,
)
from brainkit.regressors.gram import slices
from brainkit.regressors.scaling import standardised, statistics
from brainkit.regressors.selection import LEAST_VARIANCE, Products
from brainkit.regressors.units import best_units, unit_scores

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.regressors.checks import Array

HELD_OUT = 5
COUNTS = 7
COUNTED_ON = 512


@dataclass(frozen=True)
class VoxelSelectedRidge:
    """Ridge on each unit's most correlated voxels, as in FastL2LiR.

    A unit takes the `voxels` voxels of largest |Pearson r| with it over the training trials and
    solves, with A = [X_chosen 1], the ridge regression

        (Aᵀ A + alpha I) w = Aᵀ y.

    Betas and units are z-scored with training statistics (ddof 0) and predictions brought back, so
    the constant, which the penalty takes too, comes out as 0. Voxels of variance below 1e-8 count
    as uncorrelated. The number of voxels, not the tiny alpha, is what regularises: "cv" chooses it
    for a feature out of all, 1/2, 1/4, … 1/64 of the voxels, by the squared error on the last fifth
    of the training trials over up to 512 units. Rows and columns of one matrix Xᵀ X make all
    systems, solved in batches, in float64.

    With `units` below 1 only the best predicted share of units is learned, ranked by the mean
    |Pearson r| of plain ridge over five contiguous folds of the training trials; the rest is
    predicted as NaN. `standardise="transductive"` z-scores new betas with their own statistics, as
    MindDiffuser's released code, which makes rows depend on each other.

    Source: FastL2LiR (Kamitani laboratory); Lu et al. 2023, MindDiffuser.
    """

    name = "voxel-selected-ridge"
    voxels: int | Literal["cv"] = option(
        500, "voxels a unit reads, at most those there are, or cv: chosen on training trials", ge=1
    )
    alpha: float = option(0.15, "penalty on the squared weights and the constant", ge=0)
    standardise: Literal["train", "transductive"] = option(
        "train", "whose statistics z-score new betas: training trials' or their own"
    )
    units: float = option(1.0, "share of units learned, the best predicted in folds", gt=0, le=1)
    block: int = option(512, "units learned at a time; memory only", ge=1)

    @property
    def rowwise(self) -> bool:
        """Whether a trial's prediction is independent of the other trials predicted with it."""
        return self.standardise == "train"

    def fit(self, betas: Array, feature: Array) -> dict[str, Tensor]:
        """Return the weights of the units that are learned, each unit's voxels ascending.

        {unit int32 (learned,), voxel int32 (learned, chosen), weight (learned, chosen),
        target_mean and target_std (learned,), voxel_mean and voxel_std float64 (voxels,)}; weights
        are of z-scored betas and units, float32 or float64 as the betas.

        Args:
            betas: float32 or float64 (trials, voxels).
            feature: float16 to float64 (trials, *shape); may be mapped from disk.

        Raises:
            DataError: sizes differ, a value is not finite, no voxel varies, there are too few
                trials for folds, or alpha is too small for voxels that repeat one another.
            UsageError: an option is outside its limits.
        """
        import torch

        betas, feature = as_tensor(betas), as_tensor(feature)
        check_options(self)
        check_betas(betas)
        check_trials(betas, feature)
        flat = feature.reshape(len(feature), -1)
        units = torch.arange(flat.shape[1], device=flat.device)
        if self.units < 1:
            units = best_units(unit_scores(betas, feature, self.block), self.units).to(units)
        count = best_count(betas, flat[:, _spread(units)], self) if self.voxels == "cv" else 0
        count = min(count or int(self.voxels), betas.shape[1])
        mean, std = statistics(betas, LEAST_VARIANCE)
        _check_variance(std)
        parts = list(self._learned(Products.of(betas, mean, std), flat, units, count))
        joined = {name: torch.cat([each[name] for each in parts]) for name in parts[0]}
        return {"unit": units.int().to(mean.device), "voxel_mean": mean, "voxel_std": std} | joined

    def _learned(
        self, products: Products, flat: Tensor, units: Tensor, count: int
    ) -> Iterator[dict[str, Tensor]]:
        import torch

        kept = torch.float64 if products.betas.dtype == torch.float64 else torch.float32
        for cut in slices(len(units), self.block):
            targets, mean, std = standard_targets(flat, units[cut], products.mean)
            crossed = products.crossed(targets)
            chosen = products.chosen(crossed, count)
            # The constant is 0 but for rounding, as nothing standardised has a mean.
            weight = products.solved(crossed, chosen, self.alpha)[:, :-1]
            found = {"weight": weight, "target_mean": mean, "target_std": std}
            made = {name: each.to(kept).contiguous() for name, each in found.items()}
            yield {"voxel": chosen.int()} | made

    def predict(self, weights: Mapping[str, Tensor], betas: Array, feature: Array) -> Tensor:
        """Predict (trials, *shape), in the dtype of the weights; units not learned are NaN.

        Args:
            weights: what `fit` gave.
            betas: (trials, voxels), scaled like the training betas.
            feature: the training feature again, (training trials, *shape).

        Raises:
            DataError: sizes differ, a value is not finite, or "transductive" met a single trial.
        """
        betas, feature = as_tensor(betas), as_tensor(feature)
        mean, std = weights["voxel_mean"], weights["voxel_std"]
        together = None if self.rowwise else "standardise=transductive; standardise=train"
        check_new(betas, tuple(mean.shape), together)
        if not self.rowwise:
            varies = std > 0
            mean, std = statistics(betas, LEAST_VARIANCE)
            std = std * varies
        weight = weights["weight"]
        scaled = standardised(betas, mean, std).to(weight)
        predicted = weight.new_full((len(betas), feature[0].numel()), float("nan"))
        dense = weight.new_empty(min(self.block, len(weight)), len(mean))
        for cut in slices(len(weight), self.block):
            every = dense[: len(weight[cut])].zero_()
            every.scatter_(1, weights["voxel"][cut].long(), weight[cut])
            guessed = scaled @ every.T * weights["target_std"][cut] + weights["target_mean"][cut]
            predicted[:, weights["unit"][cut].long()] = guessed
        return predicted.reshape(len(betas), *feature.shape[1:])

    def importance(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return {weight, selected} float32 (voxels,) over the units learned.

        A unit that is constant in the training trials uses no voxel.
        """
        size = weights["weight"].abs().double().flatten()
        place = weights["voxel"].long().flatten()
        total = size.new_zeros(len(weights["voxel_mean"]))
        learned = len(weights["unit"])
        share = total.index_add(0, place, (size > 0).to(size)) / learned
        return {
            "weight": (total.index_add(0, place, size) / learned).float(),
            "selected": share.float(),
        }


def best_count(betas: Tensor, targets: Tensor, part: VoxelSelectedRidge) -> int:
    """Return the number of voxels with the least squared error on the last fifth of the trials.

    Args:
        betas: (trials, voxels) of the training trials.
        targets: (trials, units) of the same.
        part: whose alpha and block are used.

    Raises:
        DataError: fewer trials than fifths with two trials.
    """
    import torch

    check_folds(len(betas), HELD_OUT, least=2)
    begun = len(betas) - len(betas) // HELD_OUT
    mean, std = statistics(betas[:begun], LEAST_VARIANCE)
    _check_variance(std)
    products = Products.of(betas[:begun], mean, std)
    held = standardised(betas[begun:], mean, std)
    counts = sorted({max(1, betas.shape[1] >> half) for half in range(COUNTS)})
    errors = torch.zeros(len(counts), dtype=torch.float64)
    for cut in slices(targets.shape[1], part.block):
        known, centre, spread = standard_targets(targets[:begun], cut, mean)
        true = standardised(targets[begun:, cut].to(mean), centre, spread)
        crossed = products.crossed(known)
        for place, count in enumerate(counts):
            chosen = products.chosen(crossed, count)
            weight = products.solved(crossed, chosen, part.alpha)[:, :-1]
            dense = weight.new_zeros(len(weight), len(mean)).scatter_(1, chosen, weight)
            errors[place] += float((held @ dense.T - true).square().sum())
    return counts[int(errors.argmin())]


def standard_targets(
    flat: Tensor, columns: Tensor | slice, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns z-scored (trials, any), with their mean and standard deviation (any,).

    Args:
        flat: (trials, units) of any dtype.
        columns: which of them.
        like: a tensor of the dtype and on the device wanted.

    Raises:
        DataError: a value is not finite.
    """
    targets = flat[:, columns].to(like)
    mean, std = statistics(targets)
    check_means(mean)
    return standardised(targets, mean, std), mean, std


def _spread(units: Tensor) -> Tensor:
    """Return up to 512 of the units, evenly spread."""
    step = -(-len(units) // COUNTED_ON)
    return units[::step]


def _check_variance(std: Tensor) -> None:
    if not bool((std > 0).any()):
        raise DataError(
            f"none of the {len(std)} voxels has a variance of {LEAST_VARIANCE:g} or more over the "
            "training trials; give betas in percent signal change or z-scored"
        )
