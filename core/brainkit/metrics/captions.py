"""Score decoded captions against the true ones with the words they share.

BLEU and CIDEr are those of the COCO caption evaluation, without its Java. Every function takes one
caption per image and that image's references. All references count unless `first_only`; the name
says which (`@allref`, `@1ref`), because the numbers differ widely. An empty caption scores 0.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np

from brainkit.errors import DataError
from brainkit.metrics.features import text_cosine
from brainkit.metrics.score import F1, Score, Values, check_paired, scored

Tokens = tuple[str, ...]
References = Sequence[Sequence[str]]

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
TOKENIZER_NOTE = "tokens: lower case, matches of [a-z0-9]+(?:'[a-z]+)?"
TINY, SMALL = 1e-15, 1e-9
"""Added to counts so that BLEU of nothing in common is nearly, not exactly, 0 / 0."""
LENGTH_SIGMA = 6.0
"""Spread in words of CIDEr's penalty for captions of another length."""
ORDERS = range(1, 5)


def caption_scores(
    decoded: Sequence[str],
    references: References,
    *,
    features: tuple[Any, Sequence[Any]] | None = None,
    network: str = "",
) -> tuple[Score, ...]:
    """Return the scores that reports show of captions, against all references.

    Args:
        decoded: one caption per image.
        references: each image's true captions.
        features: (items, dim) of the decoded captions and, for each image, (n_references, dim) of
            its true captions; None leaves the CLIP score out.
        network: names the CLIP the features come from.
    """
    by_words = (
        bleu(decoded, references, order=1),
        bleu(decoded, references, order=4),
        rouge(decoded, references, kind="rouge1"),
        rouge(decoded, references, kind="rougeL"),
        meteor(decoded, references),
        cider(decoded, references),
    )
    return by_words if features is None else (*by_words, text_cosine(*features, network=network))


def tokens(text: str) -> Tokens:
    """Split a text into lower-case words without punctuation.

    Stands in for the Java tokenizer of the COCO scripts; differs from it in clitics, hyphens and
    accents.

    >>> tokens("Two cats' toys, and it's 3 o'clock.")
    ('two', 'cats', 'toys', 'and', "it's", '3', "o'clock")
    """
    return tuple(WORD.findall(text.lower()))


def bleu(
    decoded: Sequence[str], references: References, *, order: int, first_only: bool = False
) -> Score:
    """Return BLEU of n-grams up to `order` over all captions together.

    Counts are clipped at the maximum over the references; brevity is held against the closest
    reference length, the shorter on ties. `per_item` are the same formula for each caption alone;
    their average is not the BLEU of the set and is not reported.

    Source: Papineni et al. 2002, section 2, with the constants of the COCO evaluation.
    """
    chosen = _chosen(decoded, references, first_only)
    counts = np.array([_bleu_counts(d, r, order) for d, r in zip(decoded, chosen, strict=True)])
    score = scored(
        _named(f"BLEU-{order}", first_only),
        _bleu_of_sets(counts, np.eye(len(counts))),
        notes=("of all captions together, not the mean of the captions' own", TOKENIZER_NOTE),
        unit="BLEU",
        worst=0.0,
    )
    whole = partial(_bleu_of_sets, counts)
    mean = float(whole(np.ones((1, len(counts))))[0])
    return replace(score, mean=mean, sem=math.nan, resample=whole)


def rouge(
    decoded: Sequence[str],
    references: References,
    *,
    kind: Literal["rouge1", "rouge2", "rougeL"],
    first_only: bool = False,
) -> Score:
    """Return the best ROUGE F1 over the references, as the package rouge-score without stemmer."""
    from rouge_score.rouge_scorer import RougeScorer

    chosen = _chosen(decoded, references, first_only)
    scorer = RougeScorer([kind], use_stemmer=False)
    values = [
        max(scorer.score(reference, text)[kind].fmeasure for reference in own)
        for text, own in zip(decoded, chosen, strict=True)
    ]
    return scored(_named(f"ROUGE-{kind[5:]}", first_only), values, **F1)


def meteor(decoded: Sequence[str], references: References, *, first_only: bool = False) -> Score:
    """Return the best METEOR over the references: exact and stem matches, no synonyms.

    nltk's version with alpha 0.9, beta 3, gamma 0.5 and its WordNet stage off, since that needs
    data of its own. COCO's Java METEOR has another scale.
    """
    from nltk.translate.meteor_score import single_meteor_score

    chosen = _chosen(decoded, references, first_only)

    def best(text: str, own: Sequence[str]) -> float:
        words = tokens(text)
        if not words:
            return 0.0
        return max(
            float(single_meteor_score(tokens(one), words, stemmer=_Stems(), wordnet=_NoSynonyms()))
            for one in own
        )

    values = [best(text, own) for text, own in zip(decoded, chosen, strict=True)]
    name = _named("METEOR (no synonyms)", first_only)
    return scored(name, values, notes=(TOKENIZER_NOTE,), unit="METEOR", worst=0.0)


