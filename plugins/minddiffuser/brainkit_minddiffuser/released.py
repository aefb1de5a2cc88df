"""The published weights of Stable Diffusion v1.4's denoiser.

Its image autoencoder is core's `kl-f8`, also where both lie in one file. Its text tower is that of
CLIP ViT-L/14, which is had whole; what a file holds of it is compared with the store's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.encoders.clip import CLIP_L14
from brainkit.networks.autokl.released import (
    SD_AUTOKL,
    SD_AVERAGES,
    SD_FILES,
    SD_SCHEDULE,
    SD_TEXT,
    SD_UNET,
)
from brainkit.weights import Config, Naming, Origin, Release, RemoteFile, Shapes, stems
from brainkit_minddiffuser.layouts import (
    averaged_pieces,
    compvis_pieces,
    diffusers_pieces,
    text_names,
)

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.weights.conversion import Conversion
    from brainkit.weights.open import WeightFile

HALF_ROUNDING = 2.0**-10
"""Tensors that differ by no more than this, relative to their largest value, are the same weights
stored in another precision."""


def unet_shapes(config: Config) -> Shapes:
    """Return names and shapes of diffusers' UNet2DConditionModel of a configuration."""
    from diffusers import UNet2DConditionModel

    from brainkit.networks.assemble import manifest

    return manifest(lambda: UNet2DConditionModel.from_config(dict(config)))


def remarks_on_texts(conversion: Conversion, store: Path, stack: ExitStack) -> Sequence[str]:
    """Say whether the store's CLIP reads texts as the Stable Diffusion of these files does."""
    from brainkit.checkpoints import WEIGHTS
    from brainkit.weights.open import open_weights

    path, text = store / CLIP_L14.name / WEIGHTS, _text_file(conversion)
    if text is None or not path.is_file():
        return ()
    file, clip = (stack.enter_context(open_weights(each)) for each in (text, path))
    names = text_names(file.entries)
    other = sorted(own for own, name in names.items() if not _is_same(file, name, clip, own))
    if other:
        return (
            f"texts will be read by {CLIP_L14.name}, from whose text tower the files' differs in "
            f"{len(other)} tensors ({', '.join(other)})",
        )
    return (f"{CLIP_L14.name}'s text tower is the files' own",) if names else ()


def _text_file(conversion: Conversion) -> Path | None:
    """Return the file with the text tower: the single one, or the one in the folder beside."""
    file = conversion.files[0]
    if conversion.layout != "diffusers":
        return file
    folder = file.parent.with_name("text_encoder")
    paths = (folder / name for name in stems("model", "pytorch_model"))
    return next((path for path in paths if path.is_file()), None)


def _is_same(file: WeightFile, name: str, clip: WeightFile, own: str) -> bool:
    if own not in clip.entries or clip.entries[own].shape != file.entries[name].shape:
        return False
    one, other = _numbers(file, name), _numbers(clip, own)
    return bool((one - other).abs().max() <= HALF_ROUNDING * other.abs().max())


def _numbers(file: WeightFile, name: str) -> Tensor:
    """Return the numbers of a tensor as float32 (numbers,)."""
    import torch

    known = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}
    dtype = known.get(file.entries[name].dtype, torch.bfloat16)
    return torch.frombuffer(bytearray(file.read(name)), dtype=dtype).to(torch.float32)


CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "norm_eps": 1e-05,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
OTHERS = (SD_AUTOKL, SD_TEXT, SD_SCHEDULE)
LICENCE = "CreativeML OpenRAIL-M"
UNET = Release(
    name="sd-v1-4-unet",
    origins=(
        Origin(
            files=(
                RemoteFile(
                    "unet/diffusion_pytorch_model.safetensors",
                    0,
                    "145a07e0f05ec5bbe6e2e9faf608bdb311caf708895cac8c8ed713c59864e1e8",
                ),
            ),
            licence=LICENCE,
            repository="CompVis/stable-diffusion-v1-4",
            revision="133a221b8aa7292a167afc5127cb63fb5005638b",
        ),
        Origin(
            files=(
                RemoteFile(
                    "sd-v1-4.ckpt",
                    4265380512,
                    "fe4efff1e174c627256e44ec2991ba279b3816e364b49f9be2abc0b3ff3f8556",
                ),
            ),
            licence=LICENCE,
            repository="CompVis/stable-diffusion-v-1-4-original",
            revision="986807ebe5fda3851ae1b174e5d9d85dd8b5e696",
        ),
    ),
    config=CONFIG,
    shapes=unet_shapes,
    layouts=(
        Naming("diffusers", (stems("unet/diffusion_pytorch_model"),), diffusers_pieces),
        Naming(
            "single file",
            (SD_FILES,),
            compvis_pieces,
            "|".join((*OTHERS, SD_AVERAGES + "(decay|num_updates)$")),
        ),
        Naming(
            "single file, running averages",
            (SD_FILES,),
            averaged_pieces,
            "|".join((*OTHERS, SD_AVERAGES + "(decay|num_updates)$", SD_UNET)),
        ),
    ),
    checked=tuple(key for key in CONFIG if key != "sample_size"),
    remarks=remarks_on_texts,
)
