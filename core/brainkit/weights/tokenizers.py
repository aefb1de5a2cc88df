"""CLIP's tokenizer in the one file `tokenizer.json`, also where only its two tables are published.

Texts are composed by Unicode's canonical form, white space becomes single spaces, letters become
small; words, single digits and runs of other signs are then cut into the pieces of the vocabulary.

Source: Radford et al. 2021, arXiv 2103.00020; file format of huggingface/tokenizers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brainkit.errors import CheckpointError

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def tokenizer_file(paths: tuple[Path, ...]) -> bytes:
    """Give the content of `tokenizer.json`.

    Args:
        paths: twice `tokenizer.json`, or `vocab.json` and `merges.txt`.

    Raises:
        CheckpointError: a file is damaged or of another tokenizer.
    """
    if paths[0].name == "tokenizer.json":
        _check(_json(paths[0]), paths[0])
        return paths[0].read_bytes()
    vocabulary = _json(paths[0])
    if not all(isinstance(vocabulary.get(token), int) for token in (BEGIN, END)):
        raise CheckpointError(
            f"{paths[0]} has no numbers for {BEGIN} and {END}; give the vocab.json of CLIP"
        )
    made = _tokenizer(vocabulary, _merges(paths[1], vocabulary))
    return json.dumps(made, ensure_ascii=False).encode()


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is not the whole file of a tokenizer ({error}); download it again"
        ) from error


def _check(tokenizer: dict[str, Any], path: Path) -> None:
    added = tokenizer.get("added_tokens") or []
    known = [str(each.get("content")) for each in added if isinstance(each, dict)]
    if END not in known:
        raise CheckpointError(
            f"{path} has {known} as added tokens, expected {END}; give the tokenizer of CLIP"
        )


def _merges(path: Path, vocabulary: dict[str, Any]) -> list[list[str]]:
    """Read pairs of pieces, one a line, below a line with the version."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except ValueError as error:
        raise CheckpointError(f"{path} is not text ({error}); download it again") from error
    pairs = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
    odd = [pair for pair in pairs if len(pair) != 2 or "".join(pair) not in vocabulary]
    if odd:
        raise CheckpointError(
            f"{path} joins {' '.join(odd[0])!r}, which the vocabulary beside it has not; download "
            "both files again"
        )
    return pairs


def _tokenizer(vocabulary: dict[str, Any], merges: list[list[str]]) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocabulary[token], "content": token, "special": True, **plain}
            for token in (BEGIN, END)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed",
                 "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                 "use_regex": True},
            ],
        },
        "post_processor": {
            "type": "RobertaProcessing", "sep": [END, vocabulary[END]],
            "cls": [BEGIN, vocabulary[BEGIN]], "trim_offsets": False, "add_prefix_space": False,
        },
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": END, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": vocabulary, "merges": merges,
        },
    }  # fmt: skip
