"""The published weights of the image autoencoder, alone and inside Stable Diffusion's files."""

from __future__ import annotations

from typing import Any

from brainkit.networks.autokl.names import autokl_pieces
from brainkit.weights import Config, Naming, Origin, Release, RemoteFile, Shapes, stems

SD_FILES = ("sd-v1-4.ckpt", "sd-v1-4.safetensors", "sd-v1-4-full-ema.ckpt")
SD_SCHEDULE = (
    "(betas|(sqrt_)?(one_minus_)?alphas_cumprod(_prev)?|log_one_minus_alphas_cumprod"
    "|sqrt_recip(m1)?_alphas_cumprod|posterior_(variance|log_variance_clipped|mean_coef[12]))$"
)
"""The buffers of the noise schedule in Stable Diffusion's single file."""
SD_UNET, SD_AUTOKL, SD_TEXT = (
    r"model\.diffusion_model\.", r"first_stage_model\.", r"cond_stage_model\.transformer\."
)  # fmt: skip
SD_AVERAGES = r"model_ema\."


def autokl_shapes(config: Config) -> Shapes:
    """Return names and shapes of diffusers' AutoencoderKL of a configuration."""
    from diffusers import AutoencoderKL

    from brainkit.networks.assemble import manifest

    return manifest(lambda: AutoencoderKL.from_config(dict(config)))


AUTOKL_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
KL_F8 = Release(
    name="kl-f8",
    origins=(
        Origin(
            files=(
                RemoteFile(
                    "pretrained_pth/kl-f8.pth",
                    334701031,
                    "845b3a472ba352727aa0f7bd8b8ee3ef95f54001215fbd80874f32c236efdb1a",
                ),
            ),
            licence="MIT",
            repository="shi-labs/versatile-diffusion",
            revision="2926f8e11ea526b562cd592b099fcf9c2985d0b7",
        ),
        Origin(
            files=(
                RemoteFile(
                    "vae/diffusion_pytorch_model.safetensors",
                    334643276,
                    "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
                ),
            ),
            licence="CreativeML OpenRAIL-M",
            repository="CompVis/stable-diffusion-v1-4",
            revision="133a221b8aa7292a167afc5127cb63fb5005638b",
        ),
    ),
    config=AUTOKL_CONFIG,
    shapes=autokl_shapes,
    layouts=(
        Naming(
            "official",
            (("pretrained_pth/kl-f8.pth", "kl-f8.safetensors"),),
            autokl_pieces(official=True),
        ),
        Naming("diffusers", (stems("vae/diffusion_pytorch_model"),), autokl_pieces(official=False)),
        Naming(
            "Stable Diffusion's single file",
            (SD_FILES,),
            autokl_pieces(official=True, prefix="first_stage_model."),
            "|".join((SD_UNET, SD_AVERAGES, SD_TEXT, SD_SCHEDULE)),
        ),
    ),
    checked=tuple(key for key in AUTOKL_CONFIG if key != "sample_size"),
)
