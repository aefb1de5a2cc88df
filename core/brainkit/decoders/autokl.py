"""Pictures from the latent of Stable Diffusion's image autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from brainkit.errors import NotFiniteError
from brainkit.networks.autokl import KL_F8

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.parts import Gives


@dataclass(frozen=True)
class AutoKLDecoder:
    """The image autoencoder's decoder, never in half precision.

    Latent: float32 (batch, channels, height, width), in the scale the encoder gives.

    Source: Rombach et al. 2022, arXiv 2112.10752.
    """

    name = "autokl"
    gives: ClassVar[Gives] = "image"
    checkpoints = (KL_F8,)

    def load(self, store: CheckpointStore) -> Callable[[Tensor, Sequence[int]], Tensor]:
        """Return a function from latents to uint8 images (batch, height, width, 3) on the CPU."""
        from brainkit.networks.autokl.network import decoded, load_autokl

        network = load_autokl(store)
        return lambda latents, seeds: to_uint8(decoded(network, latents))


def to_uint8(images: Tensor) -> Tensor:
    """Map float (batch, 3, height, width) in [-1, 1] to uint8 (batch, height, width, 3) on CPU.

    Raises:
        NotFiniteError: an image has NaN or infinity, which would turn into black or white.
    """
    import torch

    spoilt = ~torch.isfinite(images.flatten(1)).all(dim=1)
    if spoilt.any():
        raise NotFiniteError(spoilt.nonzero().flatten().tolist())
    unit = ((images.float() + 1) / 2).clamp(0, 1)
    return (unit * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()
