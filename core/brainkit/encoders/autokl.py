"""The latent of Stable Diffusion's image autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from brainkit.data import Checkpoint
from brainkit.encoders.autokl_names import from_official, is_official
from brainkit.encoders.clip import load_strictly

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Reads

KL_F8 = Checkpoint(
    name="kl-f8",
    source="kl-f8.pth of shi-labs/versatile-diffusion-model, or the vae folder of Stable Diffusion",
    miniature="brainkit.miniature.checkpoints:autokl",
)


@dataclass(frozen=True)
class AutoKL:
    """The posterior mean of the image autoencoder, times its scaling factor.

    Feature: float32 (channels, height, width); (4, 64, 64) for 512-pixel images.

    Source: Rombach et al. 2022, arXiv 2112.10752; the mean instead of a draw keeps noise out of
    regression targets.
    """

    name = "autokl"
    reads: ClassVar[Reads] = "image"
    checkpoints = (KL_F8,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Give (channels, height, width) from the network's configuration."""
        config = store.config(KL_F8)
        side = int(config["sample_size"]) // 2 ** (len(config["block_out_channels"]) - 1)
        return (int(config["latent_channels"]), side, side)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Give a function from stimuli to latents float32 (batch, channels, height, width)."""
        network = load_autokl(store)
        side, scale = int(network.config.sample_size), float(network.config.scaling_factor)

        def encode(stimuli: Stimuli) -> Tensor:
            pixels = signed_pixels(stimuli.images, side).to(store.device)
            mean: Tensor = network.encode(pixels).latent_dist.mean
            return mean.float() * scale

        return encode


def load_autokl(store: CheckpointStore) -> Any:
    """Build diffusers' AutoencoderKL with the store's weights, frozen, in float32."""
    from diffusers import AutoencoderKL

    network = AutoencoderKL.from_config(store.config(KL_F8))
    weights = store.load(KL_F8)
    weights = from_official(weights) if is_official(weights) else weights
    load_strictly(network, weights, KL_F8.name)
    return network.to(store.device).eval().requires_grad_(False)


def signed_pixels(images: NDArray[np.uint8], side: int) -> Tensor:
    """Resize uint8 (batch, height, width, 3) to a square and map it to [-1, 1].

    Bicubic without antialiasing when enlarging; antialiased when shrinking.

    Returns:
        float32 (batch, 3, side, side).
    """
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (side, side) and len(pixels):
        cubic = InterpolationMode.BICUBIC
        pixels = transforms.resize(pixels, [side, side], interpolation=cubic, antialias=True)
    return pixels.to(torch.float32) / 127.5 - 1
