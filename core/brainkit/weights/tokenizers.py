"""Make `tokenizer.json` from the tables that tokenizers are published as, by transformers' classes.

What is published is checked first, as a table of another network would make other ids without a
word. Files are those of CLIP (Radford et al. 2021, arXiv 2103.00020), BERT (Devlin et al. 2019,
arXiv 1810.04805) and GPT-2 (Radford et al. 2019).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainkit.errors import CheckpointError

CLIP_ENDS = ("<|startoftext|>", "<|endoftext|>")
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GPT2_END = "<|endoftext|>"

Paths = tuple[Path, ...]


def clip_file(paths: Paths) -> bytes:
    """Return the content of CLIP's `tokenizer.json`.

    Args:
        paths: twice `tokenizer.json`, which is kept as it is, or `vocab.json` and `merges.txt`.

    Raises:
        CheckpointError: a file is damaged or of another tokenizer.
    """
    if paths[0].name == "tokenizer.json":
        _check_added(_json(paths[0]), paths[0])
        return paths[0].read_bytes()
    vocabulary = _json(paths[0])
    if not all(isinstance(vocabulary.get(token), int) for token in CLIP_ENDS):
        raise CheckpointError(
            f"{paths[0]} has no numbers for {' and '.join(CLIP_ENDS)}; give the vocab.json of CLIP"
        )
    from transformers import CLIPTokenizer

    return _content(CLIPTokenizer(vocabulary, _merges(paths[1], vocabulary)))


def bert_file(
    paths: Paths, *, cased: bool = True, of: str = "google-bert/bert-base-cased"
) -> bytes:
    """Return the content of a BERT's `tokenizer.json`, which neither truncates nor pads.

    Args:
        paths: `vocab.txt`, one piece a line, or `tokenizer.json`, whose table is taken.
        cased: whether capitals and accents are kept.
        of: where the right file is published, for errors.

    Raises:
        CheckpointError: the file is damaged or of another tokenizer.
    """
    from transformers import BertTokenizer

    (path,) = paths
    vocabulary = _numbered(path) if path.suffix == ".txt" else _table(_json(path), path)
    lacking = [token for token in BERT_SPECIAL if token not in vocabulary]
    if lacking or vocabulary["[PAD]"] != 0:
        what = f"no {', '.join(lacking)}" if lacking else f"[PAD] as number {vocabulary['[PAD]']}"
        raise CheckpointError(
            f"{path} has {what}, expected BERT's special tokens with [PAD] as number 0; give "
            f"vocab.txt of {of}"
        )
    return _content(BertTokenizer(vocabulary, do_lower_case=not cased))


def gpt2_file(paths: Paths, added: Sequence[str] = ()) -> bytes:
    """Return the content of GPT-2's `tokenizer.json`.

    Args:
        paths: `vocab.json` and `merges.txt`, or twice `tokenizer.json`, whose tables are taken.
        added: special tokens that follow all others, in this order.

    Raises:
        CheckpointError: a file is damaged or of another tokenizer.
    """
    from transformers import GPT2Tokenizer

    vocabulary = _table(_json(paths[0]), paths[0])
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise CheckpointError(
            f"{paths[0]} does not number its {len(vocabulary)} pieces from 0 without gaps; "
            "download it again"
        )
    if GPT2_END not in vocabulary or any(piece.endswith("</w>") for piece in vocabulary):
        raise CheckpointError(
            f"{paths[0]} is not GPT-2's vocabulary, which has {GPT2_END} and no pieces that end "
            "in </w>; give vocab.json of openai-community/gpt2"
        )
    tokenizer = GPT2Tokenizer(vocabulary, _merges(paths[1], vocabulary))
    tokenizer.add_tokens(list(added), special_tokens=True)
    return _content(tokenizer)


def _content(tokenizer: Any) -> bytes:
    return str(tokenizer.backend_tokenizer.to_str()).encode()


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


def _check_added(tokenizer: Mapping[str, Any], path: Path) -> None:
    added = tokenizer.get("added_tokens") or []
    known = [str(token.get("content")) for token in added if isinstance(token, dict)]
    if CLIP_ENDS[1] not in known:
        raise CheckpointError(
            f"{path} has {known} as added tokens, expected {CLIP_ENDS[1]}; give the tokenizer of "
            "CLIP"
        )


def _numbered(path: Path) -> dict[str, int]:
    """Return the lines of a vocabulary, numbered from 0."""
    lines = _text(path).removesuffix("\n").split("\n")
    return {piece: number for number, piece in enumerate(lines)}


def _table(loaded: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Return the table of `vocab.json`, which is one, or of `tokenizer.json`."""
    model = loaded.get("model")
    table = model.get("vocab") if isinstance(model, dict) else loaded
    if not isinstance(table, Mapping) or not all(isinstance(n, int) for n in table.values()):
        raise CheckpointError(
            f"{path} has no table from pieces to numbers; give the vocab.json of the tokenizer"
        )
    return {str(piece): number for piece, number in table.items()}


def _merges(path: Path, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return pairs of pieces of `merges.txt`, one a line, or of `tokenizer.json`."""
    pairs = _listed(_json(path)) if path.suffix == ".json" else _lines(path)
    for pair in pairs:
        if len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys():
            raise CheckpointError(
                f"{path} joins {' '.join(pair)!r}, which the vocabulary beside it lacks; download "
                "both files again"
            )
    return [(first, second) for first, second in pairs]


def _listed(loaded: Mapping[str, Any]) -> list[list[str]]:
    """Older tokenizer files write a pair with a space between, newer ones as two pieces."""
    model = loaded.get("model")
    merges = model.get("merges", []) if isinstance(model, dict) else []
    return [pair.split(" ") if isinstance(pair, str) else list(map(str, pair)) for pair in merges]


def _lines(path: Path) -> list[list[str]]:
    lines = _text(path).split("\n")
    return [line.split() for line in lines if line.strip() and not line.startswith("#version")]
