"""The published weights of all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from brainkit.weights import (
    Companion,
    Config,
    Naming,
    Origin,
    Piece,
    Release,
    RemoteFile,
    Shapes,
    stems,
)
from brainkit.weights.tokenizers import bert_file

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
FOREIGN = r"(bert\.)?(pooler\.|embeddings\.position_ids$)"
"""The head of BERT's next-sentence task, which a mean over tokens does without, and places."""


def shapes(config: Config) -> Shapes:
    """Return names and shapes of transformers' BertModel of a configuration, without pooler."""
    from transformers import BertConfig, BertModel

    from brainkit.networks.assemble import manifest

    bert = BertConfig.from_dict(dict(config))
    return manifest(lambda: BertModel(bert, add_pooling_layer=False))


def pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Name the pieces as BertModel does, or as it is within a larger network (`bert.`)."""
    own = "bert." if any(name.startswith("bert.") for name in names[0]) else ""
    return {name: Piece(f"{own}{name}") for name in shapes(config)}


FOLDER = "all-MiniLM-L6-v2"
MINILM = Release(
    name="all-minilm-l6-v2",
    origins=(
        Origin(
            files=(
                RemoteFile(
                    "model.safetensors",
                    90868376,
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                RemoteFile(
                    "tokenizer.json",
                    466247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
            ),
            licence="Apache-2.0",
            repository="sentence-transformers/all-MiniLM-L6-v2",
            revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        ),
    ),
    config=CONFIG,
    shapes=shapes,
    layouts=(
        Naming(
            "transformers",
            (stems("model", "pytorch_model", f"{FOLDER}/model", f"{FOLDER}/pytorch_model"),),
            pieces,
            FOREIGN,
        ),
    ),
    companions=(
        Companion(
            "tokenizer.json",
            (
                tuple(
                    f"{place}{name}"
                    for name in ("tokenizer.json", "vocab.txt")
                    for place in ("", f"{FOLDER}/")
                ),
            ),
            partial(bert_file, cased=False, of="sentence-transformers/all-MiniLM-L6-v2"),
        ),
    ),
    checked=("hidden_act", "num_attention_heads", "layer_norm_eps"),
)
