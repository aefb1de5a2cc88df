"""Ridge regression on a choice of voxels for each target, out of one matrix of products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit.errors import DataError
from brainkit.regressors.gram import slices
from brainkit.regressors.scaling import standardised

if TYPE_CHECKING:
    from torch import Tensor

TRIALS_AT_A_TIME = 1024
PANEL = 1024
LEAST_VARIANCE = 1e-8
# Bytes of the systems solved together. A processor works them off one by one and wants them to
# stay in its caches; an accelerator solves them at once.
TOGETHER = {"cpu": 2**25, "cuda": 2**30}


@dataclass(frozen=True)
class Products:
    """[X 1]ᵀ [X 1] of standardised betas X, from which each target takes rows and columns.

    Attributes:
        matrix: float64 (voxels + 1, voxels + 1), symmetric; the constant is last.
        betas: (trials, voxels), of any scale.
        mean: float64 (voxels,), subtracted from the betas.
        std: float64 (voxels,), by which they are divided; 0 makes a voxel 0.
    """

    matrix: Tensor
    betas: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, betas: Tensor, mean: Tensor, std: Tensor) -> Products:
        """Compute the matrix; float64 however the betas are stored, in panels of its triangle."""
        trials, voxels = betas.shape
        made = cls(mean.new_zeros(voxels + 1, voxels + 1), betas, mean, std)
        panels = list(slices(voxels + 1, PANEL))
        for rows in slices(trials, TRIALS_AT_A_TIME):
            block = made.rows(rows)
            for panel in panels:
                made.matrix[panel, : panel.stop].addmm_(block[:, panel].T, block[:, : panel.stop])
        for panel in panels:
            made.matrix[: panel.start, panel] = made.matrix[panel, : panel.start].T
        return made

    def rows(self, cut: slice) -> Tensor:
        """Return rows of [X 1], float64 (rows, voxels + 1)."""
        betas = self.betas[cut]
        block = self.mean.new_ones(len(betas), len(self.matrix))
        block[:, :-1] = standardised(betas, self.mean, self.std)
        return block

    def crossed(self, targets: Tensor) -> Tensor:
        """Return targetsᵀ [X 1], float64 (targets, voxels + 1); targets float64 (trials, any)."""
        made = targets.new_zeros(targets.shape[1], len(self.matrix))
        voxels, total = made[:, :-1], targets.sum(0)
        for rows in slices(len(targets), TRIALS_AT_A_TIME):
            voxels.addmm_(targets[rows].T, self.betas[rows].to(targets))
        # Standardised afterwards, which is quicker than the betas: yᵀ (X - m) / s.
        voxels.addcmul_(total[:, None], self.mean, value=-1)
        voxels.mul_(self.std.reciprocal().where(self.std > 0, 0.0))
        made[:, -1] = total
        return made

    def chosen(self, crossed: Tensor, count: int) -> Tensor:
        """Return the voxels of largest |Pearson r| with each target, ascending int64 (any, count).

        A target's own spread divides all of its correlations alike, so it is left out. A voxel of
        variance below 1e-8 counts as uncorrelated.
        """
        trials = len(self.betas)
        mean = self.matrix[-1, :-1] / trials
        variance = self.matrix.diagonal()[:-1] / trials - mean.square()
        gain = variance.rsqrt().where(variance >= LEAST_VARIANCE, 0.0)
        strength = crossed[:, :-1].addcmul(crossed[:, -1:], -mean).mul_(gain).abs_()
        return strength.topk(count, dim=1, sorted=False).indices.sort(dim=1).values

    def solved(self, crossed: Tensor, chosen: Tensor, alpha: float) -> Tensor:
        """Return the weights, float64 (any, count + 1), of each target's voxels and the constant.

            (Aᵀ A + alpha I) w = Aᵀ y,  A = [X_chosen 1]

        Raises:
            DataError: alpha is too small for these betas.
        """
        import torch

        if chosen.shape[1] == len(self.matrix) - 1:
            # Every voxel is chosen, so all targets have one system.
            alike = _cholesky_solved(self.matrix.clone()[None], crossed.T[None], alpha)
            return alike[0].T
        last = chosen.new_full((len(chosen), 1), len(self.matrix) - 1)
        places = torch.cat([chosen, last], dim=1)
        right = crossed.gather(1, places)
        side = places.shape[1]
        together = max(1, TOGETHER.get(crossed.device.type, 2**25) // (8 * side * side))
        held = crossed.new_empty(min(together, len(places)), side, side)
        found = held.new_empty(held.shape, dtype=torch.int64)
        for cut in slices(len(places), together):
            mine, n = places[cut], len(places[cut])
            flat = torch.add((mine * len(self.matrix))[:, :, None], mine[:, None], out=found[:n])
            torch.index_select(self.matrix.view(-1), 0, flat.view(-1), out=held[:n].view(-1))
            right[cut] = _cholesky_solved(held[:n], right[cut, :, None], alpha)[:, :, 0]
        return right


def _cholesky_solved(systems: Tensor, right: Tensor, alpha: float) -> Tensor:
    """Solve (systems + alpha I) x = right, (batch, side, any), overwriting the systems."""
    import torch

    # Transposes of row-major matrices, as LAPACK wants them: no routine copies them then.
    roots = systems.mT
    roots.diagonal(dim1=1, dim2=2).add_(alpha)
    size = roots.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
    failed = torch.empty(len(roots), dtype=torch.int32, device=roots.device)
    torch.linalg.cholesky_ex(roots, out=(roots, failed))
    pivots = roots.diagonal(dim1=1, dim2=2).square()
    noise = roots.shape[1] * torch.finfo(roots.dtype).eps * size
    if bool(failed.any()) or bool((pivots <= noise).any()):
        raise DataError(
            f"alpha {alpha:g} is below the rounding of these betas, whose chosen voxels repeat "
            "one another; raise alpha"
        )
    half = torch.linalg.solve_triangular(roots, right, upper=False)
    solved: Tensor = torch.linalg.solve_triangular(roots.mT, half, upper=True)
    return solved
