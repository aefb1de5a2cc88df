"""Ridge regression in kernel form: one factorisation for every feature and every penalty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brainkit.errors import DataError
from brainkit.options import option

if TYPE_CHECKING:
    from torch import Tensor

VOXELS_AT_A_TIME = 2048


@dataclass(frozen=True)
class Ridge:
    """Linear regression with an L2 penalty and an intercept, solved in the space of trials.

    With centred betas X (trials, voxels), centred targets Y and X Xᵀ = U diag(s) Uᵀ, new betas x
    are predicted as

        x Xᵀ U diag(1 / (s + alpha)) Uᵀ Y + mean(Y),

    the same numbers as the weights (Xᵀ X + alpha I)⁻¹ Xᵀ Y give, without ever forming them. U and
    s serve every feature and every penalty, and Y is read in blocks of columns, so a feature may
    stay on disk. Arithmetic is float32, or float64 if the betas are; the factorisation is float64.

    `alpha="cv"` takes the penalty with the least squared leave-one-out error over all targets of
    the feature, out of 17 half decades around the mean eigenvalue. `scaling` restores the spread
    that the penalty takes: per target, predictions are standardised and given the mean and
    standard deviation (ddof 0) of the training targets. "train" standardises with the statistics
    of exact leave-one-out predictions of the training trials; "test-batch" with those of the very
    batch being predicted, as Brain-Diffuser's released code, which makes rows depend on each other.
    Leaving one trial out supposes that no two training trials show the same image.

    The part offers `brainkit.regressors.Sharing`: the factor is {eigenvectors (trials, rank),
    eigenvalues float64 (rank,), voxel_mean (voxels,), voxels_varying int64 (1,)}.

    Source: Hoerl & Kennard 1970; leave-one-out in closed form: Golub, Heath & Wahba 1979.
    """

    name = "ridge"
    alpha: float | Literal["cv"] = option(
        60_000.0, "penalty on the squared weights, or cv: chosen on the training trials", ge=0
    )
    scaling: Literal["none", "train", "test-batch"] = option(
        "train", "whose statistics restore the spread of the training targets"
    )
    intercept: bool = option(True, "centre betas and targets")
    block: int = option(1024, "targets read at a time; memory only", ge=1)

    @property
    def rowwise(self) -> bool:
        """Whether a trial's prediction is independent of the other trials predicted with it."""
        return self.scaling != "test-batch"

    @property
    def shares(self) -> str:
        """Text that is equal for two ridges exactly when they can use one factor."""
        return f"{self.name}(intercept={self.intercept})"

    def fit(self, betas: Tensor, feature: Tensor) -> dict[str, Tensor]:
        """Give the weights of one feature, with the factor and a copy of the training betas.

        Args:
            betas: float32 or float64 (trials, voxels).
            feature: float16 to float64 (trials, *shape), contiguous; may be mapped from disk.

        Raises:
            DataError: sizes differ, a value is not finite, or `alpha` 0 has no unique answer.
        """
        _check_trials(betas, feature)
        factor = self.factorise(betas)
        weights = self.fit_shared(betas, feature, factor)
        return {**weights, **factor, "train_betas": _as_real(betas).clone().contiguous()}

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Predict (trials, *shape), in the dtype of the training betas, for new betas.

        Args:
            weights: what `fit` gave.
            betas: (trials, voxels), scaled like the training betas.
            feature: the training feature again, (training trials, *shape).
        """
        return self.predict_shared(weights, betas, feature, weights, weights["train_betas"])

    def factorise(self, betas: Tensor) -> dict[str, Tensor]:
        """Give eigenvectors and eigenvalues of the kernel matrix of betas (trials, voxels).

        Raises:
            DataError: fewer than two trials, or values that are not finite.
        """
        import torch

        _check_betas(betas)
        betas = _as_real(betas)
        mean = torch.zeros(betas.shape[1], dtype=torch.float64, device=betas.device)
        varying = torch.zeros_like(mean)
        for cut in _slices(betas.shape[1], VOXELS_AT_A_TIME):
            voxels = betas[:, cut].double()
            varying[cut] = (voxels != voxels[:1]).any(0).double()
            if self.intercept:
                mean[cut] = voxels.mean(0)
        values, vectors = _spectrum(betas, mean)
        return {
            "eigenvectors": vectors,
            "eigenvalues": values,
            "voxel_mean": mean.to(betas.dtype),
            "voxels_varying": varying.sum().long().reshape(1),
        }

    def fit_shared(
        self, betas: Tensor, feature: Tensor, factor: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Give {alpha (1,), target_mean, target_std and, scaled, predicted_mean, predicted_std}.

        The last four are (targets,), targets being the feature's shape laid out flat.
        """
        import torch

        _check_trials(betas, feature)
        _check_factor(factor, betas)
        basis = factor["eigenvectors"]
        weights = _target_moments(feature, basis, self.block)
        centre = weights["target_mean"] * self.intercept
        if self.alpha == "cv":
            alpha = _best_alpha(factor, feature, centre, self)
        else:
            alpha = float(self.alpha)
        _check_alpha(alpha, factor)
        weights["alpha"] = torch.tensor([alpha], dtype=torch.float64)
        if self.scaling == "train":
            weights |= _left_out_moments(factor, feature, centre, alpha, self)
        return weights

    def predict_shared(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor],
        train_betas: Tensor,
    ) -> Tensor:
        """Predict like `predict`; the factor is what `factorise` gave for `train_betas`.

        Raises:
            DataError: sizes differ, a value is not finite, or "test-batch" met a single trial.
        """
        _check_trials(train_betas, feature)
        _check_factor(factor, train_betas)
        _check_new(betas, train_betas, self.scaling)
        operator = _operator(_as_real(betas), train_betas, factor, float(weights["alpha"]))
        mean = weights["target_mean"]
        centre = mean * self.intercept
        predicted = operator.new_empty(betas.shape[0], mean.shape[0])
        for cut, targets in _targets(feature, operator, self.block):
            raw = operator @ (targets - centre[cut]) + centre[cut]
            predicted[:, cut] = self._scaled(raw, weights, cut)
        return predicted.reshape(betas.shape[0], *feature.shape[1:])

    def _scaled(self, raw: Tensor, weights: Mapping[str, Tensor], cut: slice) -> Tensor:
        if self.scaling == "none":
            return raw
        if self.scaling == "train":
            mean, std = weights["predicted_mean"][cut], weights["predicted_std"][cut]
        else:
            mean, std = raw.mean(0), raw.std(0, correction=0)
        # A target that never varies, or is never predicted to, stays at its mean.
        gain = (weights["target_std"][cut] / std).where(std > 0, 0.0)
        return (raw - mean) * gain + weights["target_mean"][cut]


