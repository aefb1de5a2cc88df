"""Standardise betas voxel by voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainkit.regressors.gram import AT_A_TIME, slices

if TYPE_CHECKING:
    from torch import Tensor


def statistics(betas: Tensor, least: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (ddof 0) of each voxel, float64 (voxels,).

    Args:
        betas: (trials, voxels).
        least: a voxel of smaller variance, or equal in all trials, gets the deviation 0.
    """
    import torch

    mean = torch.empty(betas.shape[1], dtype=torch.float64, device=betas.device)
    std = torch.empty_like(mean)
    for cut in slices(betas.shape[1], AT_A_TIME):
        block = betas[:, cut].double()
        varies = (block != block[:1]).any(0)
        mean[cut] = block.mean(0)
        std[cut] = block.std(0, correction=0) * varies
    return mean, std.where(std.square() >= least, 0.0)


def standardised(betas: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return betas z-scored, in the dtype of mean and std; 0 where the deviation is 0."""
    return (betas.to(mean) - mean) * std.reciprocal().where(std > 0, 0.0)
