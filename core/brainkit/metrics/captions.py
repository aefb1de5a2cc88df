"""Score decoded captions against the true ones with the words they share.

Every function takes one caption per image and that image's references. All references count unless
`first_only`; the name says which (`@allref`, `@1ref`), because the numbers differ widely. An empty
caption scores 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from brainkit.errors import DataError
from brainkit.metrics.score import Score, check_paired, scored

Tokens = tuple[str, ...]
References = Sequence[Sequence[str]]

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
TOKENIZER_NOTE = "tokens: lower case, matches of [a-z0-9]+(?:'[a-z]+)?"


def tokens(text: str) -> Tokens:
    """Split a text into lower-case words without punctuation.

    Stands in for the Java tokenizer of the COCO scripts; differs from it in clitics, hyphens and
    accents.

    >>> tokens("Two cats' toys, and it's 3 o'clock.")
    ('two', 'cats', 'toys', 'and', "it's", '3', "o'clock")
    """
    return tuple(WORD.findall(text.lower()))


def rouge(
    decoded: Sequence[str],
    references: References,
    *,
    kind: Literal["rouge1", "rouge2", "rougeL"],
    first_only: bool = False,
) -> Score:
    """Give the best ROUGE F1 over the references, as the package rouge-score without stemmer."""
    from rouge_score.rouge_scorer import RougeScorer

    chosen = chosen_references(decoded, references, first_only)
    scorer = RougeScorer([kind], use_stemmer=False)
    values = [
        max(scorer.score(reference, text)[kind].fmeasure for reference in own)
        for text, own in zip(decoded, chosen, strict=True)
    ]
    return scored(named(f"ROUGE-{kind[5:]}", first_only), values)


def meteor(decoded: Sequence[str], references: References, *, first_only: bool = False) -> Score:
    """Give the best METEOR over the references: exact and stem matches, no synonyms.

    nltk's version with alpha 0.9, beta 3, gamma 0.5 and its WordNet stage off, since that needs
    data of its own. COCO's Java METEOR has another scale.
    """
    from nltk.translate.meteor_score import single_meteor_score

    chosen = chosen_references(decoded, references, first_only)

    def best(text: str, own: Sequence[str]) -> float:
        words = tokens(text)
        if not words:
            return 0.0
        return max(
            float(single_meteor_score(tokens(one), words, stemmer=_Stems(), wordnet=_NoSynonyms()))
            for one in own
        )

    values = [best(text, own) for text, own in zip(decoded, chosen, strict=True)]
    return scored(named("METEOR (no synonyms)", first_only), values, notes=(TOKENIZER_NOTE,))


def named(metric: str, first_only: bool) -> str:
    """Add to a metric's name which references it used."""
    return f"{metric}@{'1ref' if first_only else 'allref'}"


def chosen_references(
    decoded: Sequence[str], references: References, first_only: bool
) -> list[Sequence[str]]:
    """Give the references to compare with, checked.

    Raises:
        DataError: the two differ in length, or an image has no reference.
    """
    check_paired(decoded, references, ("decoded captions", "sets of references"))
    for item, own in enumerate(references):
        if isinstance(own, str) or not own:
            raise DataError(
                f"item {item} has references {own!r}; expected a sequence of at least one caption"
            )
    return [own[:1] if first_only else own for own in references]


class _NoSynonyms:
    """Stands where nltk expects WordNet and knows no word."""

    def synsets(self, word: str) -> tuple[Any, ...]:
        return ()


class _Stems:
    """Porter stems, each word stemmed once."""

    def stem(self, word: str) -> str:
        return _stem(word)


@cache
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


@cache
def _stem(word: str) -> str:
    return str(_porter().stem(word))