def _spectrum(betas: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    trials, voxels = betas.shape
    wide = trials <= voxels
    side = min(trials, voxels)
    gram = torch.zeros(side, side, dtype=torch.float64, device=betas.device)
    for cut in _slices(voxels if wide else trials, VOXELS_AT_A_TIME):
        rows = (betas[:, cut] - mean[cut]).T if wide else betas[cut] - mean
        gram.addmm_(rows.T, rows)
    values, axes = torch.linalg.eigh(gram)
    del gram
    kept = values > values[-1].clamp(min=0) * max(trials, voxels) * torch.finfo(values.dtype).eps
    values, axes = values[kept], axes[:, kept]
    if wide:
        return values, axes.to(betas.dtype).contiguous()
    vectors = betas.new_empty(trials, values.shape[0])
    for cut in _slices(trials, VOXELS_AT_A_TIME):
        vectors[cut] = ((betas[cut] - mean) @ axes / values.sqrt()).to(betas.dtype)
    return values, vectors


def _operator(
    betas: Tensor, train_betas: Tensor, factor: Mapping[str, Tensor], alpha: float
) -> Tensor:
    basis, mean = factor["eigenvectors"], factor["voxel_mean"]
    kernel = basis.new_zeros(betas.shape[0], basis.shape[0])
    for cut in _slices(mean.shape[0], VOXELS_AT_A_TIME):
        new, old = betas[:, cut].to(basis), train_betas[:, cut].to(basis)
        kernel.addmm_(new - mean[cut], (old - mean[cut]).T)
    shrunken = (kernel @ basis) / (factor["eigenvalues"] + alpha).to(basis.dtype)
    return shrunken @ basis.T


def _target_moments(feature: Tensor, like: Tensor, block: int) -> dict[str, Tensor]:
    import torch

    count = feature[0].numel()
    mean, std = like.new_empty(count), like.new_empty(count)
    for cut, targets in _targets(feature, like, block):
        # Summed in float64, so that a constant target leaves exactly nothing when centred.
        mean[cut] = targets.double().mean(0).to(like.dtype)
        std[cut] = (targets - mean[cut]).square().mean(0).sqrt()
    if not bool(torch.isfinite(mean).all()):
        bad = int((~torch.isfinite(mean)).sum())
        raise DataError(
            f"the feature has values that are not finite in {bad} of its {count} targets; "
            "encode it again"
        )
    return {"target_mean": mean, "target_std": std}


def _left_out_moments(
    factor: Mapping[str, Tensor], feature: Tensor, centre: Tensor, alpha: float, ridge: Ridge
) -> dict[str, Tensor]:
    """Mean and spread, per target, of each training trial's prediction by all the others.

    With the hat matrix H, trial i left out has the residual (y_i - (H y)_i) / (1 - H_ii).
    """
    import torch

    basis, values = factor["eigenvectors"], factor["eigenvalues"]
    left = (alpha / (values + alpha)).to(basis.dtype)
    freedom = _freedom(basis, left, ridge.intercept)
    if not bool((freedom > 0).all()):
        raise DataError(
            f"alpha {alpha:g} fits a training trial exactly, so its left-out prediction is "
            "undefined; raise alpha or set scaling=none"
        )
    residual = (basis * left) @ basis.T
    if not _complete(basis, ridge.intercept):
        residual += torch.eye(len(basis)).to(basis) - basis @ basis.T
    residual /= freedom[:, None]
    mean, std = torch.empty_like(centre), torch.empty_like(centre)
    for cut, targets in _targets(feature, basis, ridge.block):
        left_out = targets - residual @ (targets - centre[cut])
        mean[cut] = left_out.mean(0)
        std[cut] = left_out.std(0, correction=0)
    return {"predicted_mean": mean, "predicted_std": std}


def _best_alpha(
    factor: Mapping[str, Tensor], feature: Tensor, centre: Tensor, ridge: Ridge
) -> float:
    """The penalty with the least squared leave-one-out error, summed over trials and targets.

    Residuals are split along the eigenvectors, where they shrink by alpha / (s + alpha), and the
    rest, which no penalty changes; only the targets' own Gram matrix C = Y Yᵀ is needed.
    """
    import torch

    basis, values = factor["eigenvectors"], factor["eigenvalues"]
    if values.numel() == 0:
        return 1.0
    gram = basis.new_zeros(basis.shape[0], basis.shape[0])
    for cut, targets in _targets(feature, basis, ridge.block):
        centred = targets - centre[cut]
        gram.addmm_(centred, centred.T)
    inside = basis.T @ gram
    within = inside @ basis
    crossed, rest = torch.zeros_like(inside), torch.zeros_like(basis[:, 0])
    if not _complete(basis, ridge.intercept):
        crossed = inside - within @ basis.T
        rest = gram.diagonal() - 2 * (basis * inside.T).sum(1) + ((basis @ within) * basis).sum(1)
    errors = []
    grid = penalties(values)
    for alpha in grid:
        left = (alpha / (values + alpha)).to(basis.dtype)
        shrunken = basis * left
        squared = ((shrunken @ within) * shrunken).sum(1) + 2 * (shrunken * crossed.T).sum(1)
        freedom = _freedom(basis, left, ridge.intercept)
        errors.append(((squared + rest) / freedom.square()).sum())
    return grid[int(torch.stack(errors).argmin())]


def penalties(eigenvalues: Tensor) -> list[float]:
    """Give the penalties that `alpha="cv"` compares: mean eigenvalue times 1e-4 to 1e4."""
    mean = float(eigenvalues.mean())
    return [mean * 10.0 ** (step / 2) for step in range(-8, 9)]


def _freedom(basis: Tensor, left: Tensor, intercept: bool) -> Tensor:
    """Give 1 - H_ii per trial, from what each eigenvector leaves, without subtracting from 1."""
    freedom = basis.square() @ left
    if _complete(basis, intercept):
        return freedom
    return freedom + (1 - intercept / len(basis) - basis.square().sum(1)).clamp(min=0)


def _complete(basis: Tensor, intercept: bool) -> bool:
    # Nothing but rounding noise is then left of centred targets outside the eigenvectors.
    return basis.shape[1] >= basis.shape[0] - intercept


def _targets(feature: Tensor, like: Tensor, block: int) -> Iterator[tuple[slice, Tensor]]:
    flat = feature.reshape(feature.shape[0], -1)
    for cut in _slices(flat.shape[1], block):
        yield cut, flat[:, cut].to(like)


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _as_real(betas: Tensor) -> Tensor:
    import torch

    return betas if betas.dtype == torch.float64 else betas.to(torch.float32)


def _check_betas(betas: Tensor) -> None:
    if betas.ndim != 2 or betas.shape[0] < 2 or betas.shape[1] < 1:
        raise DataError(
            f"the training betas have shape {tuple(betas.shape)}; "
            "ridge needs (trials, voxels) with at least 2 trials and 1 voxel"
        )
    _check_finite(betas)


def _check_finite(betas: Tensor) -> None:
    import torch

    # The sum of finite values may overflow, so it only decides whether to look closer.
    if not bool(torch.isfinite(betas.sum())) and not bool(torch.isfinite(betas).all()):
        bad = int((~torch.isfinite(betas)).any(0).sum())
        raise DataError(
            f"the betas have values that are not finite in {bad} of {betas.shape[1]} voxels; "
            "leave those voxels out"
        )


def _check_trials(betas: Tensor, feature: Tensor) -> None:
    if betas.shape[0] != feature.shape[0]:
        raise DataError(
            f"the betas {tuple(betas.shape)} have {betas.shape[0]} trials and the feature "
            f"{tuple(feature.shape)} has {feature.shape[0]}; give both for the same trials"
        )


def _check_new(betas: Tensor, train_betas: Tensor, scaling: str) -> None:
    if betas.ndim != 2 or betas.shape[1] != train_betas.shape[1]:
        raise DataError(
            f"the new betas have shape {tuple(betas.shape)} and the training betas "
            f"{tuple(train_betas.shape)}; give both with the same voxels"
        )
    _check_finite(betas)
    if scaling == "test-batch" and betas.shape[0] == 1:
        raise DataError(
            "scaling=test-batch standardises over the predicted trials and got only 1; "
            "predict them together or set scaling=train"
        )


def _check_factor(factor: Mapping[str, Tensor], betas: Tensor) -> None:
    made_for = (factor["eigenvectors"].shape[0], factor["voxel_mean"].shape[0])
    if made_for != tuple(betas.shape):
        raise DataError(
            f"the factor was made from betas {made_for} and is used with {tuple(betas.shape)}; "
            "factorise the betas again"
        )


def _check_alpha(alpha: float, factor: Mapping[str, Tensor]) -> None:
    rank, voxels = factor["eigenvalues"].shape[0], int(factor["voxels_varying"])
    if alpha == 0 and rank < voxels:
        raise DataError(
            f"alpha 0 has no unique answer: the betas vary in {rank} directions for {voxels} "
            "voxels that vary; give alpha above 0"
        )
