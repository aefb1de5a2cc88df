"""The latent of Stable Diffusion's image autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from brainkit.networks.autokl import KL_F8, down_sampling
from brainkit.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Reads

__all__ = ["KL_F8", "AutoKL"]


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
        """Return (channels, height, width) from the network's configuration."""
        config = store.config(KL_F8)
        wanted = self.scale * int(config["sample_size"]) / down_sampling(config)
        side = max(1, round(wanted))
        return (int(config["latent_channels"]), side, side)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to latents float32 (batch, channels, height, width)."""
        import torch

        from brainkit.networks.autokl.network import encoded, load_autokl, signed_pixels

        network, shape = load_autokl(store), self.shape(store)
        side = shape[-1] * down_sampling(network.config)

        def encode(stimuli: Stimuli) -> Tensor:
            if not len(stimuli.images):  # diffusers' attention cannot
                return torch.zeros(0, *shape, device=store.device)
            pixels = signed_pixels(stimuli.images, side, self.resize)
            seeds = stimuli.image_ids.tolist() if self.posterior == "sample" else None
            return encoded(network, pixels, seeds).float()

        return encode
