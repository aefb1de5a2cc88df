"""The penalty of ridge regression with the least leave-one-out error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from brainkit.regressors.gram import AT_A_TIME, Gram, centred_targets, slices

if TYPE_CHECKING:
    from torch import Tensor


def spectrum(gram: Gram, betas: Tensor) -> dict[str, Tensor]:
    """Return {eigenvectors (trials, rank), eigenvalues float64 (rank,)} of X Xᵀ.

    Args:
        gram: the matrix of these betas.
        betas: (trials, voxels), which decide the dtype of the eigenvectors.
    """
    import torch

    values, axes = torch.linalg.eigh(gram.full())
    above = values > rounding(gram, values)
    values, axes = values[above], axes[:, above]
    if gram.of_trials:
        return {"eigenvectors": axes.to(betas.dtype).contiguous(), "eigenvalues": values}
    betas = gram.chosen(betas)
    vectors = betas.new_empty(gram.trials, len(values))
    for cut in slices(gram.trials, AT_A_TIME):
        vectors[cut] = ((betas[cut] - gram.mean) @ axes / values.sqrt()).to(betas.dtype)
    return {"eigenvectors": vectors, "eigenvalues": values}


def rank(gram: Gram) -> int:
    """Return the number of directions in which the betas vary."""
    import torch

    values = torch.linalg.eigvalsh(gram.full())
    return int((values > rounding(gram, values)).sum())


def rounding(gram: Gram, values: Tensor) -> float:
    """Return the size below which an eigenvalue, ascending float64 (side,), is rounding noise."""
    import torch

    if not len(values):
        return 0.0
    most = max(gram.trials, len(gram.mean))
    return max(float(values[-1]), 0.0) * most * torch.finfo(values.dtype).eps


def best_alpha(
    factor: Mapping[str, Tensor], feature: Tensor, centre: Tensor, intercept: bool, block: int
) -> float:
    """Return the penalty with the least squared leave-one-out error over trials and targets.

    Residuals are split along the eigenvectors, where they shrink by alpha / (s + alpha), and the
    rest, which no penalty changes; only the targets' own products C = Y Yᵀ are needed. Trial i
    left out has its residual divided by 1 - H_ii.

    Args:
        factor: has what `spectrum` gives.
        feature: (trials, *shape).
        centre: (targets,), the mean of each target, or zeros without intercept.
        intercept: whether the mean was learned too.
        block: targets at a time.
    """
    import torch

    basis, values = factor["eigenvectors"], factor["eigenvalues"]
    if values.numel() == 0:
        return 1.0
    products = basis.new_zeros(basis.shape[0], basis.shape[0])
    for _, targets in centred_targets(feature, centre, basis, block):
        products.addmm_(targets, targets.T)
    inside = basis.T @ products
    within = inside @ basis
    crossed, rest = torch.zeros_like(inside), torch.zeros_like(basis[:, 0])
    if not _complete(basis, intercept):
        crossed = inside - within @ basis.T
        outside = products.diagonal() - 2 * (basis * inside.T).sum(1)
        rest = outside + ((basis @ within) * basis).sum(1)
    errors = []
    grid = penalties(values)
    for alpha in grid:
        left = (alpha / (values + alpha)).to(basis.dtype)
        shrunken = basis * left
        squared = ((shrunken @ within) * shrunken).sum(1) + 2 * (shrunken * crossed.T).sum(1)
        freedom = _freedom(basis, left, intercept)
        errors.append(((squared + rest) / freedom.square()).sum())
    return grid[int(torch.stack(errors).argmin())]


def penalties(eigenvalues: Tensor) -> list[float]:
    """Return the penalties that `alpha="cv"` compares: mean eigenvalue times 1e-4 to 1e4."""
    mean = float(eigenvalues.mean())
    return [mean * 10.0 ** (step / 2) for step in range(-8, 9)]


def _freedom(basis: Tensor, left: Tensor, intercept: bool) -> Tensor:
    """Return 1 - H_ii per trial, from what each eigenvector leaves, without subtracting from 1."""
    freedom = basis.square() @ left
    if _complete(basis, intercept):
        return freedom
    return freedom + (1 - intercept / len(basis) - basis.square().sum(1)).clamp(min=0)


def _complete(basis: Tensor, intercept: bool) -> bool:
    # Nothing but rounding noise is then left of centred targets outside the eigenvectors.
    return basis.shape[1] >= basis.shape[0] - intercept
