"""Promises of decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainkit.checkpoints import CheckpointStore
from brainkit.parts import Decoder
from brainkit.testing.encoder import checkpoints_are_declared
from brainkit.testing.promise import require

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = 1


def gives_images_or_captions(part: Decoder, store: CheckpointStore, latents: Tensor) -> None:
    """`gives` is "image" or "caption"."""
    require(part.gives in ("image", "caption"), f"gives is {part.gives!r}, expected image, caption")


def a_batch_is_decoded(part: Decoder, store: CheckpointStore, latents: Tensor) -> None:
    """Latents give as many uint8 (height, width, 3) images on the CPU, or as many captions."""
    decoded = _decoded(part, store, latents, range(len(latents)))
    if part.gives == "caption":
        good = isinstance(decoded, list) and all(isinstance(each, str) for each in decoded)
        require(good, f"got {type(decoded).__name__}, expected a list of str")
        require(len(decoded) == len(latents), f"{len(decoded)} captions for {len(latents)} latents")
    else:
        _require_images(decoded, len(latents))


def an_empty_batch_is_decoded(part: Decoder, store: CheckpointStore, latents: Tensor) -> None:
    """No latents give no images or captions."""
    decoded = _decoded(part, store, latents[:0], ())
    require(len(decoded) == 0, f"no latents give {len(decoded)} rows, expected none")


def a_latent_is_decoded_alone(part: Decoder, store: CheckpointStore, latents: Tensor) -> None:
    """An image or caption depends on its latent and its seed, not on its batch."""
    import torch

    function = part.load(store)
    seeds = list(range(7, 7 + len(latents)))
    with torch.no_grad():
        together: Any = function(latents.clone(), seeds)
        alone = [function(latents[i : i + 1].clone(), seeds[i : i + 1]) for i in range(len(seeds))]
    if part.gives == "caption":
        single: list[Any] = [each for one in alone for each in one]
        require(list(together) == single, f"{together!r} in a batch, {single!r} one by one")
    else:
        _require_alike(together, torch.cat([torch.as_tensor(one) for one in alone]), "one by one")


def seeds_alone_decide(part: Decoder, store: CheckpointStore, latents: Tensor) -> None:
    """The same seeds give the same again, whatever the global random state."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = _decoded(part, store, latents, range(len(latents)))
        torch.manual_seed(2)
        second = _decoded(part, store, latents, range(len(latents)))
    if part.gives == "caption":
        require(first == second, f"the same seeds give {first!r} and {second!r}")
    else:
        _require_alike(first, second, "decoded twice with the same seeds")


def latents_stay_untouched(part: Decoder, store: CheckpointStore, latents: Tensor) -> None:
    """Decoding does not change the latents."""
    import torch

    mine = latents.clone()
    with torch.no_grad():
        part.load(store)(mine, list(range(len(mine))))
    require(torch.equal(mine, latents), "the latents were changed in place; work on a copy")


def _decoded(part: Decoder, store: CheckpointStore, latents: Tensor, seeds: Any) -> Any:
    import torch

    function = part.load(store)
    with torch.no_grad():
        return function(latents.clone(), list(seeds))


def _require_images(decoded: Any, batch: int) -> None:
    import torch

    require(isinstance(decoded, torch.Tensor), f"got {type(decoded).__name__}, expected a tensor")
    shape = tuple(decoded.shape)
    good = len(shape) == 4 and shape[0] == batch and shape[3] == 3
    require(
        good and decoded.dtype == torch.uint8 and decoded.device.type == "cpu",
        f"got {decoded.dtype} {shape} on {decoded.device}, "
        f"expected torch.uint8 ({batch}, height, width, 3) on the CPU",
    )


def _require_alike(first: Tensor, second: Tensor, when: str) -> None:
    require(first.shape == second.shape, f"{tuple(first.shape)}, {tuple(second.shape)} {when}")
    far = int((first.int() - second.int()).abs().max()) if first.numel() else 0
    require(far <= LEVELS, f"pixels differ by {far} levels of 255 {when}")


PROMISES = (
    gives_images_or_captions,
    checkpoints_are_declared,
    a_batch_is_decoded,
    an_empty_batch_is_decoded,
    a_latent_is_decoded_alone,
    seeds_alone_decide,
    latents_stay_untouched,
)
