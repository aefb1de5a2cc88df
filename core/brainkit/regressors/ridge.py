"""Ridge regression in the space of trials: one Gram matrix for every feature and every penalty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brainkit.errors import DataError
from brainkit.options import option
from brainkit.regressors.checks import as_tensor, check_betas, check_means, check_new, check_trials
from brainkit.regressors.gram import Gram, centred_targets, slices
from brainkit.regressors.penalty import best_alpha, rank, spectrum
from brainkit.regressors.scaling import statistics

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.regressors.checks import Array

TRIALS_AT_A_TIME = 256


@dataclass(frozen=True)
class Ridge:
    """Linear regression with an L2 penalty and an intercept, solved without a weight matrix.

    With centred betas X (trials, voxels) and centred targets Y, new betas x are predicted as

        x Xᵀ (X Xᵀ + alpha I)⁻¹ Y + mean(Y),

    the same numbers as the weights (Xᵀ X + alpha I)⁻¹ Xᵀ Y give, without ever forming them. X Xᵀ
    (or Xᵀ X with fewer voxels than trials) serves every feature and every penalty, a penalty costs
    one Cholesky factorisation, and Y is read in blocks of columns, so a feature may stay on disk.
    Factorisations are float64, products with targets float32, or float64 if the betas are.

    `alpha="cv"` takes the penalty with the least squared leave-one-out error over all targets of
    the feature, out of 17 half decades around the mean eigenvalue. `scaling` restores the spread
    that the penalty takes: per target, predictions are standardised and given the mean and
    standard deviation (ddof 0) of the training targets. "train" standardises with the statistics
    of exact leave-one-out predictions of the training trials; "test-batch" with those of the very
    batch being predicted, as Brain-Diffuser's released code, which makes rows depend on each other.
    Leaving one trial out supposes that no two training trials show the same image.

    The part offers `brainkit.regressors.Sharing`: the factor is {gram float64, packed; voxel_mean
    float64 (varying voxels,); voxel_varies bool (voxels,); trials int64 (1,)} and, for "cv" only,
    {eigenvectors (trials, rank), eigenvalues float64 (rank,)}.

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
        holds = "gram, spectrum" if self.alpha == "cv" else "gram"
        return f"{self.name}(intercept={self.intercept}, factor={holds!r})"

    def fit(self, betas: Array, feature: Array) -> dict[str, Tensor]:
        """Return the weights of one feature, with the factor and a copy of the training betas.

        Args:
            betas: float32 or float64 (trials, voxels).
            feature: float16 to float64 (trials, *shape), contiguous; may be mapped from disk.

        Raises:
            DataError: sizes differ, a value is not finite, or `alpha` 0 has no unique answer.
        """
        betas, feature = as_tensor(betas), as_tensor(feature)
        check_trials(betas, feature)
        factor = self.factorise(betas)
        weights = self.fit_shared(betas, feature, factor)
        return {**weights, **factor, "train_betas": _as_real(betas).clone().contiguous()}

    def predict(self, weights: Mapping[str, Tensor], betas: Array, feature: Array) -> Tensor:
        """Predict (trials, *shape), in the dtype of the training betas, for new betas.

        Args:
            weights: what `fit` gave.
            betas: (trials, voxels), scaled like the training betas.
            feature: the training feature again, (training trials, *shape).
        """
        betas, feature = as_tensor(betas), as_tensor(feature)
        return self.predict_shared(weights, betas, feature, weights, weights["train_betas"])

    def factorise(self, betas: Array) -> dict[str, Tensor]:
        """Return the Gram matrix of betas (trials, voxels) and, for "cv", its spectrum.

        Raises:
            DataError: fewer than two trials, or values that are not finite.
        """
        betas = as_tensor(betas)
        check_betas(betas)
        betas = _as_real(betas)
        gram = Gram.of(betas, self.intercept)
        return gram.tensors() | (spectrum(gram, betas) if self.alpha == "cv" else {})

    def fit_shared(
        self, betas: Array, feature: Array, factor: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return {alpha float64 (1,), target_mean} and what `scaling` needs of training targets.

        That is target_std and, for "train", predicted_mean and predicted_std; all (targets,),
        targets being the feature's shape laid out flat.
        """
        import torch

        betas, feature = as_tensor(betas), as_tensor(feature)
        check_trials(betas, feature)
        _check_factor(factor, betas)
        betas = _as_real(betas)
        weights = {"target_mean": _target_means(feature, betas, self.block)}
        centre = weights["target_mean"] * self.intercept
        if self.alpha == "cv":
            alpha = best_alpha(factor, feature, centre, self.intercept, self.block)
        else:
            alpha = float(self.alpha)
        gram = Gram.opened(factor, self.intercept)
        _check_alpha(alpha, gram)
        weights["alpha"] = torch.tensor([alpha], dtype=torch.float64)
        if self.scaling == "train":
            weights |= _left_out_moments(gram, betas, feature, centre, alpha, self.block)
        if self.scaling != "none":
            weights["target_std"] = _target_stds(feature, weights["target_mean"], self.block)
        return weights

    def predict_shared(
        self,
        weights: Mapping[str, Tensor],
        betas: Array,
        feature: Array,
        factor: Mapping[str, Tensor],
        train_betas: Array,
    ) -> Tensor:
        """Predict like `predict`; the factor is what `factorise` gave for `train_betas`.

        Raises:
            DataError: sizes differ, a value is not finite, or "test-batch" met a single trial.
        """
        import torch

        betas, feature, train_betas = as_tensor(betas), as_tensor(feature), as_tensor(train_betas)
        check_trials(train_betas, feature)
        _check_factor(factor, train_betas)
        together = "scaling=test-batch; scaling=train" if self.scaling == "test-batch" else None
        check_new(betas, tuple(train_betas.shape), together)
        mean = weights["target_mean"]
        gram = Gram.opened(factor, self.intercept)
        operator = gram.operator(betas.to(mean), train_betas, float(weights["alpha"]))
        centre = mean * self.intercept
        predicted = operator.new_empty(betas.shape[0], mean.shape[0])
        for cut, targets in centred_targets(feature, centre, operator, self.block):
            raw = torch.addmm(centre[cut], operator, targets)
            predicted[:, cut] = self._scaled(raw, weights, cut)
        return predicted.reshape(betas.shape[0], *feature.shape[1:])

    def importance(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return {weight} float32 (voxels,), from weights formed a block of targets at a time.

        The weights are those before `scaling`. Targets that never vary count as 0.

        Args:
            weights: what `fit` gave, or `fit_shared` with `factor`.
            betas: the training betas, (trials, voxels).
            feature: the training feature, (trials, *shape).
            factor: what `factorise` gave for these betas.
        """
        check_trials(betas, feature)
        factor = weights if factor is None else factor
        _check_factor(factor, betas)
        betas = _as_real(betas)
        gram = Gram.opened(factor, self.intercept)
        weigh = gram.weigher(betas, float(weights["alpha"]))
        means = weights["target_mean"]
        total = means.new_zeros(betas.shape[1]).double()
        for cut, targets in centred_targets(feature, means, means, self.block):
            std = targets.square().mean(0).sqrt()
            if not self.intercept:
                targets += means[cut]
            gain = std.reciprocal().where(std > 0, 0.0)
            total[gram.kept] += weigh(targets).abs_() @ gain.double()
        return {"weight": (total * statistics(betas)[1] / len(means)).float()}

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


def _target_means(feature: Tensor, like: Tensor, block: int) -> Tensor:
    mean = like.new_empty(feature[0].numel())
    flat = feature.reshape(feature.shape[0], -1)
    # From the first trial on, so that centring a constant target leaves exactly nothing.
    for cut, targets in centred_targets(feature, None, like, block):
        mean[cut] = flat[0, cut].to(like) + targets.mean(0)
    check_means(mean)
    return mean


def _target_stds(feature: Tensor, mean: Tensor, block: int) -> Tensor:
    import torch

    std = torch.empty_like(mean)
    for cut, targets in centred_targets(feature, mean, mean, block):
        std[cut] = targets.square_().mean(0).sqrt()
    return std


def _left_out_moments(
    gram: Gram, betas: Tensor, feature: Tensor, centre: Tensor, alpha: float, block: int
) -> dict[str, Tensor]:
    """Mean and spread, per target, of each training trial's prediction by all the others.

    With the hat matrix H, trial i left out is missed by (y_i - (H y)_i) / (1 - H_ii), so the
    left-out predictions are P y with a P (trials, trials) that all targets share. Their spread is
    the length of R y, where Q R = P - mean of P's rows: half of R is zero, which halves the work.
    """
    import torch

    left_out = gram.residual(betas, alpha)
    freedom = left_out.diagonal().clone()
    if not bool((freedom > gram.trials * torch.finfo(freedom.dtype).eps).all()):
        raise DataError(
            f"alpha {alpha:g} fits a training trial exactly, so its left-out prediction is "
            "undefined; raise alpha or set scaling=none"
        )
    left_out.div_(-freedom[:, None]).diagonal().add_(1)
    row = left_out.mean(0)
    root = torch.linalg.qr(left_out.sub_(row).to(betas.dtype), mode="r").R
    del left_out
    mean, squared = torch.empty_like(centre), torch.zeros_like(centre)
    for cut, targets in centred_targets(feature, centre, betas, block):
        mean[cut] = row.to(betas.dtype) @ targets + centre[cut]
        for rows in slices(gram.trials, TRIALS_AT_A_TIME):
            squared[cut] += (root[rows, rows.start :] @ targets[rows.start :]).square_().sum(0)
    return {"predicted_mean": mean, "predicted_std": (squared / gram.trials).sqrt()}


def _as_real(betas: Tensor) -> Tensor:
    import torch

    return betas if betas.dtype == torch.float64 else betas.to(torch.float32)


def _check_factor(factor: Mapping[str, Tensor], betas: Tensor) -> None:
    made_for = (int(factor["trials"]), len(factor["voxel_varies"]))
    if made_for != tuple(betas.shape):
        raise DataError(
            f"the factor was made from betas {made_for} and is used with {tuple(betas.shape)}; "
            "factorise the betas again"
        )


def _check_alpha(alpha: float, gram: Gram) -> None:
    if alpha == 0 and (found := rank(gram)) < len(gram.mean):
        raise DataError(
            f"alpha 0 has no unique answer: the betas vary in {found} directions for "
            f"{len(gram.mean)} voxels that vary; give alpha above 0"
        )
