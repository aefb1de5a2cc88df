"""What a mapper is trained for: embeddings near their targets and told from the batch's others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from brainkit_mindreader.mapper.contrast import contrast


@dataclass(frozen=True)
class MapperLoss:
    """A weighted sum of three terms, each a mean over the batch.

        mse       = mean (p - y)^2
        cosine    = mean 1 - cos(p, y)
        contrast  = -mean [lam log softmax_j S_ij + (1 - lam) log softmax_i S_ij] at i = j,
                    S_ij = cos(p_i, y_j) / temperature

    The weights of the released code are 0.2, 0.3 and 0.5: there, of the first two terms the cosine
    has 0.6, and of their sum and the contrastive term each a half.

    Attributes:
        mse: weight of the squared error.
        cosine: weight of the cosine distance.
        contrast: weight of the contrastive term; at a temperature of 0 it is the mean of -cos.
        temperature: of the softmax.
        lam: share of the softmax over targets, in [0, 1].

    Source: Lin et al. 2022, arXiv 2210.01769, and its released code.
    """

    mse: float = 0.2
    cosine: float = 0.3
    contrast: float = 0.5
    temperature: float = 0.5
    lam: float = 0.5

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar; terms of weight 0 are left out.

        Args:
            predicted: float (batch, dim).
            target: float (batch, dim), row i for row i.
        """
        loss = predicted.new_zeros(())
        if self.mse:
            loss = loss + self.mse * functional.mse_loss(predicted, target)
        if self.cosine:
            apart = 1 - functional.cosine_similarity(predicted, target, dim=1)
            loss = loss + self.cosine * apart.mean()
        if self.contrast:
            loss = loss - self.contrast * self._told_apart(predicted, target)
        return loss

    def _told_apart(self, predicted: Tensor, target: Tensor) -> Tensor:
        agreement = contrast(predicted, target, self.temperature, self.lam).mean()
        # `contrast` adds the temperature's logarithm as the generator's loss does.
        return agreement - math.log(self.temperature) if self.temperature > 0 else agreement
