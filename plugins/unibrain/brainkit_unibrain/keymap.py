"""Names of the four-flow denoiser's tensors in the three layouts in circulation.

*official* is the current published file and the naming of `brainkit_unibrain.networks`;
*deprecated* the older published file, which Brain-Diffuser uses; *diffusers* the folder
`shi-labs/versatile-diffusion` with one file for the image and one for the text network. Shapes are
the same everywhere, so translating is renaming. Names follow from the position of a block in the
walk, and from its role inside the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from brainkit.networks.assemble import manifest
from brainkit_unibrain.networks import FourFlow
from brainkit_unibrain.walk import FourFlowConfig, plan_walk

DEPRECATED = "model.diffusion_model"
COMPONENTS = {"image": "image_unet", "text": "text_unet"}

RES_PARTS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
OUT_PARTS = {"0": "conv_norm_out", "2": "conv_out"}
TIME_PARTS = {"0": "time_embedding.linear_1", "2": "time_embedding.linear_2"}


class Place(NamedTuple):
    """Where a block lies in the deprecated and in the diffusers layout."""

    deprecated: str
    diffusers: str


class Names(NamedTuple):
    """One tensor's name in the layouts other than the official one."""

    deprecated: str
    component: str
    diffusers: str


def places(config: FourFlowConfig) -> tuple[list[Place], list[Place]]:
    """Return the places of all data blocks and of all context blocks, in the order of the walk."""
    levels, per_level = len(config.channel_mult), config.num_res_blocks + 1
    data, context = [Place("input_blocks.0.0", "conv_in")], []
    for level in range(levels):
        below = f"down_blocks.{level}"
        for block in range(config.num_res_blocks):
            item = f"input_blocks.{1 + per_level * level + block}"
            data.append(Place(f"{item}.0", f"{below}.resnets.{block}"))
            if config.attention_levels[level]:
                context.append(Place(f"{item}.1", f"{below}.attentions.{block}"))
        if level < levels - 1:
            item = f"input_blocks.{per_level * (level + 1)}"
            data.append(Place(f"{item}.0", f"{below}.downsamplers.0"))
    data += [Place(f"middle_block.{2 * i}", f"mid_block.resnets.{i}") for i in range(2)]
    context.append(Place("middle_block.1", "mid_block.attentions.0"))
    for rank, level in enumerate(reversed(range(levels))):
        above, attends = f"up_blocks.{rank}", config.attention_levels[level]
        for block in range(per_level):
            item = f"output_blocks.{per_level * rank + block}"
            data.append(Place(f"{item}.0", f"{above}.resnets.{block}"))
            if attends:
                context.append(Place(f"{item}.1", f"{above}.attentions.{block}"))
        if level > 0:
            data.append(Place(f"{item}.{1 + attends}", f"{above}.upsamplers.0"))
    data.append(Place("out", ""))
    return data, context


def names_of(config: FourFlowConfig) -> dict[str, Names]:
    """Return, for every official name, the names in the other layouts.

    Every name occurs once. The text network of the diffusers folder holds a copy of the time
    embedding besides, which is left out here.
    """
    official = manifest(lambda: FourFlow(config))
    data, context = places(config)
    kinds = [layer.kind for layer in plan_walk(config).layers]
    return {name: _translated(name, data, context, kinds) for name in official}


def _translated(name: str, data: list[Place], context: list[Place], kinds: Sequence[str]) -> Names:
    _, flow, group, rest = name.split(".", 3)
    component = COMPONENTS[flow]
    if group == "time_embed":
        index, tensor = rest.split(".")
        return Names(f"{DEPRECATED}.time_embed.{rest}", component, f"{TIME_PARTS[index]}.{tensor}")
    index, _, inner = rest.split(".", 2)
    blocks = data if group == "data_blocks" else context
    place = blocks[int(index)]
    deprecated = f"{DEPRECATED}.unet_{flow}.{place.deprecated}.{inner}"
    if group == "context_blocks":
        return Names(deprecated, component, f"{place.diffusers}.{inner}")
    return Names(deprecated, component, _diffusers_data(place.diffusers, inner, kinds[int(index)]))


def _diffusers_data(place: str, inner: str, kind: str) -> str:
    """Name a data block's tensor in the diffusers layout."""
    part, _, tensor = inner.rpartition(".")
    if kind == "res":
        return f"{place}.{RES_PARTS[part]}.{tensor}"
    if kind == "out":
        return f"{OUT_PARTS[part]}.{tensor}"
    if kind == "down" and part == "op":
        return f"{place}.conv.{tensor}"
    return f"{place}.{inner}"
