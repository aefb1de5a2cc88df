"""The image autoencoder of Stable Diffusion: pictures to scaled latents and back.

The network is diffusers'.

Source: Rombach et al. 2022, arXiv 2112.10752.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from brainkit.networks.assemble import assemble, frozen
from brainkit.networks.autokl import KL_F8
from brainkit.networks.autokl.names import own_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from brainkit.checkpoints import CheckpointStore


def encoded(network: Any, pixels: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """Encode pixels to scaled latents: the posterior mean, or with seeds a draw from it.

    Args:
        network: what `load_autokl` returns.
        pixels: float (batch, 3, height, width) in [-1, 1].
        seeds: one per image; image i's draw comes from seeds[i] alone.

    Returns:
        (batch, channels, height, width) in the network's dtype, on its device.
    """
    posterior = network.encode(pixels.to(network.device, network.dtype)).latent_dist
    latent: Tensor = posterior.mean
    if seeds:
        generators = (torch.Generator().manual_seed(seed) for seed in seeds)
        drawn = torch.stack([torch.randn(latent.shape[1:], generator=each) for each in generators])
        latent = latent + posterior.std * drawn.to(latent)
    return latent * float(network.config.scaling_factor)


def decoded(network: Any, latents: Tensor) -> Tensor:
    """Decode scaled latents (batch, channels, height, width) to pixels, nominally in [-1, 1].

    Returns:
        (batch, 3, height, width) in the network's dtype, on its device.
    """
    latents = latents.to(network.device, network.dtype) / float(network.config.scaling_factor)
    pixels: Tensor = network.decode(latents).sample
    return pixels


def load_autokl(store: CheckpointStore) -> Any:
    """Build diffusers' AutoencoderKL with the store's weights, frozen, in float32 or wider."""
    config, wide = store.config(KL_F8), store.torch_dtype() == torch.float64
    weights = own_tensors(store.load(KL_F8, dtype=torch.float64 if wide else torch.float32))
    network = assemble(lambda: AutoencoderKL.from_config(config), weights, KL_F8.name)
    return frozen(network, store.device)


def signed_pixels(images: NDArray[np.uint8], side: int, resize: str = "bicubic") -> Tensor:
    """Resize uint8 (batch, height, width, 3) to a square and map it to [-1, 1].

    Without antialiasing when enlarging; antialiased when shrinking.

    Args:
        images: uint8 (batch, height, width, 3).
        side: of the square, in pixels.
        resize: "bicubic", or "lanczos" by Pillow.

    Returns:
        float32 (batch, 3, side, side).
    """
    if resize == "lanczos":
        images = _lanczos(images, side)
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (side, side) and len(pixels):
        cubic = InterpolationMode.BICUBIC
        pixels = transforms.resize(pixels, [side, side], interpolation=cubic, antialias=True)
    return pixels.to(torch.float32) / 127.5 - 1


def _lanczos(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    resized = np.empty((len(images), side, side, 3), np.uint8)
    for row, image in enumerate(images):
        resized[row] = np.asarray(
            Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
        )
    return resized
