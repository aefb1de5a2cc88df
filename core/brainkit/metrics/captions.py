"""Score decoded captions against the true ones with the words they share.

BLEU, CIDEr and COCO's ROUGE-L are those of the COCO caption evaluation, without its Java. Every
function takes one caption per image and that image's references. All references count unless
`first_only`; the name says which (`@allref`, `@1ref`), because the numbers differ widely. An empty
caption scores 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final, Literal

import numpy as np

from brainkit.errors import DataError
from brainkit.metrics import words
from brainkit.metrics.score import F1, Measure, Score, Values, check_paired, scored
from brainkit.metrics.words import TOKENIZER_NOTE, Tokens, pieces, tokens

References = Sequence[Sequence[str]]
Pair = Callable[[str, str], float]
"""From a decoded caption and a true one to how alike they are."""

TINY, SMALL = 1e-15, 1e-9
"""Added to counts so that BLEU of nothing in common is nearly, not exactly, 0 / 0."""
LENGTH_SIGMA = 6.0
"""Spread in words of CIDEr's penalty for captions of another length."""
ORDERS = range(1, 5)
BETA = 1.2
"""Weight of recall in COCO's ROUGE-L."""
KINDS = ("rouge1", "rougeL")
METEOR: Final[Measure] = {"unit": "METEOR", "worst": 0.0}
BLEU_NOTE = "of all captions together, not the mean of the captions' own"


def word_scores(decoded: Sequence[str], references: References) -> tuple[Score, ...]:
    """Return every score of words in common, against all references and against the first.

    METEOR knows synonyms where the user has WordNet among nltk's data, and its name says so.
    """
    found: list[Score] = []
    for first_only in (False, True):
        found += [bleu(decoded, references, order=n, first_only=first_only) for n in ORDERS]
        found += [rouge(decoded, references, kind=k, first_only=first_only) for k in KINDS]
        found.append(rouge_l_coco(decoded, references, first_only=first_only))
        found.append(meteor(decoded, references, first_only=first_only))
        if words.synonyms():
            found.append(meteor(decoded, references, first_only=first_only, synonyms=True))
        found.append(cider(decoded, references, first_only=first_only))
    return tuple(found)


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
    counts = np.array(
        [_bleu_counts(d, tuple(r))[: 2 + 2 * order] for d, r in zip(decoded, chosen, strict=True)]
    )
    whole = partial(_bleu_of_sets, counts)
    score = scored(
        with_references(f"BLEU-{order}", first_only),
        whole(np.eye(len(counts))),
        notes=(BLEU_NOTE, TOKENIZER_NOTE),
        unit="BLEU",
        worst=0.0,
    )
    mean = float(whole(np.ones((1, len(counts))))[0])
    return replace(score, mean=mean, sem=math.nan, resample=whole)


def rouge(
    decoded: Sequence[str],
    references: References,
    *,
    kind: Literal["rouge1", "rouge2", "rougeL"] | str,
    first_only: bool = False,
) -> Score:
    """Return the best ROUGE F1 over the references, as the package rouge-score without stemmer.

    Of ASCII texts the values are the package's; other letters, which it drops, count here.
    """
    pair = _lcs_f1 if kind == "rougeL" else partial(_grams_f1, int(kind[5:]))
    values = _best(decoded, _chosen(decoded, references, first_only), pair)
    return scored(with_references(f"ROUGE-{kind[5:]}", first_only), values, **F1)


def rouge_l_coco(
    decoded: Sequence[str], references: References, *, first_only: bool = False
) -> Score:
    """Return ROUGE-L of the COCO evaluation: recall weighs more, best of each over references.

    F with beta = 1.2 of the largest precision and the largest recall, which may be of different
    references.
    """
    values = []
    for text, own in zip(decoded, _chosen(decoded, references, first_only), strict=True):
        mine, others = tokens(text), [tokens(one) for one in own]
        common = [_lcs(mine, other) for other in others]
        precision = max(common) / len(mine) if mine else 0.0
        recall = max(n / max(len(other), 1) for n, other in zip(common, others, strict=True))
        below = recall + BETA**2 * precision
        values.append((1 + BETA**2) * precision * recall / below if below else 0.0)
    name = with_references("ROUGE-L (COCO)", first_only)
    return scored(name, values, notes=(TOKENIZER_NOTE,), **F1)


