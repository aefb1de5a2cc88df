"""The Gram matrix of centred betas, and the two matrices that ridge regression solves with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

# Small blocks of float64 copies of the betas; they cost memory, larger ones gain no speed.
AT_A_TIME = 256
PANEL = 256


@dataclass(frozen=True)
class Gram:
    """Products of trials, X Xᵀ, or of voxels, Xᵀ X, whichever is smaller; X is centred.

    Attributes:
        packed: float64; the lower triangle in panels of 256 rows, each up to its last row's
            diagonal, laid end to end. Half the size of the matrix.
        mean: float64 (kept,), of each voxel that varies; zeros without intercept.
        kept: bool (voxels,), which voxels vary; without intercept, which are not all zero.
        trials: their number.
        intercept: whether X is centred.
    """

    packed: Tensor
    mean: Tensor
    kept: Tensor
    trials: int
    intercept: bool

    @classmethod
    def of(cls, betas: Tensor, intercept: bool) -> Gram:
        """Compute the matrix of betas, float32 or float64 (trials, voxels)."""
        import torch

        trials, voxels = betas.shape
        mean = torch.zeros(voxels, dtype=torch.float64, device=betas.device)
        kept = torch.zeros(voxels, dtype=torch.bool, device=betas.device)
        for cut in slices(voxels, AT_A_TIME):
            block = betas[:, cut]
            kept[cut] = (block != (block[:1] if intercept else 0)).any(0)
            if intercept:
                mean[cut] = block.double().mean(0)
        empty = cls(mean.new_empty(0), mean[kept], kept, trials, intercept)
        return cls(empty._products(empty.chosen(betas)), empty.mean, kept, trials, intercept)

    @classmethod
    def opened(cls, factor: Mapping[str, Tensor], intercept: bool) -> Gram:
        """Return the matrix that `tensors` had put in a dictionary."""
        return cls(
            factor["gram"],
            factor["voxel_mean"],
            factor["voxel_varies"],
            int(factor["trials"]),
            intercept,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return {gram, voxel_mean, voxel_varies, trials int64 (1,)}, ready for safetensors."""
        import torch

        return {
            "gram": self.packed,
            "voxel_mean": self.mean,
            "voxel_varies": self.kept,
            "trials": torch.tensor([self.trials]),
        }

    @property
    def of_trials(self) -> bool:
        """Whether this is X Xᵀ; it has full rank then, but for the centre if that was taken out."""
        return len(self.mean) >= self.trials - self.intercept

    @property
    def side(self) -> int:
        """Rows of the matrix."""
        return self.trials if self.of_trials else len(self.mean)

    def chosen(self, betas: Tensor) -> Tensor:
        """Return the voxels of betas (any, voxels) that vary."""
        return betas if len(self.mean) == len(self.kept) else betas[:, self.kept]

    def full(self) -> Tensor:
        """Return the matrix, float64 (side, side), of which only the lower triangle is right."""
        # The transpose of a row-major matrix, as LAPACK wants it: no routine copies it then.
        matrix = self.packed.new_zeros(self.side, self.side).T
        for rows, place in _panels(self.side):
            matrix[rows, : rows.stop] = self.packed[place].view(-1, rows.stop)
        return matrix

    def operator(self, new: Tensor, betas: Tensor, alpha: float) -> Tensor:
        """Return the map from centred targets to predictions, (new trials, trials).

            x Xᵀ (X Xᵀ + alpha I)⁻¹  =  x (Xᵀ X + alpha I)⁻¹ Xᵀ

        Args:
            new: (new trials, voxels), in the dtype wanted.
            betas: (trials, voxels), those the matrix was made of.
            alpha: the penalty.
        """
        new, betas, mean = self.chosen(new), self.chosen(betas), self.mean.to(new)
        root = self._root(alpha)
        made = new.new_zeros(len(new), self.trials)
        if self.of_trials:
            for cut in slices(len(mean), AT_A_TIME):
                old = betas[:, cut].to(new) - mean[cut]
                made.addmm_(new[:, cut] - mean[cut], old.T)
            return _solved(root, made)
        solved = _solved(root, new - mean)
        for cut in slices(self.trials, AT_A_TIME):
            made[:, cut] = solved @ (betas[cut].to(new) - mean).T
        return made

    def weigher(self, betas: Tensor, alpha: float) -> Callable[[Tensor], Tensor]:
        """Return a function from centred targets (trials, any) to weights (kept, any), float64.

            Xᵀ (X Xᵀ + alpha I)⁻¹ Y  =  (Xᵀ X + alpha I)⁻¹ Xᵀ Y

        Args:
            betas: (trials, voxels), those the matrix was made of.
            alpha: the penalty.
        """
        root, betas = self._root(alpha), self.chosen(betas)

        def weigh(targets: Tensor) -> Tensor:
            inner = _solved(root, targets.double().T).T if self.of_trials else targets.double()
            made = inner.new_empty(len(self.mean), targets.shape[1])
            for cut in slices(len(self.mean), AT_A_TIME):
                made[cut] = (betas[:, cut].double() - self.mean[cut]).T @ inner
            return made if self.of_trials else _solved(root, made.T).T

        return weigh

    def residual(self, betas: Tensor, alpha: float) -> Tensor:
        """Return the map from centred targets to what is left of them, I - H, (trials, trials).

        H = X Xᵀ (X Xᵀ + alpha I)⁻¹, plus 1 1ᵀ / trials with an intercept. Float64.
        """
        import torch

        root = self._root(alpha)
        share = 1 / self.trials if self.intercept else 0.0
        if self.of_trials:
            matrix: Tensor = torch.cholesky_inverse(root).mul_(alpha)
            # What _root put into the empty direction, which belongs to the mean.
            matrix -= share * alpha / (self._size() + alpha)
            return matrix
        centred = self.chosen(betas).double() - self.mean
        half = torch.linalg.solve_triangular(root, centred.T, upper=False)
        matrix = half.T @ half
        matrix.neg_().diagonal().add_(1)
        return matrix.sub_(share)

    def _root(self, alpha: float) -> Tensor:
        """Return the lower Cholesky root of the matrix plus alpha I, float64, made in one place."""
        import torch

        matrix = self.full()
        if self.of_trials and self.intercept:
            # Centring leaves the direction of equal entries empty, and nothing is ever predicted
            # from it. Filled, it can neither be lost in rounding nor hide what is small.
            matrix += self._size() / self.trials
        matrix.diagonal().add_(alpha)
        size = float(matrix.diagonal().max()) if self.side else 0.0
        failed = torch.empty(0, dtype=torch.int32, device=matrix.device)
        torch.linalg.cholesky_ex(matrix, out=(matrix, failed))
        pivots = matrix.diagonal().square()
        noise = self.side * torch.finfo(matrix.dtype).eps * size
        if int(failed) or bool((pivots <= noise).any()):
            raise DataError(
                f"alpha {alpha:g} is below the rounding of these betas, whose mean eigenvalue is "
                f"{self._size():g}; raise alpha"
            )
        return matrix

    def _size(self) -> float:
        """Return the mean eigenvalue."""
        total = sum(
            float(self.packed[place].view(-1, rows.stop)[:, rows].diagonal().sum())
            for rows, place in _panels(self.side)
        )
        return total / max(self.side, 1)

    def _products(self, betas: Tensor) -> Tensor:
        length = sum(len(range(self.side)[rows]) * rows.stop for rows, _ in _panels(self.side))
        packed = self.mean.new_zeros(length)
        deep = len(self.mean) if self.of_trials else self.trials
        held = packed.new_empty(self.side, min(deep, AT_A_TIME))
        for cut in slices(deep, AT_A_TIME):
            block = held[:, : cut.stop - cut.start]
            if self.of_trials:
                block.copy_(betas[:, cut]).sub_(self.mean[cut])
            else:
                block.copy_(betas[cut].T).sub_(self.mean[:, None])
            for rows, place in _panels(self.side):
                packed[place].view(-1, rows.stop).addmm_(block[rows], block[: rows.stop].T)
        return packed


