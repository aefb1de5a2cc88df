"""Stable Diffusion v1.4's networks and their tensors' names in the two layouts in circulation.

*diffusers* is the folder with one file for each network, and the naming this plugin works with;
*CompVis* the single file `sd-v1-4.ckpt` with everything under `model.diffusion_model.`,
`first_stage_model.` and `cond_stage_model.`. Shapes are the same but for eight matrices that
CompVis stores as 1 x 1 convolutions, so translating is renaming. A table from diffusers' name to
the name in a file, called *sources*, serves tensors in memory and files that are never read whole.

Source: CompVis/stable-diffusion and huggingface/diffusers, whose two namings these rules relate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from brainkit.encoders.autokl_names import diffusers_name as autokl_name
from brainkit.encoders.autokl_names import is_official
from brainkit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

UNET: dict[str, Any] = {
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
AUTOKL: dict[str, Any] = {
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
TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-05,
    "projection_dim": 768,
}

UNET_PREFIX = "model.diffusion_model."
AUTOKL_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."
AVERAGED_PREFIX = "model_ema."
SCHEDULE = re.compile(
    "betas|(sqrt_)?(one_minus_)?alphas_cumprod(_prev)?|log_one_minus_alphas_cumprod"
    "|sqrt_recip(m1)?_alphas_cumprod|posterior_(variance|log_variance_clipped|mean_coef[12])"
)
"""The buffers of the noise schedule in a CompVis file; a formula gives them as well."""

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
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What attention's matrices are called in autoencoders that older diffusers wrote."""


def is_compvis(names: Iterable[str]) -> bool:
    """Say whether tensors are named as in the CompVis single file."""
    return any(name.startswith((UNET_PREFIX, AUTOKL_PREFIX, TEXT_PREFIX)) for name in names)


def diffusers_unet_name(name: str, layers: int) -> str | None:
    """Give diffusers' name of a UNet tensor of the CompVis layout, or None if there is none.

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
    found = re.fullmatch(r"(?:(input|output)_blocks\.(\d+)|middle_block)\.(\d+)\.(.+)", path)
    if found is None:
        return None
    side, count, slot, rest = found[1], int(found[2] or 0), int(found[3]), found[4]
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
    """Give the name of a UNet tensor's running average in a `full-ema` file.

    >>> averaged_name("model.diffusion_model.out.2.weight")
    'model_ema.diffusion_modelout2weight'
    """
    return AVERAGED_PREFIX + name.removeprefix("model.").replace(".", "")


def unet_sources(names: Iterable[str]) -> dict[str, str]:
    """Give for each UNet tensor in diffusers' naming the name it has in a file of either layout.

    In a CompVis file other networks and schedule buffers are passed over. The published weights are
    running averages; where a file holds these beside the raw weights, the averages are meant.
    """
    known = set(names)
    if not is_compvis(known):
        return {name: name for name in known if not name.startswith(AVERAGED_PREFIX)}
    own = {name for name in known if name.startswith(UNET_PREFIX)}
    layers = _layers_per_level(own)
    sources = {diffusers_unet_name(name, layers) or name: name for name in own}
    averages = {other: averaged_name(name) for other, name in sources.items()}
    return averages if known & set(averages.values()) else sources


def _layers_per_level(names: Iterable[str]) -> int:
    """Count the layers before the first downsampler, or all when there is but one level."""
    blocks = [
        re.match(r"input_blocks\.(\d+)\.(0\.op)?", n.removeprefix(UNET_PREFIX)) for n in names
    ]
    downs = [int(found[1]) for found in blocks if found and found[2]]
    return min(downs) - 1 if downs else max([1, *(int(found[1]) for found in blocks if found)])


def autokl_sources(names: Iterable[str]) -> dict[str, str]:
    """Give for each autoencoder tensor in diffusers' naming the name it has in a file.

    The file is a CompVis single file, the published `kl-f8.pth`, or an autoencoder of diffusers,
    also of the days when its attention had other names.
    """
    known = set(names)
    prefix = AUTOKL_PREFIX if is_compvis(known) else ""
    own = {name.removeprefix(prefix): name for name in known if name.startswith(prefix)}
    if is_official(set(own)):
        found = [re.match(r"encoder\.down\.(\d+)\.", name) for name in own]
        levels = 1 + max(int(each[1]) for each in found if each)
        return {autokl_name(short, levels): name for short, name in own.items()}
    old = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(OLD_ATTENTION)})\.")
    return {old.sub(lambda m: f"{m[1]}.{OLD_ATTENTION[m[2]]}.", s): n for s, n in own.items()}


def text_sources(names: Iterable[str]) -> dict[str, str]:
    """Give for each text tensor as core's CLIP loader names it the name it has in a file.

    Names begin with `text_model.`, which the newest transformers leaves out; the buffer of
    positions, 0 to 76, is passed over.
    """
    known = set(names)
    prefix = TEXT_PREFIX if is_compvis(known) else ""
    own = [n for n in known if n.startswith(prefix) and not n.endswith(".position_ids")]
    return {"text_model." + n.removeprefix(prefix).removeprefix("text_model."): n for n in own}


def strangers(names: Iterable[str]) -> list[str]:
    """List the tensors of a CompVis file that belong to none of its networks or known buffers."""
    prefixes = (UNET_PREFIX, AUTOKL_PREFIX, TEXT_PREFIX, AVERAGED_PREFIX)
    return sorted(n for n in names if not n.startswith(prefixes) and not SCHEDULE.fullmatch(n))


def unet_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the UNet's tensors in diffusers' naming from those of a file in either layout.

    Raises:
        CheckpointError: lists tensors of a CompVis file that nobody knows, and missing averages.
    """
    unknown = []
    if is_compvis(tensors):
        own = [name for name in tensors if name.startswith(UNET_PREFIX)]
        layers = _layers_per_level(own)
        unknown = [name for name in own if diffusers_unet_name(name, layers) is None]
        unknown = sorted([*unknown, *strangers(tensors)])
    sources = unet_sources(tensors)
    missing = sorted(set(sources.values()) - set(tensors))
    if unknown or missing:
        said = [
            f"{len(w)} {kind} ({', '.join(w)})"
            for kind, w in (("unknown", unknown), ("missing", missing))
            if w
        ]
        raise CheckpointError(
            f"the UNet's file in the CompVis layout has {' and '.join(said)} tensors; "
            "expected those of sd-v1-4.ckpt; download it again or give the diffusers folder"
        )
    return {other: tensors[name] for other, name in sources.items()}


def unet_shapes(config: Mapping[str, Any] = UNET) -> dict[str, tuple[int, ...]]:
    """Give names and shapes of diffusers' UNet of a configuration, without making its weights."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(dict(config))
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def autokl_shapes(config: Mapping[str, Any] = AUTOKL) -> dict[str, tuple[int, ...]]:
    """Give names and shapes of diffusers' autoencoder of a configuration, without its weights."""
    import torch
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        network = AutoencoderKL.from_config(dict(config))
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def text_shapes(config: Mapping[str, Any] = TEXT) -> dict[str, tuple[int, ...]]:
    """Give names and shapes of CLIP's text tower of a configuration, without its weights."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        network = CLIPTextModel(CLIPTextConfig(**config))
    own = network.state_dict()
    return {name: tuple(own[source].shape) for name, source in text_sources(own).items()}
