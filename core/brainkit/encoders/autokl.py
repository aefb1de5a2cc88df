"""The latent of Stable Diffusion's image autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from brainkit.data import Checkpoint
from brainkit.encoders.clip import assemble
from brainkit.networks.autokl.names import own_tensors
from brainkit.options import option

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
    release="brainkit.networks.clip.released:KL_F8",
)


@dataclass(frozen=True)
class AutoKL:
    """The latent of the image autoencoder, times its scaling factor.

    Feature: float32 (channels, height, width); (4, 64, 64) for 512-pixel images. The default, the
    posterior mean, keeps the noise of a draw out of regression targets.

    Source: Rombach et al. 2022, arXiv 2112.10752.
    """

    name = "autokl"
    reads: ClassVar[Reads] = "image"
    posterior: Literal["mean", "sample"] = option(
        "mean", "the posterior's mean, or a draw from it that depends on the image's id alone"
    )
    scale: float = option(
        1.0,
        "picture's side as a share of the network's own; rounded to whole latents",
        gt=0,
        le=1,
    )
    resize: Literal["bicubic", "lanczos"] = option("bicubic", "filter that brings it to that side")
    checkpoints = (KL_F8,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Give (channels, height, width) from the network's configuration."""
        config = store.config(KL_F8)
        wanted = self.scale * int(config["sample_size"]) / down_sampling(config)
        side = max(1, round(wanted))
        return (int(config["latent_channels"]), side, side)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Give a function from stimuli to latents float32 (batch, channels, height, width)."""
        import torch

        network, shape = load_autokl(store), self.shape(store)
        side = shape[-1] * down_sampling(network.config)

        def encode(stimuli: Stimuli) -> Tensor:
            if not len(stimuli.images):  # diffusers' attention cannot
                return torch.zeros(0, *shape, device=store.device)
            pixels = signed_pixels(stimuli.images, side, self.resize)
            seeds = stimuli.image_ids.tolist() if self.posterior == "sample" else None
            return encoded(network, pixels, seeds).float()

        return encode


def down_sampling(config: Any) -> int:
    """Give how many pixels one step of the latent grid is wide: 8 for Stable Diffusion."""
    return int(2 ** (len(config["block_out_channels"]) - 1))


def encoded(network: Any, pixels: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """Encode pixels to scaled latents: the posterior mean, or with seeds a draw from it.

    Args:
        network: what `load_autokl` gives.
        pixels: float (batch, 3, height, width) in [-1, 1].
        seeds: one per image; image i's draw comes from seeds[i] alone.

    Returns:
        (batch, channels, height, width) in the network's dtype, on its device.
    """
    import torch

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
    import torch
    from diffusers import AutoencoderKL

    config, wide = store.config(KL_F8), store.torch_dtype() == torch.float64
    weights = own_tensors(store.load(KL_F8, dtype=torch.float64 if wide else torch.float32))
    network = assemble(lambda: AutoencoderKL.from_config(config), weights, KL_F8.name)
    return network.to(store.device).eval().requires_grad_(False)


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
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    if resize == "lanczos":
        images = _lanczos(images, side)
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (side, side) and len(pixels):
        cubic = InterpolationMode.BICUBIC
        pixels = transforms.resize(pixels, [side, side], interpolation=cubic, antialias=True)
    return pixels.to(torch.float32) / 127.5 - 1


def _lanczos(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    made = np.empty((len(images), side, side, 3), np.uint8)
    for row, image in enumerate(images):
        made[row] = np.asarray(
            Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
        )
    return made
