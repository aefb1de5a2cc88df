"""Names of the denoiser's tensors in the two layouts in which Stable Diffusion v1.4 is published.

*diffusers* is the folder with one file for each network, and the naming this plugin works with;
*CompVis* the single file `sd-v1-4.ckpt` with everything under `model.diffusion_model.`,
`first_stage_model.` and `cond_stage_model.transformer.`. Shapes are the same, so translating is
renaming. Files of other depths have other numbers of blocks, which are counted from the names.

Source: CompVis/stable-diffusion and huggingface/diffusers, whose two namings these rules relate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from brainkit.networks.clip.names import tower_name
from brainkit.weights import Config, Piece

UNET_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "cond_stage_model.transformer."
AVERAGED_PREFIX = "model_ema.diffusion_model"

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def diffusers_unet_name(name: str, layers: int) -> str | None:
    """Return diffusers' name of a UNet tensor of the CompVis layout, or None if there is none.

    CompVis counts the blocks of a side through: on the way down each level has its layers and a
    downsampler, on the way up one layer more, the last with the upsampler.

    >>> diffusers_unet_name("model.diffusion_model.input_blocks.4.1.norm.weight", layers=2)
    'down_blocks.1.attentions.0.norm.weight'

    Args:
        name: in the CompVis file, prefix included.
        layers: of each level on the way down (`layers_per_block`).
    """
    path, _, tensor = name.removeprefix(UNET_PREFIX).rpartition(".")
    if path in ENDS:
        return f"{ENDS[path]}.{tensor}"
    matched = re.fullmatch(r"(?:(input|output)_blocks\.(\d+)|middle_block)\.(\d+)\.(.+)", path)
    if matched is None:
        return None
    side, count, slot, rest = matched[1], int(matched[2] or 0), int(matched[3]), matched[4]
    if side == "input":
        level, index = divmod(count - 1, layers + 1)
        block = f"down_blocks.{level}"
        if rest == "op" and slot == 0:
            return f"{block}.downsamplers.0.conv.{tensor}"
    elif side == "output":
        level, index = divmod(count, layers + 1)
        block = f"up_blocks.{level}"
        if rest == "conv" and slot > 0:
            return f"{block}.upsamplers.0.conv.{tensor}"
    else:
        index, slot, block = slot // 2, slot % 2, "mid_block"
    if slot == 0:
        return f"{block}.resnets.{index}.{RESNET[rest]}.{tensor}" if rest in RESNET else None
    return f"{block}.attentions.{index}.{rest}.{tensor}"


def averaged_name(name: str) -> str:
    """Return the name of a UNet tensor's running average in a `full-ema` file.

    >>> averaged_name("model.diffusion_model.out.2.weight")
    'model_ema.diffusion_modelout2weight'
    """
    return "model_ema." + name.removeprefix("model.").replace(".", "")


def diffusers_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Return where the tensors lie in a file of diffusers: under their own names."""
    return {} if _is_compvis(names[0]) else {name: Piece(name) for name in names[0]}


def compvis_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Return where the tensors lie in a CompVis file, but nothing when it has running averages."""
    return {} if _is_averaged(names[0]) else _renamed(names[0])


def averaged_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Return where the running averages lie in a `full-ema` file: they are what was published."""
    if not _is_averaged(names[0]):
        return {}
    raw = _renamed(names[0])
    return {own: Piece(averaged_name(piece.name)) for own, piece in raw.items()}


def _is_compvis(names: Iterable[str]) -> bool:
    return any(name.startswith(UNET_PREFIX) for name in names)


def _is_averaged(names: Iterable[str]) -> bool:
    return any(name.startswith(AVERAGED_PREFIX) for name in names)


def _renamed(names: Iterable[str]) -> dict[str, Piece]:
    """Return the tensors of a CompVis file that are known, by diffusers' name."""
    own = [name for name in names if name.startswith(UNET_PREFIX)]
    layers = _layers_per_level(own)
    named = {name: diffusers_unet_name(name, layers) for name in own}
    return {other: Piece(name) for name, other in named.items() if other}


def _layers_per_level(names: Iterable[str]) -> int:
    """Count the layers before the first downsampler, or all when there is but one level."""
    blocks = [
        re.match(r"input_blocks\.(\d+)\.(0\.op)?", n.removeprefix(UNET_PREFIX)) for n in names
    ]
    numbers = [int(matched[1]) for matched in blocks if matched]
    downs = [int(matched[1]) for matched in blocks if matched and matched[2]]
    return min(downs) - 1 if downs else max([1, *numbers])


def text_names(names: Iterable[str]) -> dict[str, str]:
    """Return for each tensor of the text tower, by CLIP's own name, the name it has in a file.

    The file is a CompVis single file or diffusers' `text_encoder`; newest files lack the prefix
    `text_model.`. Positions' numbers, 0 to 76, are passed over.
    """
    known = set(names)
    prefix = TEXT_PREFIX if any(name.startswith(TEXT_PREFIX) for name in known) else ""
    own = [n for n in known if n.startswith(prefix) and not n.endswith(".position_ids")]
    return {tower_name(name.removeprefix(prefix), "text"): name for name in own}
