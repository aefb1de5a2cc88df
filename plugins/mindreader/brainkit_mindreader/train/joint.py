"""Training the mappers through the generator, which the paper reports to be worse than not to.

Each mapper learns from its own target and from what the discriminator makes of the picture, with
both networks of the generator's training as they are. The published program compares the first
mapper with the second one's target, which is not followed here.

Source: Lin et al. 2022, arXiv 2210.01769, and its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from brainkit_mindreader.generator.discriminator import Verdict
from brainkit_mindreader.generator.objectives import JointWeights, Terms, mapper_terms
from brainkit_mindreader.train.steps import make_alike

if TYPE_CHECKING:
    from accelerate import Accelerator

    from brainkit_mindreader.train.recipe import Recipe

EPSILON = 1e-8
WEIGHTS = JointWeights()


class Joint:
    """The mappers with their optimiser, trained along with generator and discriminator.

    Attributes:
        networks: from betas (batch, voxels) to an embedding (batch, dim), one a condition.
        adam: with the generator's rate.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        recipe: Recipe,
        accelerator: Accelerator,
        joint: JointWeights = WEIGHTS,
    ) -> None:
        self.networks = nn.ModuleList(networks).to(accelerator.device).train()
        self.networks.requires_grad_(True)
        make_alike(self.networks, accelerator)
        self.adam = torch.optim.Adam(
            [{"params": list(self.networks.parameters()), "own_rate": recipe.rate}],
            lr=recipe.rate,
            betas=recipe.betas,
            eps=EPSILON,
        )
        self.weights, self.joint = recipe.weights, joint

    def predicted(self, betas: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the embeddings as they are now, without gradients; (batch, dim) each."""
        with torch.no_grad():
            return tuple(net(each) for net, each in zip(self.networks, betas, strict=True))

    def learning(self, mapper: int, betas: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the embeddings with gradients to one of the mappers."""
        embeddings = list(self.predicted(betas))
        embeddings[mapper] = self.networks[mapper](betas[mapper])
        return tuple(embeddings)

    def terms(
        self, mapper: int, conditions: Sequence[Tensor], target: Tensor, verdict: Verdict
    ) -> Terms:
        """Return the weighted terms of one mapper's loss.

        Args:
            mapper: its number.
            conditions: with noise, of length 1.
            target: (batch, dim), what it is to predict.
            verdict: on the picture generated from the conditions.
        """
        return mapper_terms(mapper, conditions, target, verdict, self.weights, self.joint)
