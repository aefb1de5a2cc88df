"""The state of a training as tensors by name, in safetensors files that are whole or absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from brainkit.disk import written_aside

SCALARS = ("step",)
"""What an optimiser keeps of a parameter beside moments of the parameter's shape."""


def moments(
    optimiser: torch.optim.Optimizer, prefix: str, *, separator: str = "."
) -> dict[str, Tensor]:
    """Return what an optimiser has gathered, named PREFIX, parameter's number, separator, moment.

    The tensors are the optimiser's own, not copies. Learning rates are not among them.
    """
    return {
        f"{prefix}{number}{separator}{name}": tensor
        for number, gathered in optimiser.state_dict()["state"].items()
        for name, tensor in gathered.items()
    }


def take_moments(
    optimiser: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    prefix: str,
    *,
    separator: str = ".",
) -> None:
    """Put copies of what `moments` returned under the same prefix into an optimiser.

    Raises:
        IndexError: there is a moment of a parameter that the optimiser does not have.
        RuntimeError: a moment has another shape than its parameter.
    """
    parameters = [each for group in optimiser.param_groups for each in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in under(tensors, prefix).items():
        number, _, name = key.partition(separator)
        if name in SCALARS:
            restored = tensor.clone()
        else:
            # Fused steps walk through memory, so a moment has to lie there as its parameter does,
            # while a file knows one order only.
            restored = torch.empty_like(parameters[int(number)]).copy_(tensor)
        state.setdefault(int(number), {})[name] = restored
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, which is cut off."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def write_state(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write tensors with facts in the header; the file is whole or absent, its folder is made."""
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_aside(path) as aside:
        save_file(own, aside, dict(facts))
        aside.chmod(0o644)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_state` wrote: tensors on the CPU, and the facts.

    Raises:
        SafetensorError: the file is no safetensors file.
        OSError: it cannot be read.
    """
    with safe_open(path, framework="pt") as file:
        facts: dict[str, str] = file.metadata() or {}
        return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
