"""How gradients become steps: averaged over processes, cleaned, scaled in half precision.

Source: Karras et al. 2020, arXiv 1912.04958 (optimisers corrected for lazy regularisation, running
average of weights); Micikevicius et al. 2018, arXiv 1710.03740 (loss scaling).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator

    from brainkit_mindreader.train.recipe import Recipe

LARGEST = 1e5
EPSILON = 1e-8
FIRST_SCALE, LARGEST_SCALE = 2.0**16, 2.0**24
GROW_AFTER = 2000


class Scale:
    """The factor on losses that keeps small gradients of half precision from vanishing.

    It doubles after many steps without overflow and halves at each overflow, whose step is left
    out. Outside half precision it is 1, and what is not finite is replaced instead.
    """

    def __init__(self, *, half: bool) -> None:
        self.half = half
        self.factor = FIRST_SCALE if half else 1.0
        self.whole = 0

    def admits(self, gradients: Tensor) -> bool:
        """Say whether a step may follow these scaled gradients, and adapt the factor."""
        if not self.half:
            return True
        if not bool(torch.isfinite(gradients).all()):
            self.factor, self.whole = max(1.0, self.factor / 2), 0
            return False
        self.whole += 1
        if self.whole >= GROW_AFTER:
            self.factor, self.whole = min(LARGEST_SCALE, self.factor * 2), 0
        return True


def make_adam(net: nn.Module, rate: float, recipe: Recipe, every: int) -> torch.optim.Adam:
    """Make Adam for a network that is regularised every so many steps by a step of its own.

    Args:
        net: whose condition branches learn `recipe.faster` times as fast.
        rate: learning rate.
        recipe: gives the other numbers.
        every: steps between regularisations; 0 for none.
    """
    share = every / (every + 1) if every else 1.0
    betas = (recipe.betas[0] ** share, recipe.betas[1] ** share)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        quick = any(part.startswith("pre_") for part in name.split("."))
        groups.setdefault(recipe.faster if quick else 1.0, []).append(parameter)
    tables = [
        {"params": parameters, "lr": rate * share * factor, "own_rate": rate * share * factor}
        for factor, parameters in sorted(groups.items())
    ]
    return torch.optim.Adam(tables, lr=rate * share, betas=betas, eps=EPSILON)


def apply_gradients(
    adam: torch.optim.Adam, net: nn.Module, scale: Scale, accelerator: Accelerator
) -> None:
    """Average a network's gradients over processes, take one step along them and clear them."""
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    flat = over_processes(torch.cat([each.flatten() for each in gradients]), accelerator)
    factor = scale.factor
    if scale.admits(flat):
        flat = (flat / factor).nan_to_num(nan=0.0, posinf=LARGEST, neginf=-LARGEST)
        parts = torch.split(flat, [each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        adam.step()
    adam.zero_grad(set_to_none=True)


def over_processes(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the mean of a tensor over all processes."""
    if accelerator.num_processes == 1:
        return tensor
    mean: Tensor = accelerator.reduce(tensor, "mean")
    return mean


@torch.no_grad()
def make_alike(net: nn.Module, accelerator: Accelerator) -> None:
    """Bring the main process's weights and buffers to every process."""
    if accelerator.num_processes == 1:
        return
    from accelerate.utils import broadcast

    for tensor in net.state_dict().values():
        tensor.copy_(broadcast(tensor.clone()))


@torch.no_grad()
def follow(averaged: nn.Module, net: nn.Module, keep: float) -> None:
    """Keep a share of a running average and take the rest from the network; buffers are copied."""
    mine = dict(net.named_parameters())
    for name, parameter in averaged.named_parameters():
        parameter.lerp_(mine[name], 1 - keep)
    buffers = dict(net.named_buffers())
    for name, tensor in averaged.named_buffers():
        tensor.copy_(buffers[name])
