"""The image autoencoder: its network, the names its tensors have elsewhere, where published."""

from typing import Any

from brainkit.data import Checkpoint

KL_F8 = Checkpoint(
    name="kl-f8",
    source="kl-f8.pth of shi-labs/versatile-diffusion-model, or the vae folder of Stable Diffusion",
    miniature="brainkit.miniature.checkpoints:autokl",
    release="brainkit.networks.autokl.released:KL_F8",
)


def down_sampling(config: Any) -> int:
    """Return how many pixels one step of the latent grid is wide: 8 for Stable Diffusion.

    Args:
        config: of diffusers' AutoencoderKL.
    """
    return int(2 ** (len(config["block_out_channels"]) - 1))
