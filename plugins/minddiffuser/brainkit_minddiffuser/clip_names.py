"""Tensor names of CLIP's image tower: from the published layout to transformers'.

Source: names in the published ViT-B/32 file and in transformers' CLIPVisionModelWithProjection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WHOLE = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "proj": "visual_projection.weight",
}
RULES = (
    (r"^ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^ln_post\.", "vision_model.post_layernorm."),
    (r"^transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
FUSED = re.compile(r"^(.*)\.attn\.in_proj_(weight|bias)$")


def transformers_name(name: str) -> str:
    """Give transformers' name of a published tensor that is not fused.

    >>> transformers_name("transformer.resblocks.3.mlp.c_proj.bias")
    'vision_model.encoder.layers.3.mlp.fc2.bias'

    Args:
        name: in the published file, without its prefix `visual.`.
    """
    if name in WHOLE:
        return WHOLE[name]
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def from_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an image tower published by OpenAI or written by open_clip.

    The fused projection of attention is split into queries, keys and values; the final projection
    is transposed.

    Args:
        tensors: names without the prefix `visual.`.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        fused = FUSED.match(name)
        if fused:
            block, kind = transformers_name(f"{fused.group(1)}."), fused.group(2)
            for which, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{block}self_attn.{which}_proj.{kind}"] = part.contiguous()
        else:
            placed = tensor.T.contiguous() if name == "proj" else tensor
            renamed[transformers_name(name)] = placed
    return renamed
