"""Tensor names of the image autoencoder: from the published kl-f8 file to diffusers' layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RULES = (
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.down\.(\d+)\.block\.(\d+)\.", r".down_blocks.\1.resnets.\2."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)


def is_official(names: Mapping[str, Tensor] | set[str]) -> bool:
    """Say whether tensors are named as in the published `kl-f8.pth`."""
    return any(name.startswith("encoder.down.") for name in names)


def diffusers_name(name: str, levels: int) -> str:
    """Give diffusers' name of a published tensor.

    >>> diffusers_name("decoder.up.3.block.0.conv1.weight", 4)
    'decoder.up_blocks.0.resnets.0.conv1.weight'

    Args:
        name: in the published file.
        levels: resolutions of the network; its decoder counts them from the other end.
    """
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    found = re.search(r"\.up\.(\d+)\.", name)
    if found:
        block = f".up_blocks.{levels - 1 - int(found.group(1))}."
        name = name.replace(found.group(), block)
        name = re.sub(r"\.block\.(\d+)\.", r".resnets.\1.", name)
        name = name.replace(".upsample.", ".upsamplers.0.")
    return name


def from_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published tensors; attention's 1 x 1 convolutions become the matrices they are."""
    levels = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("encoder.down."))
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        other = diffusers_name(name, levels)
        is_matrix = ".attentions." in other and tensor.ndim == 4
        renamed[other] = tensor[:, :, 0, 0].contiguous() if is_matrix else tensor
    return renamed
