"""Ridge regression whose penalty each unit of a feature chooses on contiguous folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit.errors import UsageError
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
from brainkit.regressors.units import contiguous, without

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.regressors.checks import Array


@dataclass(frozen=True)
class FoldRidge:
    """Ridge with a penalty for each unit, chosen by squared error on contiguous folds.

    Betas are z-scored with the statistics (ddof 0) of all training trials. Each fold of
    neighbouring trials is predicted from the others with every penalty; a unit takes the penalty
    of least mean squared error, averaged over folds, and is fitted again on all trials. A fold
    costs one eigendecomposition for all penalties and units, of Xᵀ X or of X Xᵀ, whichever is
    smaller; all in float64.

    With `intercept` the means of the trials fitted on are taken out and given back. Without, units
    are used as they are, so predictions average 0 over the training trials and the mean of a
    feature is lost, as in the code released for Takagi & Nishimoto (2023).

    Source: Takagi & Nishimoto 2023, CVPR; spectral form: Hastie, Tibshirani & Friedman, 3.4.1.
    """

    name = "fold-ridge"
    alphas: tuple[float, ...] = option(
        (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), "penalties above 0 each unit chooses from"
    )
    folds: int = option(5, "folds of neighbouring training trials", ge=2)
    intercept: bool = option(True, "learn the units' means; off as released")
    block: int = option(1024, "units read at a time; memory only", ge=1)

    def fit(self, betas: Array, feature: Array) -> dict[str, Tensor]:
        """Return weight (voxels, units), offset (units,), alpha, fold_error, voxel_mean, voxel_std.

        weight and offset, of z-scored betas, are float32 or float64 as the betas; alpha float64
        (units,) are the chosen penalties and fold_error float64 (alphas, units) their mean squared
        errors; voxel_mean and voxel_std are float64 (voxels,).

        Args:
            betas: float32 or float64 (trials, voxels).
            feature: float16 to float64 (trials, *shape); may be mapped from disk.

        Raises:
            DataError: sizes differ, a value is not finite, or there are fewer trials than folds.
            UsageError: an option is outside its limits.
        """
        import torch

        betas, feature = as_tensor(betas), as_tensor(feature)
        self._check(betas, feature)
        mean, std = statistics(betas)
        scaled = standardised(betas, mean, std)
        flat = feature.reshape(len(feature), -1)
        errors = self._errors(scaled, flat)
        # The first of equals: a constant unit has the same error with each.
        alpha = scaled.new_tensor(self.alphas)[errors.argmin(0)]
        spectrum = Spectrum.of(scaled, self.intercept)
        kept = torch.float64 if betas.dtype == torch.float64 else torch.float32
        weight = torch.empty(betas.shape[1], flat.shape[1], dtype=kept, device=betas.device)
        offset = weight.new_zeros(flat.shape[1])
        for cut in slices(flat.shape[1], self.block):
            targets = flat[:, cut].to(scaled)
            weight[:, cut] = spectrum.carried @ spectrum.shrunken(targets, alpha[cut])
            if self.intercept:
                offset[cut] = targets.mean(0)
        return {
            "weight": weight,
            "offset": offset,
            "alpha": alpha,
            "fold_error": errors,
            "voxel_mean": mean,
            "voxel_std": std,
        }

    def predict(self, weights: Mapping[str, Tensor], betas: Array, feature: Array) -> Tensor:
        """Predict (trials, *shape), in the dtype of the weights, for new betas.

        Args:
            weights: what `fit` gave.
            betas: (trials, voxels), scaled like the training betas.
            feature: the training feature again, (training trials, *shape).
        """
        betas, feature = as_tensor(betas), as_tensor(feature)
        check_new(betas, tuple(weights["voxel_mean"].shape))
        scaled = standardised(betas, weights["voxel_mean"], weights["voxel_std"])
        predicted = scaled.to(weights["weight"]) @ weights["weight"] + weights["offset"]
        return predicted.reshape(len(betas), *feature.shape[1:])

    def importance(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return {weight} float32 (voxels,); a unit constant in the training trials counts as 0."""
        flat, weight = feature.reshape(len(feature), -1), weights["weight"]
        total = weights["voxel_mean"].new_zeros(len(weight))
        for cut in slices(flat.shape[1], self.block):
            _, std = statistics(flat[:, cut].to(total))
            total += weight[:, cut].abs().double() @ std.reciprocal().where(std > 0, 0.0)
        return {"weight": (total / flat.shape[1]).float()}

    def _errors(self, scaled: Tensor, flat: Tensor) -> Tensor:
        """Return the mean squared error of every penalty and unit, (alphas, units)."""
        errors = scaled.new_zeros(len(self.alphas), flat.shape[1])
        for fold in contiguous(len(scaled), self.folds):
            rows = without(scaled, fold)
            spectrum = Spectrum.of(rows, self.intercept)
            held = (scaled[fold] - spectrum.mean) @ spectrum.carried
            for cut in slices(flat.shape[1], self.block):
                targets = flat[:, cut].to(scaled)
                known = without(targets, fold)
                true = targets[fold] - known.mean(0) * self.intercept
                read = spectrum.read(known)
                for place, alpha in enumerate(self.alphas):
                    guessed = (held / (spectrum.values + alpha)) @ read
                    errors[place, cut] += (guessed - true).square_().mean(0)
        return errors.div_(self.folds)

    def _check(self, betas: Tensor, feature: Tensor) -> None:
        check_options(self)
        _check_alphas(self.alphas)
        check_betas(betas)
        check_trials(betas, feature)
        check_folds(len(betas), self.folds, least=1)
        flat = feature.reshape(len(feature), -1)
        for cut in slices(flat.shape[1], self.block):
            check_means(flat[:, cut].double().mean(0))


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors that serve ridge with any penalty: carried (read Y) / (values + alpha) = W.

    Attributes:
        rows: X, float64 (trials, voxels), centred with an intercept.
        mean: float64 (voxels,), taken out of X; zeros without intercept.
        axes: (voxels, rank) of Xᵀ X or (trials, rank) of X Xᵀ, whichever is smaller.
        values: float64 (rank,), the eigenvalues above rounding.
        carried: (voxels, rank), from eigenvectors to voxels.
    """

    rows: Tensor
    mean: Tensor
    axes: Tensor
    values: Tensor
    carried: Tensor

    @classmethod
    def of(cls, rows: Tensor, intercept: bool) -> Spectrum:
        """Decompose rows float64 (trials, voxels)."""
        import torch

        mean = rows.mean(0) * intercept
        rows = rows - mean
        trials, voxels = rows.shape
        by_voxels = voxels <= trials
        values, axes = torch.linalg.eigh(rows.T @ rows if by_voxels else rows @ rows.T)
        above = values > values[-1].clamp(min=0) * max(trials, voxels) * torch.finfo(rows.dtype).eps
        values, axes = values[above], axes[:, above]
        return cls(rows, mean, axes, values, axes if by_voxels else rows.T @ axes)

    def read(self, targets: Tensor) -> Tensor:
        """Return what the eigenvectors see of targets (trials, any), (rank, any)."""
        if len(self.mean) <= len(self.rows):
            return self.axes.T @ (self.rows.T @ targets)
        return self.axes.T @ targets

    def shrunken(self, targets: Tensor, alpha: Tensor) -> Tensor:
        """Return read(targets) / (values + alpha) with a penalty for each target."""
        return self.read(targets) / (self.values[:, None] + alpha)


def _check_alphas(alphas: Sequence[float]) -> None:
    if not alphas or not all(0 < each < float("inf") for each in alphas):
        raise UsageError(
            f"fold-ridge.alphas is {tuple(alphas)!r}: give one or more penalties above 0"
        )
