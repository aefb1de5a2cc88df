"""Compare paired features: of stimuli and reconstructions, or of captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainkit.metrics.correlation import correlation_matrix, paired_correlation
from brainkit.metrics.score import Score, check_paired, scored


def feature_cosine(targets: Any, recons: Any, *, network: str) -> Score:
    """Give the cosine of each pair of features.

    Args:
        targets: (items, *shape), features of the stimuli.
        recons: (items, *shape), features of the reconstructions.
        network: becomes part of the name, e.g. "CLIP (miniature)".
    """
    check_paired(targets, recons, ("targets", "reconstructions"))
    return scored(f"{network} cosine", paired_correlation(targets, recons, centred=False))


def correlation_distance(targets: Any, recons: Any, *, network: str) -> Score:
    """Give one minus the correlation of each pair of features; lower is better."""
    check_paired(targets, recons, ("targets", "reconstructions"))
    distances = 1 - paired_correlation(targets, recons)
    return scored(f"{network} correlation distance", distances, higher_is_better=False)


def clip_s(images: Any, captions: Any, *, network: str) -> Score:
    """Score captions against images: 2.5 max(cosine, 0).

    Args:
        images: (items, dim), image features.
        captions: (items, dim), text features of "A photo depicts" and the caption.
        network: becomes part of the name; published values are for CLIP ViT-B/32.

    Source: Hessel et al. 2021, CLIPScore, section 3.
    """
    check_paired(images, captions, ("images", "captions"))
    cosines = paired_correlation(images, captions, centred=False)
    return scored(f"CLIP-S, {network}", 2.5 * np.maximum(cosines, 0))


def text_cosine(decoded: Any, references: Sequence[Any], *, network: str) -> Score:
    """Give the cosine of each decoded caption with the closest of its references.

    Args:
        decoded: (items, dim), text features of the decoded captions.
        references: for each item (n_references, dim), text features of its true captions.
        network: becomes part of the name.
    """
    check_paired(decoded, references, ("decoded captions", "sets of references"))
    pairs = zip(np.asarray(decoded), references, strict=True)
    cosines = [correlation_matrix(row[None], refs, centred=False).max() for row, refs in pairs]
    return scored(f"{network} text-text@allref", cosines)
