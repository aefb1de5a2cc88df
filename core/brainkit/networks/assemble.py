"""A network around its weights: built without numbers, filled, checked and frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from brainkit.errors import CheckpointError, enumerated, reason

if TYPE_CHECKING:
    from brainkit.weights import Shapes

Network = TypeVar("Network", bound=nn.Module)
SLACK = 100
"""Parts of a network for each tensor of its weights, and tensors it may have more, at most."""


def assemble(make: Callable[[], Network], weights: Mapping[str, Tensor], name: str) -> Network:
    """Build a network around its weights, which it takes as they are: nothing is held twice.

    Args:
        make: builds the network; called with the meta device as default, so without numbers.
        weights: exactly the network's tensors.
        name: of the checkpoint, for errors.

    Raises:
        CheckpointError: the configuration makes no network, or a far larger one than the weights
            are of; or says which tensors are missing, too many or misshapen.
    """
    with torch.device("meta"), bounded(len(weights), name):
        network = make()
    load_strictly(network, weights, name, assign=True)
    _number_places(network)
    return network


@contextmanager
def bounded(tensors: int, name: str) -> Iterator[None]:
    """Stop a network from being built that is far larger than its weights, as a damaged one may be.

    Sizes come from a file. Widths cost nothing on the meta device, but a depth of a million takes
    the memory of a million layers before anything could compare it with the weights.

    Args:
        tensors: that its weights have.
        name: of the checkpoint, for errors.

    Raises:
        CheckpointError: it has too many parts, or its constructor fails.
    """
    left = SLACK * (tensors + SLACK)

    def count(module: nn.Module, name: str, registered: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"it asks for a far larger network than the {tensors} tensors make")

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_module_registration_hook(count),
    )
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # what constructors of libraries raise of sizes that are none
        raise CheckpointError(
            f"config.json of checkpoint {name!r} makes no network ({reason(error)}); delete its "
            f"folder and run `brainkit fetch {name}`, or correct it"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def load_strictly(
    network: nn.Module, weights: Mapping[str, Tensor], name: str, *, assign: bool = False
) -> None:
    """Load weights into a network that has to have exactly these tensors.

    Args:
        network: of torch.
        weights: its tensors, by name.
        name: of the checkpoint, for errors.
        assign: whether the network takes the tensors themselves and not their numbers.

    Raises:
        CheckpointError: says which tensors are missing, too many or misshapen.
    """
    try:
        network.load_state_dict(weights, strict=True, assign=assign)
    except RuntimeError as error:
        differences = _differences(network, weights) or " ".join(str(error).split())
        raise CheckpointError(
            f"checkpoint {name!r} does not fit its network: {differences}; delete its folder and "
            f"run `brainkit fetch {name}`"
        ) from error


def frozen(network: Network, device: str | torch.device | None = None) -> Network:
    """Return the network itself, in the mode that predicts and without gradients of its own.

    Gradients still pass through it to what it reads.

    Args:
        network: of torch.
        device: it is moved to; None leaves it where it is.
    """
    return network.to(device).eval().requires_grad_(False)


def manifest(make: Callable[[], nn.Module]) -> Shapes:
    """Return the shape of every tensor of a network, by name, without making its weights.

    Args:
        make: builds the network; called with the meta device as default.
    """
    with torch.device("meta"):
        network = make()
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _number_places(network: nn.Module) -> None:
    # What numbers the places of a sequence is stored nowhere: left on the meta device, every
    # token would stand in no place at all.
    for path, buffer in list(network.named_buffers()):
        if buffer.is_meta and path.endswith("position_ids"):
            places = torch.arange(buffer.shape[-1]).expand(buffer.shape)
            module, _, last = path.rpartition(".")
            network.get_submodule(module).register_buffer(last, places, persistent=False)


def _differences(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """Return how weights differ from a network's, the first five tensors of each kind."""
    own = network.state_dict()
    missing, extra = own.keys() - weights.keys(), weights.keys() - own.keys()
    misshapen = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if weights[name].shape != own[name].shape
    ]
    kinds = {"lacks": missing, "has besides": extra, "has in another shape": misshapen}
    return ", ".join(f"it {kind} {enumerated(sorted(of))}" for kind, of in kinds.items() if of)
