"""The two tokenizers of Optimus, made from the vocabularies that BERT and GPT-2 are published with.

The reader cuts words into the pieces of BERT's cased vocabulary, keeping letters and accents as
they are (`brainkit_unibrain.loading` lowers the sentences first, as the published code does). The
writer joins the pieces of GPT-2, to which Optimus adds three tokens behind all others.

Source: Devlin et al. 2019, arXiv 1810.04805; Radford et al. 2019 (GPT-2); Li et al. 2020, arXiv
2004.04092; file format of huggingface/tokenizers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from brainkit.errors import CheckpointError

PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
READER: Final = (PAD, UNKNOWN, BEGIN, END, "[MASK]")
END_OF_TEXT: Final = "<|endoftext|>"
WRITER: Final = ("<PAD>", "<BOS>", "<EOS>")
"""Optimus' own tokens, in the order they were added."""


def reading_file(paths: tuple[Path, ...]) -> bytes:
    """Give the content of the reader's `tokenizer.json`.

    Args:
        paths: `vocab.txt` of bert-base-cased, one piece a line, or its `tokenizer.json`.

    Raises:
        CheckpointError: the file is damaged or of another tokenizer.
    """
    (path,) = paths
    vocabulary = _numbered(path) if path.suffix == ".txt" else _vocabulary(_json(path), path)
    lacking = [token for token in READER if token not in vocabulary]
    if lacking or vocabulary[PAD] != 0:
        what = f"no {', '.join(lacking)}" if lacking else f"{PAD} as number {vocabulary[PAD]}"
        raise CheckpointError(
            f"{path} has {what}, expected BERT's special tokens with {PAD} as number 0; give "
            "vocab.txt of google-bert/bert-base-cased"
        )
    return _file(
        added={token: vocabulary[token] for token in READER},
        normalizer={
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "strip_accents": None, "lowercase": False,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor={
            "type": "BertProcessing", "sep": [END, vocabulary[END]],
            "cls": [BEGIN, vocabulary[BEGIN]],
        },
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        model={
            "type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    )  # fmt: skip


def writing_file(paths: tuple[Path, ...]) -> bytes:
    """Give the content of the writer's `tokenizer.json`.

    Args:
        paths: `vocab.json` and `merges.txt` of gpt2, or twice its `tokenizer.json`.

    Raises:
        CheckpointError: a file is damaged or of another tokenizer.
    """
    vocabulary = _vocabulary(_json(paths[0]), paths[0])
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise CheckpointError(
            f"{paths[0]} does not number its {len(vocabulary)} pieces from 0 without gaps; "
            "download it again"
        )
    if END_OF_TEXT not in vocabulary or any(piece.endswith("</w>") for piece in vocabulary):
        raise CheckpointError(
            f"{paths[0]} is not GPT-2's vocabulary, which has {END_OF_TEXT} and no pieces that end "
            "in </w>; give vocab.json of openai-community/gpt2"
        )
    added = {token: len(vocabulary) + index for index, token in enumerate(WRITER)}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return _file(
        added={END_OF_TEXT: vocabulary[END_OF_TEXT], **added},
        normalizer=None,
        pre_tokenizer={**bytewise, "trim_offsets": True},
        post_processor={**bytewise, "trim_offsets": False},
        decoder={**bytewise, "trim_offsets": True},
        model={
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
            "vocab": vocabulary, "merges": _merges(paths[1], vocabulary),
        },
    )  # fmt: skip


def _file(added: Mapping[str, int], **parts: Any) -> bytes:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokens = [
        {"id": number, "content": token, "special": True, **plain}
        for token, number in sorted(added.items(), key=lambda each: each[1])
    ]
    made = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, **parts,
    }  # fmt: skip
    return json.dumps(made, ensure_ascii=False).encode()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise CheckpointError(f"{path} is not text ({error}); download it again") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_text(path)))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is not the whole file of a tokenizer ({error}); download it again"
        ) from error


def _numbered(path: Path) -> dict[str, int]:
    """Number the lines of a vocabulary from 0."""
    lines = _text(path).removesuffix("\n").split("\n")
    return {piece: number for number, piece in enumerate(lines)}


def _vocabulary(loaded: dict[str, Any], path: Path) -> dict[str, int]:
    """Take the table from `vocab.json`, which is one, or from `tokenizer.json`."""
    model = loaded.get("model")
    table = model.get("vocab") if isinstance(model, dict) else loaded
    if not isinstance(table, dict) or not all(isinstance(each, int) for each in table.values()):
        raise CheckpointError(
            f"{path} has no table from pieces to numbers; give the vocab.json of the tokenizer"
        )
    return {str(piece): number for piece, number in table.items()}


def _merges(path: Path, vocabulary: Mapping[str, int]) -> list[str]:
    """Read pairs of pieces from `merges.txt`, one a line, or from `tokenizer.json`."""
    pairs = _listed(_json(path)) if path.suffix == ".json" else _lines(path)
    for pair in pairs:
        if len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys():
            raise CheckpointError(
                f"{path} joins {' '.join(pair)!r}, which the vocabulary lacks; download both files "
                "of openai-community/gpt2 again"
            )
    return [" ".join(pair) for pair in pairs]


def _listed(loaded: Mapping[str, Any]) -> list[Sequence[str]]:
    """Older tokenizer files write a pair with a space between, newer ones as two pieces."""
    model = loaded.get("model")
    merges = model.get("merges", []) if isinstance(model, dict) else []
    return [each.split(" ") if isinstance(each, str) else list(map(str, each)) for each in merges]


def _lines(path: Path) -> list[Sequence[str]]:
    first, *others = _text(path).split("\n")
    lines = others if first.startswith("#version") else [first, *others]
    return [line.split(" ") for line in lines if line]
