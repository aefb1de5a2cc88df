"""Score decoded captions by what networks make of them: of texts alone, or of images and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from brainkit.metrics.captions import References, with_references, word_scores
from brainkit.metrics.correlation import WORST, correlation_or_worst
from brainkit.metrics.score import (
    COSINE,
    Measure,
    Order,
    Score,
    Values,
    check_paired,
    scored,
    taken,
)

CLIP_S: Final[Measure] = {"unit": "0 to 2.5", "worst": 0.0}
REF_CLIP_S: Final[Measure] = {"unit": "0 to 1.4", "worst": 0.0}
WEIGHT: Final = 2.5
"""Of the cosine in CLIP-S."""
PROMPT: Final = "A photo depicts "
"""What CLIP-S puts before every caption."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Captions as a network for texts sees them.

    Attributes:
        network: becomes part of the names, e.g. "CLIP ViT-L/14 text-text".
        decoded: (items, dim), of the decoded captions.
        references: for each item (n_references, dim), of its true captions.
        images: (items, dim), of the stimuli, where the network sees these too and all captions
            have `PROMPT` before them; else None.
    """

    network: str
    decoded: Any
    references: Sequence[Any]
    images: Any = None

    def ordered(self, order: Order) -> Embedded:
        """Return the same of decoded captions in an order."""
        decoded = taken(self.decoded, order)
        return Embedded(self.network, decoded, self.references, self.images)

    def scores(self) -> tuple[Score, ...]:
        """Return cosines with the true captions, or CLIP-S and RefCLIP-S where it sees images."""
        if self.images is not None:
            return clip_scores(self)
        pairs = (self.decoded, self.references)
        return tuple(
            text_cosine(*pairs, network=self.network, first_only=first) for first in (False, True)
        )


def caption_scores(
    decoded: Sequence[str], references: References, *, embedded: Sequence[Embedded] = ()
) -> tuple[Score, ...]:
    """Return all scores of captions: of words in common, then by networks.

    Args:
        decoded: one caption per image.
        references: each image's true captions.
        embedded: the same captions as networks see them.
    """
    by_words = word_scores(decoded, references)
    return (*by_words, *(score for each in embedded for score in each.scores()))


def text_cosine(
    decoded: Any, references: Sequence[Any], *, network: str, first_only: bool = False
) -> Score:
    """Return the cosine of each decoded caption with the closest of its references.

    Args:
        decoded: (items, dim), text features of the decoded captions.
        references: for each item (n_references, dim), text features of its true captions.
        network: becomes the name.
        first_only: whether only the first reference counts.
    """
    cosines = _closest(decoded, references, first_only)
    return scored(with_references(network, first_only), cosines, **COSINE)


def clip_scores(captions: Embedded) -> tuple[Score, ...]:
    """Return CLIP-S, and RefCLIP-S against all references and against the first.

        CLIP-S = 2.5 max(cos(image, caption), 0)
        RefCLIP-S = harmonic mean of CLIP-S and max(best cos(reference, caption), 0)

    Source: Hessel et al. 2021, CLIPScore, section 3; published values are for CLIP ViT-B/32.
    """
    check_paired(captions.images, captions.decoded, ("images", "captions"))
    cosines = correlation_or_worst(captions.images, captions.decoded, centred=False)
    of_images = WEIGHT * np.maximum(cosines, 0)
    found = [scored(f"CLIP-S, {captions.network}", of_images, **CLIP_S)]
    for first_only in (False, True):
        closest = np.maximum(_closest(captions.decoded, captions.references, first_only), 0)
        both = of_images + closest
        means = np.divide(2 * of_images * closest, both, out=np.zeros_like(both), where=both > 0)
        name = with_references(f"RefCLIP-S, {captions.network}", first_only)
        found.append(scored(name, means, **REF_CLIP_S))
    return tuple(found)


def _closest(decoded: Any, references: Sequence[Any], first_only: bool) -> Values:
    """Return the largest cosine of each caption with its references; -1 for a caption of zeros."""
    check_paired(decoded, references, ("decoded captions", "sets of references"))
    counts = [1 if first_only else len(own) for own in references]
    flat = np.concatenate([own[:count] for own, count in zip(references, counts, strict=True)])
    owners = np.repeat(np.arange(len(counts)), counts)
    rows, others = _unit(np.asarray(decoded)), _unit(flat)
    cosines = np.einsum("ij,ij->i", others, rows[owners])
    best = np.full(len(counts), WORST)
    np.maximum.at(best, owners, np.where(np.isnan(cosines), WORST, cosines))
    return best


def _unit(rows: Any) -> Values:
    values = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, np.nan)
