"""BLEU, ROUGE-L and CIDEr as the COCO caption evaluation defines them, without its Java."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from brainkit.metrics.captions import (
    TOKENIZER_NOTE,
    References,
    Tokens,
    chosen_references,
    named,
    tokens,
)
from brainkit.metrics.score import Score, Values, scored

TINY, SMALL = 1e-15, 1e-9
"""Added to counts so that BLEU of nothing in common is nearly, not exactly, 0 / 0."""
BETA = 1.2
"""Weight of recall over precision in ROUGE-L."""
LENGTH_SIGMA = 6.0
"""Spread in words of CIDEr's penalty for captions of another length."""
ORDERS = range(1, 5)


def bleu(
    decoded: Sequence[str], references: References, *, order: int, first_only: bool = False
) -> Score:
    """Give BLEU of n-grams up to `order` over all captions together.

    Counts are clipped at the maximum over the references; brevity is held against the closest
    reference length, the shorter on ties. `per_item` are the same formula for each caption alone;
    their average is not the BLEU of the set and is not reported.

    Source: Papineni et al. 2002, section 2, with the constants of the COCO evaluation.
    """
    chosen = chosen_references(decoded, references, first_only)
    counts = np.array([_bleu_counts(d, r, order) for d, r in zip(decoded, chosen, strict=True)])
    score = scored(
        named(f"BLEU-{order}", first_only),
        [_bleu(row) for row in counts],
        notes=("of all captions together, not the mean of the captions' own", TOKENIZER_NOTE),
    )
    return replace(score, mean=_bleu(counts.sum(axis=0)), sem=math.nan)


def rouge_l_coco(
    decoded: Sequence[str], references: References, *, first_only: bool = False
) -> Score:
    """Give ROUGE-L with recall weighted 1.2, from the best precision and the best recall.

    The two may come from different references. Not the `rougeL` of the package rouge-score.
    """
    chosen = chosen_references(decoded, references, first_only)
    values = [_rouge_l(d, r) for d, r in zip(decoded, chosen, strict=True)]
    return scored(named("ROUGE-L (coco)", first_only), values, notes=(TOKENIZER_NOTE,))


def cider(decoded: Sequence[str], references: References, *, first_only: bool = False) -> Score:
    """Give CIDEr-D: weighted n-grams in common, 0 to 10.

    Words that occur with fewer of the images weigh more, so the value depends on the evaluated set.

    Source: Vedantam et al. 2015, equations 1 to 4, with clipping and the length penalty of 4.
    """
    chosen = chosen_references(decoded, references, first_only)
    grams = [[_all_grams(tokens(text)) for text in own] for own in chosen]
    images_with = Counter(gram for own in grams for gram in set().union(*own))
    rarity = {gram: math.log(len(grams) / count) for gram, count in images_with.items()}
    never_seen = math.log(len(grams))
    values = []
    for text, own in zip(decoded, grams, strict=True):
        caption = _weighted(_all_grams(tokens(text)), rarity, never_seen)
        each = [_cider(caption, _weighted(gram, rarity, never_seen)) for gram in own]
        values.append(10 * sum(each) / len(each))
    note = f"word weights from the references of these {len(grams)} images"
    return scored(named("CIDEr", first_only), values, notes=(note, TOKENIZER_NOTE))


def _grams(words: Tokens, order: int) -> Counter[Tokens]:
    return Counter(words[i : i + order] for i in range(len(words) - order + 1))


def _all_grams(words: Tokens) -> Counter[Tokens]:
    return sum((_grams(words, order) for order in ORDERS), Counter())


def _bleu_counts(text: str, references: Sequence[str], order: int) -> list[int]:
    """Give length, closest reference length, then matches and candidates of each order."""
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


def _bleu(counts: Values) -> float:
    length, closest = counts[:2]
    if length == 0:
        return 0.0
    precisions = (counts[2::2] + TINY) / (counts[3::2] + SMALL)
    brevity = math.exp(min(0.0, 1 - (closest + SMALL) / (length + TINY)))
    return float(brevity * precisions.prod() ** (1 / len(precisions)))


def _rouge_l(text: str, references: Sequence[str]) -> float:
    words, others = tokens(text), [tokens(reference) for reference in references]
    common = [_common_subsequence(words, other) for other in others]
    precision = max(common) / max(len(words), 1)
    recall = max(c / max(len(other), 1) for c, other in zip(common, others, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_subsequence(first: Tokens, second: Tokens) -> int:
    """Give the length of the longest common subsequence, one row of the table at a time."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for j, other in enumerate(second, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return row[-1]


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
