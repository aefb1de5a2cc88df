"""Tensor names of CLIP: from those it is published with to those of transformers' CLIPModel.

OpenAI's files and open_clip's share their names. There queries, keys and values are one matrix, and
the two projections lie the other way round. Single towers may lack the prefix that says which.

Source: names in the published ViT-L/14 and ViT-B/32, and in transformers' CLIP networks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from brainkit.weights import Config, Piece

TOWERS = ("text", "vision")
PROJECTIONS = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
RULES = (
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
FUSED = re.compile(r"(.*\.)attn\.in_proj_(weight|bias)")
OFFICIAL_FOREIGN = r"(logit_scale|input_resolution|context_length|vocab_size)$"
"""What else OpenAI's files have; the scale of the training loss plays no part in embeddings."""
FOREIGN = r"logit_scale$|(.+\.)?embeddings\.position_ids$"
"""What else transformers' files have; old ones store the positions' numbers, 0 to 76."""


def transformers_name(name: str) -> str:
    """Return transformers' name of a tensor of OpenAI's that is no fused one.

    >>> transformers_name("visual.transformer.resblocks.3.mlp.c_proj.bias")
    'vision_model.encoder.layers.3.mlp.fc2.bias'
    """
    if name in PROJECTIONS:
        return PROJECTIONS[name]
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def official_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Return where the tensors lie in a file of OpenAI's or open_clip's."""
    pieces = dict(piece for name in names[0] for piece in _cut(name))
    return pieces if _is_as_deep(pieces, config) else {}


def _cut(name: str) -> Iterator[tuple[str, Piece]]:
    """Return the tensors that are made of one of OpenAI's, and which part of it each is."""
    fused = FUSED.fullmatch(name)
    if fused is None:
        yield transformers_name(name), Piece(name, transposed=name in PROJECTIONS)
        return
    block = transformers_name(fused[1])
    for i, which in enumerate("qkv"):
        yield f"{block}self_attn.{which}_proj.{fused[2]}", Piece(name, part=(i, 3))


def transformers_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Return where the tensors lie in a file of transformers' CLIPModel."""
    pieces = {name: Piece(name) for name in names[0]}
    return pieces if _is_as_deep(pieces, config) else {}


def tower_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Return where the tensors lie in a file of the text tower and one of the image tower."""
    pieces = {
        tower_name(name, tower): Piece(name, file=index)
        for index, (tower, own) in enumerate(zip(TOWERS, names, strict=True))
        for name in own
    }
    return pieces if _is_as_deep(pieces, config) else {}


def tower_name(name: str, tower: str) -> str:
    """Return the name in CLIPModel of a tensor of a file with one tower, with or without prefix.

    >>> tower_name("embeddings.position_embedding.weight", "text")
    'text_model.embeddings.position_embedding.weight'
    """
    whole = name.startswith((f"{tower}_model.", "text_projection.", "visual_projection."))
    return name if whole else f"{tower}_model.{name}"


def _is_as_deep(names: Iterable[str], config: Config) -> bool:
    """Say whether there are as many blocks as wanted: files of all CLIPs have the same names."""
    blocks = dict.fromkeys(TOWERS, -1)
    for name in names:
        if layer := re.match(r"(text|vision)_model\.encoder\.layers\.(\d+)\.", name):
            blocks[layer[1]] = max(blocks[layer[1]], int(layer[2]))
    return all(
        blocks[tower] < 0 or blocks[tower] + 1 == config[f"{tower}_config"]["num_hidden_layers"]
        for tower in TOWERS
    )