def meteor(
    decoded: Sequence[str],
    references: References,
    *,
    first_only: bool = False,
    synonyms: bool = False,
) -> Score:
    """Return the best METEOR over the references, as nltk computes it from these tokens.

    alpha 0.9, beta 3, gamma 0.5; COCO's Java METEOR has another scale.

    Args:
        decoded: one caption per image.
        references: each image's true captions.
        first_only: whether only the first reference counts.
        synonyms: whether WordNet's synonyms match, beside equal words and equal stems.

    Raises:
        DataError: synonyms are asked for and nltk's data have no WordNet.
    """
    if synonyms and not words.synonyms():
        raise DataError(
            "nltk has no WordNet here; `python -m nltk.downloader wordnet` fetches it, or leave "
            "synonyms out"
        )
    pair = partial(_meteor, synonyms)
    values = _best(decoded, _chosen(decoded, references, first_only), pair)
    name = with_references(f"METEOR ({'WordNet' if synonyms else 'no synonyms'})", first_only)
    return scored(name, values, notes=(TOKENIZER_NOTE,), **METEOR)


def cider(decoded: Sequence[str], references: References, *, first_only: bool = False) -> Score:
    """Return CIDEr-D: weighted n-grams in common, 0 to 10.

    Words that occur with fewer of the images weigh more, so the value depends on the evaluated set.

    Source: Vedantam et al. 2015, equations 1 to 4, with clipping and the length penalty of 4.
    """
    chosen = _chosen(decoded, references, first_only)
    grams = [[_all_grams(text) for text in own] for own in chosen]
    images_with = Counter(gram for own in grams for gram in set().union(*own))
    rarity = {gram: math.log(len(grams) / count) for gram, count in images_with.items()}
    never_seen = math.log(len(grams))
    values = []
    for text, own in zip(decoded, grams, strict=True):
        caption = _weighted(_all_grams(text), rarity, never_seen)
        by_reference = [_cider(caption, _weighted(gram, rarity, never_seen)) for gram in own]
        values.append(10 * sum(by_reference) / len(by_reference))
    notes = (f"word weights from the references of these {len(grams)} images", TOKENIZER_NOTE)
    return scored(
        with_references("CIDEr", first_only), values, notes=notes, unit="0 to 10", worst=0.0
    )


@lru_cache(maxsize=1 << 15)
def _meteor(synonyms: bool, text: str, reference: str) -> float:
    from nltk.translate.meteor_score import single_meteor_score

    own, other = tokens(text), tokens(reference)
    wordnet = words.WordNet() if synonyms else words.NoSynonyms()
    if not own:
        return 0.0
    return float(single_meteor_score(other, own, stemmer=words.Stems(), wordnet=wordnet))


def _best(decoded: Sequence[str], references: References, pair: Pair) -> list[float]:
    return [
        max(pair(text, one) for one in own) for text, own in zip(decoded, references, strict=True)
    ]


def with_references(metric: str, first_only: bool) -> str:
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


def _f1(common: int, n_mine: int, n_other: int) -> float:
    return 2 * common / (n_mine + n_other) if common else 0.0


def _grams_f1(order: int, text: str, reference: str) -> float:
    mine, other = (_grams(pieces(one), order) for one in (text, reference))
    return _f1((mine & other).total(), mine.total(), other.total())


def _lcs_f1(text: str, reference: str) -> float:
    mine, other = pieces(text), pieces(reference)
    return _f1(_lcs(mine, other), len(mine), len(other))


@lru_cache(maxsize=1 << 15)
def _lcs(first: Tokens, second: Tokens) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for column, other in enumerate(second, 1):
            above = row[column]
            row[column] = before + 1 if word == other else max(above, row[column - 1])
            before = above
    return row[-1]


def _grams(words: Tokens, order: int) -> Counter[Tokens]:
    return Counter(words[i : i + order] for i in range(len(words) - order + 1))


@lru_cache(maxsize=1 << 15)
def _all_grams(text: str) -> Counter[Tokens]:
    """Return the n-grams of all orders of a text; not to be changed, as it is kept."""
    words = tokens(text)
    grams: Counter[Tokens] = Counter()
    for order in ORDERS:
        grams.update(words[i : i + order] for i in range(len(words) - order + 1))
    return grams


@lru_cache(maxsize=1 << 15)
def _bleu_counts(text: str, references: tuple[str, ...]) -> list[int]:
    """Return length, closest reference length, then matches and candidates of each order."""
    words, others = tokens(text), [tokens(reference) for reference in references]
    closest = min((abs(len(other) - len(words)), len(other)) for other in others)[1]
    counts = [len(words), closest]
    for n in ORDERS:
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