def _solved(root: Tensor, rows: Tensor) -> Tensor:
    """Return rows (root rootᵀ)⁻¹ in the dtype of rows."""
    import torch

    # Two solves by hand, as cholesky_solve copies the root.
    half = torch.linalg.solve_triangular(root, rows.double().T, upper=False)
    solved: Tensor = torch.linalg.solve_triangular(root.T, half, upper=True)
    return solved.T.to(rows)


def _panels(side: int) -> Iterator[tuple[slice, slice]]:
    """Return the rows of each panel and its place in the packed triangle."""
    start = 0
    for rows in slices(side, PANEL):
        end = start + (rows.stop - rows.start) * rows.stop
        yield rows, slice(start, end)
        start = end


def centred_targets(
    feature: Tensor, centre: Tensor | None, like: Tensor, block: int
) -> Iterator[tuple[slice, Tensor]]:
    """Return blocks of targets, (trials, block), in the dtype of `like`; each replaces the last.

    Args:
        feature: (trials, *shape); its shape laid out flat are the targets.
        centre: (targets,), subtracted; None subtracts the first trial.
        like: any tensor of the dtype and on the device wanted.
        block: targets at a time.
    """
    flat = feature.reshape(feature.shape[0], -1)
    held = like.new_empty(flat.shape[0], min(block, flat.shape[1]))
    for cut in slices(flat.shape[1], block):
        targets = held[:, : cut.stop - cut.start].copy_(flat[:, cut])
        targets -= targets[0].clone() if centre is None else centre[cut]
        yield cut, targets


def slices(count: int, size: int) -> Iterator[slice]:
    """Return consecutive slices of `size` that cover `count`; the last may be shorter."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
