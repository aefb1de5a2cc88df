"""Captions as words: what separates them, and which words are the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

Tokens = tuple[str, ...]

# Scripts that part no words with spaces: Thai, Lao, Burmese, Khmer, kana and Han.
ALONE = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
LETTER = rf"[^\W_{ALONE}]"
WORD = re.compile(rf"{LETTER}+(?:'[^\W\d_{ALONE}]+)?|[{ALONE}]")
PIECE = re.compile(rf"{LETTER}+|[{ALONE}]")
TOKENIZER_NOTE = (
    "tokens: lower case, runs of letters and digits with an apostrophe inside; one a character in "
    "scripts without spaces"
)


@lru_cache(maxsize=1 << 15)
def tokens(text: str) -> Tokens:
    """Split a text into lower-case words without punctuation.

    Of ASCII these are the matches of `[a-z0-9]+(?:'[a-z]+)?`, which stand in for the Java tokenizer
    of the COCO scripts; it differs in clitics and hyphens. Letters of any script are letters.

    >>> tokens("Two cats' toys, and it's 3 o'clock.")
    ('two', 'cats', 'toys', 'and', "it's", '3', "o'clock")
    >>> tokens("a café"), tokens("犬が走る")
    (('a', 'café'), ('犬', 'が', '走', 'る'))
    """
    return tuple(WORD.findall(text.lower()))


@lru_cache(maxsize=1 << 15)
def pieces(text: str) -> Tokens:
    """Split a text as the package rouge-score does: apostrophes part words too.

    >>> pieces("It's a café.")
    ('it', 's', 'a', 'café')
    """
    return tuple(PIECE.findall(text.lower()))


class Stems:
    """Porter stems, each word stemmed once."""

    def stem(self, word: str) -> str:
        """Return the stem of a word."""
        return _stem(word)


class NoSynonyms:
    """Stands where nltk expects WordNet and knows no word."""

    def synsets(self, word: str) -> tuple[Any, ...]:
        """Return nothing."""
        return ()


class WordNet:
    """WordNet as nltk reads it, each word looked up once."""

    def synsets(self, word: str) -> Sequence[Any]:
        """Return the synsets of a word."""
        return _synsets(word)


@cache
def synonyms() -> bool:
    """Say whether the user has WordNet among the data of nltk; nothing is downloaded."""
    try:
        _synsets("dog")
    except LookupError:
        return False
    return True


@cache
def _synsets(word: str) -> Sequence[Any]:
    from nltk.corpus import wordnet

    return tuple(wordnet.synsets(word))


@cache
def _stem(word: str) -> str:
    return str(_porter().stem(word))


@cache
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()
