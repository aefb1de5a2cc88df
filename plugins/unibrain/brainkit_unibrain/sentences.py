"""Tidy the sentences that a language model wrote: clean spaces, no repeated phrases."""

from __future__ import annotations

import re
from collections.abc import Iterable

OPENING, CLOSING = "([{", ".,!?;:)]}"


def clean(text: str) -> str:
    """Undo the spaces that tokenisation put before marks and contractions.

    >>> clean(" it 's a bus , i do not know .")
    "it's a bus, i don't know."
    """
    text = " ".join(text.split())
    text = text.replace(" ' ", "'")
    text = re.sub(r" (?=[.?!,]|n't\b|'(?:m|s|ve|re)\b)", "", text)
    return text.replace(" do not", " don't")


def without_repeats(text: str) -> str:
    """Drop every phrase that at once repeats the one before it, shortest phrases first.

    Marks are words of their own while comparing, so a repeat behind a comma stays.

    >>> without_repeats("a dog dog on the beach on the beach")
    'a dog on the beach'

    Source: the repeat removal of Versatile Diffusion's second demo, from its published behaviour.
    """
    words = _split_marks(text)
    size = 1
    while 2 * size <= len(words):
        words = _without_repeats_of(size, words)
        size += 1
    return _joined(words)


def _without_repeats_of(size: int, words: list[str]) -> list[str]:
    kept: list[str] = []
    for word in words:
        kept.append(word)
        if len(kept) >= 2 * size and kept[-size:] == kept[-2 * size : -size]:
            del kept[-size:]
    return kept


def _split_marks(text: str) -> list[str]:
    marks = re.escape(OPENING + CLOSING)
    return re.findall(rf"[{marks}]|[^\s{marks}]+", text)


def _joined(words: Iterable[str]) -> str:
    text = " ".join(words)
    text = re.sub(rf"([{re.escape(OPENING)}]) ", r"\1", text)
    return re.sub(rf" ([{re.escape(CLOSING)}])", r"\1", text)
