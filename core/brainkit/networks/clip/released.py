"""The published weights of core's encoders: the image autoencoder and both CLIPs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brainkit.networks.autokl.names import autokl_pieces
from brainkit.networks.clip import names
from brainkit.weights import Companion, Config, Layout, Origin, Release, RemoteFile, Shapes, stems
from brainkit.weights.tokenizers import tokenizer_file

if TYPE_CHECKING:
    from torch import nn

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


def manifest(make: Callable[[], nn.Module]) -> Shapes:
    """Give names and shapes of a network's tensors without making its weights.

    Args:
        make: builds the network; called with the meta device as default.
    """
    import torch

    with torch.device("meta"):
        network = make()
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def autokl_shapes(config: Config) -> Shapes:
    """Give names and shapes of diffusers' AutoencoderKL of a configuration."""
    from diffusers import AutoencoderKL

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
        Layout(
            "official",
            (("pretrained_pth/kl-f8.pth", "kl-f8.safetensors"),),
            autokl_pieces(official=True),
        ),
        Layout("diffusers", (stems("vae/diffusion_pytorch_model"),), autokl_pieces(official=False)),
        Layout(
            "Stable Diffusion's single file",
            (SD_FILES,),
            autokl_pieces(official=True, prefix="first_stage_model."),
            "|".join((SD_UNET, SD_AVERAGES, SD_TEXT, SD_SCHEDULE)),
        ),
    ),
    checked=tuple(key for key in AUTOKL_CONFIG if key != "sample_size"),
)


def clip_shapes(config: Config) -> Shapes:
    """Give names and shapes of transformers' CLIPModel of a configuration.

    The scale of its training loss is left out: embeddings do without.
    """
    from transformers import CLIPConfig, CLIPModel

    whole = manifest(lambda: CLIPModel(CLIPConfig.from_dict(dict(config))))
    return {name: shape for name, shape in whole.items() if name != "logit_scale"}


TEXT_CONFIG = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-05,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
VISION_CONFIG = {"image_size": 224, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05}
L14_CONFIG: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 768,
    "text_config": {
        **TEXT_CONFIG,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
    "vision_config": {
        **VISION_CONFIG,
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "projection_dim": 768,
    },
}
B32_CONFIG: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 512,
    "text_config": {
        **TEXT_CONFIG,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_attention_heads": 8,
        "projection_dim": 512,
    },
    "vision_config": {
        **VISION_CONFIG,
        "patch_size": 32,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 512,
    },
}
CHECKED = tuple(
    f"{tower}_config.{key}"
    for tower in names.TOWERS
    for key in ("hidden_act", "num_attention_heads", "layer_norm_eps")
)
"""What shapes do not tell."""


def clip_layouts(*folders: str) -> tuple[Layout, ...]:
    """Give the layouts of a CLIP network.

    Args:
        folders: that may hold it within a folder with several networks.
    """
    places = ("", *(f"{folder}/" for folder in folders))
    official = [f"{place}open_clip_{end}" for end in OPEN_CLIP for place in places]
    weights = [f"{place}{name}" for name in WHOLE for place in places]
    return (
        Layout("transformers", (stems(*weights),), names.transformers_pieces, names.FOREIGN),
        Layout("open_clip", (tuple(official),), names.official_pieces, names.OFFICIAL_FOREIGN),
        Layout(
            "two towers",
            (stems(*_in("text_encoder")), stems(*_in("image_encoder"))),
            names.tower_pieces,
            names.FOREIGN,
        ),
    )


OPEN_CLIP = ("model.safetensors", "pytorch_model.bin")
WHOLE = ("model", "pytorch_model")


def _in(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in WHOLE]


def clip_tokenizer(*folders: str) -> Companion:
    """Give the tokenizer of a CLIP network: whole, or made from its two tables."""
    places = ("", "tokenizer/", *(f"{folder}/" for folder in folders))
    tables = [tuple(f"{place}{name}" for place in places) for name in ("vocab.json", "merges.txt")]
    whole = tuple(f"{place}tokenizer.json" for place in places)
    return Companion("tokenizer.json", tuple(whole + each for each in tables), tokenizer_file)


def _open_clip(repository: str, revision: str, size: int, sha256: str) -> Origin:
    weights = RemoteFile("open_clip_model.safetensors", size, sha256)
    return Origin(
        files=(weights, RemoteFile("tokenizer.json")),
        licence="Apache-2.0",
        repository=repository,
        revision=revision,
    )


L14_FOLDERS = ("clip-vit-large-patch14", "clip-vit-l14", "vit_large_patch14_clip_224.openai")
CLIP_L14 = Release(
    name="clip-vit-l14",
    origins=(
        Origin(
            files=(
                RemoteFile(
                    "model.safetensors",
                    1710540580,
                    "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
                ),
                RemoteFile(
                    "tokenizer.json",
                    2224003,
                    "a83e0809aa4c3af7208b2df632a7a69668c6d48775b3c3fe4e1b1199d1f8b8f4",
                ),
            ),
            licence="MIT (of the code)",
            repository="openai/clip-vit-large-patch14",
            revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        ),
        _open_clip(
            "timm/vit_large_patch14_clip_224.openai",
            "18d0535469bb561bf468d76c1d73aa35156c922b",
            0,
            "9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e",
        ),
    ),
    config=L14_CONFIG,
    shapes=clip_shapes,
    layouts=clip_layouts(*L14_FOLDERS),
    companions=(clip_tokenizer(*L14_FOLDERS),),
    checked=CHECKED,
)
B32_FOLDERS = ("clip-vit-base-patch32", "clip-vit-b32", "vit_base_patch32_clip_224.openai")
CLIP_B32 = Release(
    name="clip-vit-b32",
    origins=(
        Origin(
            files=(
                RemoteFile(
                    "pytorch_model.bin",
                    605247071,
                    "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
                ),
                RemoteFile(
                    "tokenizer.json",
                    2224041,
                    "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842",
                ),
            ),
            licence="MIT (of the code)",
            repository="openai/clip-vit-base-patch32",
            revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        ),
        _open_clip(
            "timm/vit_base_patch32_clip_224.openai",
            "a6f597a30f7b82c51704746581f9a4e41421e878",
            605143284,
            "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
        ),
    ),
    config=B32_CONFIG,
    shapes=clip_shapes,
    layouts=clip_layouts(*B32_FOLDERS),
    companions=(clip_tokenizer(*B32_FOLDERS),),
    checked=CHECKED,
)
