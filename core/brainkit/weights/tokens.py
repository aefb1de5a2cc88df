"""Tokenizers that stand in for released ones: the miniature's words, the released number of ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

FILLER = "word{}"
"""Stands for every id that the miniature has no word for."""


def stand_in(tokenizer: str, sizes: Sequence[int]) -> str:
    """Turn the miniature's tokenizer into one with as many ids as a released network has.

    Special tokens at the end of the miniature's vocabulary are at the end again, in the same order,
    as CLIP's begin and end are the last two of 49408; those at its beginning and the words keep
    their ids. Every other id gets a made-up word, so that whatever a network writes can be read.

    Args:
        tokenizer: a `tokenizer.json` of the kind WordLevel.
        sizes: of the network's vocabularies. Of several, as in a text autoencoder that reads in
            BERT's and writes in GPT-2's, the largest is that of special tokens at the end, the
            smallest that of those at the beginning.

    Returns:
        the text of another `tokenizer.json`, without truncation and padding.
    """
    table: dict[str, Any] = json.loads(tokenizer)
    vocabulary: dict[str, int] = table["model"]["vocab"]
    special = {str(each["content"]) for each in table["added_tokens"]}
    last = {token for token in special if vocabulary[token] > len(vocabulary) // 2}
    size = max(sizes) if last else min(sizes)
    moved = size - len(vocabulary)
    ids = {token: old + moved * (token in last) for token, old in vocabulary.items()}
    free = set(range(size)) - set(ids.values())
    ids |= {FILLER.format(each): each for each in sorted(free)}
    table["model"]["vocab"] = ids
    _renumber(table, ids)
    return json.dumps(table, ensure_ascii=False)


def _renumber(table: dict[str, Any], ids: Mapping[str, int]) -> None:
    """Put the new ids of special tokens everywhere a tokenizer file names them."""
    for each in table["added_tokens"]:
        each["id"] = ids[each["content"]]
    table["truncation"] = table["padding"] = None
    around = table.get("post_processor") or {}
    for token, each in around.get("special_tokens", {}).items():
        each["ids"] = [ids[token]]
    for name in ("sep", "cls"):
        if name in around:
            token = around[name][0]
            around[name] = [token, ids[token]]
