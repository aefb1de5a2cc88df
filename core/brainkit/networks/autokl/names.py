"""Tensor names of the image autoencoder: from the published ones to diffusers' present ones.

Published are the file `kl-f8.pth`, the same under a prefix in Stable Diffusion's single file, and
diffusers' folder `vae`, in whose early files attention has other names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from brainkit.weights import Config, Piece, Pieces

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
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What attention's matrices are called in autoencoders that older diffusers wrote."""
OLD = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(OLD_ATTENTION)})\.")


def is_official(names: Iterable[str]) -> bool:
    """Say whether tensors are named as in the published `kl-f8.pth`."""
    return any(name.startswith("encoder.down.") for name in names)


def diffusers_name(name: str, levels: int) -> str:
    """Return diffusers' name of a published tensor.

    >>> diffusers_name("decoder.up.3.block.0.conv1.weight", 4)
    'decoder.up_blocks.0.resnets.0.conv1.weight'

    Args:
        name: in the published file.
        levels: resolutions of the network; its decoder counts them from the other end.
    """
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    upper = re.search(r"\.up\.(\d+)\.", name)
    if upper:
        block = f".up_blocks.{levels - 1 - int(upper.group(1))}."
        name = name.replace(upper.group(), block)
        name = re.sub(r"\.block\.(\d+)\.", r".resnets.\1.", name)
        name = name.replace(".upsample.", ".upsamplers.0.")
    return name


def own_names(names: Collection[str]) -> dict[str, str]:
    """Return, by published name of either kind, the name a tensor has in diffusers today."""
    if not is_official(names):
        return {n: OLD.sub(lambda m: f"{m[1]}.{OLD_ATTENTION[m[2]]}.", n) for n in names}
    matches = [re.match(r"encoder\.down\.(\d+)\.", name) for name in names]
    levels = 1 + max(int(match[1]) for match in matches if match)
    return {name: diffusers_name(name, levels) for name in names}


def own_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published tensors; attention's 1 x 1 convolutions become the matrices they are."""
    names = own_names(tensors)
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        is_matrix = ".attentions." in names[name] and tensor.ndim == 4
        renamed[names[name]] = tensor[:, :, 0, 0].contiguous() if is_matrix else tensor
    return renamed


def autokl_pieces(*, official: bool, prefix: str = "") -> Pieces:
    """Return where the tensors lie in files of one kind, and nothing in those of the other.

    Args:
        official: whether files are named like `kl-f8.pth`, or by diffusers.
        prefix: of the network's names in the file.
    """

    def pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
        own = [name.removeprefix(prefix) for name in names[0] if name.startswith(prefix)]
        if is_official(own) != official:
            return {}
        return {there: Piece(prefix + name) for name, there in own_names(own).items()}

    return pieces