def cider(decoded: Sequence[str], references: References, *, first_only: bool = False) -> Score:
    """Return CIDEr-D: weighted n-grams in common, 0 to 10.

    Words that occur with fewer of the images weigh more, so the value depends on the evaluated set.

    Source: Vedantam et al. 2015, equations 1 to 4, with clipping and the length penalty of 4.
    """
    chosen = _chosen(decoded, references, first_only)
    grams = [[_all_grams(tokens(text)) for text in own] for own in chosen]
    images_with = Counter(gram for own in grams for gram in set().union(*own))
    rarity = {gram: math.log(len(grams) / count) for gram, count in images_with.items()}
    never_seen = math.log(len(grams))
    values = []
    for text, own in zip(decoded, grams, strict=True):
        caption = _weighted(_all_grams(tokens(text)), rarity, never_seen)
        by_reference = [_cider(caption, _weighted(gram, rarity, never_seen)) for gram in own]
        values.append(10 * sum(by_reference) / len(by_reference))
    note = f"word weights from the references of these {len(grams)} images"
    notes = (note, TOKENIZER_NOTE)
    return scored(_named("CIDEr", first_only), values, notes=notes, unit="0 to 10", worst=0.0)


def _named(metric: str, first_only: bool) -> str:
    """Add to a metric's name which references it used."""
    return f"{metric}@{'1ref' if first_only else 'allref'}"


def _chosen(
    decoded: Sequence[str], references: References, first_only: bool
) -> list[Sequence[str]]:
    """Return the references to compare with, checked.

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


def _grams(words: Tokens, order: int) -> Counter[Tokens]:
    return Counter(words[i : i + order] for i in range(len(words) - order + 1))


def _all_grams(words: Tokens) -> Counter[Tokens]:
    return sum((_grams(words, order) for order in ORDERS), Counter())


def _bleu_counts(text: str, references: Sequence[str], order: int) -> list[int]:
    """Return length, closest reference length, then matches and candidates of each order."""
    words, others = tokens(text), [tokens(reference) for reference in references]
    closest = min((abs(len(other) - len(words)), len(other)) for other in others)[1]
    counts = [len(words), closest]
    for n in range(1, order + 1):
        most: Counter[Tokens] = Counter()
        for other in others:
            most |= _grams(other, n)
        mine = _grams(words, n)
        counts += [(mine & most).total(), mine.total()]
    return counts


def _bleu_of_sets(counts: Values, held: Values) -> Values:
    """Return BLEU of several sets of the captions, told by how often each holds each caption."""
    sums = held @ counts
    length, closest = sums[:, 0], sums[:, 1]
    precisions = (sums[:, 2::2] + TINY) / (sums[:, 3::2] + SMALL)
    brevity = np.exp(np.minimum(0, 1 - (closest + SMALL) / (length + TINY)))
    values = brevity * precisions.prod(axis=1) ** (1 / precisions.shape[1])
    return np.asarray(np.where(length > 0, values, 0.0))


@dataclass(frozen=True)
class _Weighted:
    """N-grams times their rarity, their norm per order, and the length in pairs of words."""

    weights: dict[Tokens, float]
    norms: dict[int, float]
    length: int


def _weighted(grams: Counter[Tokens], rarity: dict[Tokens, float], never_seen: float) -> _Weighted:
    weights = {gram: count * rarity.get(gram, never_seen) for gram, count in grams.items()}
    squares = dict.fromkeys(ORDERS, 0.0)
    for gram, weight in weights.items():
        squares[len(gram)] += weight**2
    length = sum(count for gram, count in grams.items() if len(gram) == 2)
    return _Weighted(weights, {n: math.sqrt(square) for n, square in squares.items()}, length)


def _cider(caption: _Weighted, reference: _Weighted) -> float:
    products = dict.fromkeys(ORDERS, 0.0)
    for gram, weight in caption.weights.items():
        other = reference.weights.get(gram, 0.0)
        products[len(gram)] += min(weight, other) * other
    cosines = [
        product / norm
        for n, product in products.items()
        if (norm := caption.norms[n] * reference.norms[n]) > 0
    ]
    penalty = math.exp(-((caption.length - reference.length) ** 2) / (2 * LENGTH_SIGMA**2))
    return penalty * sum(cosines) / len(ORDERS)


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
