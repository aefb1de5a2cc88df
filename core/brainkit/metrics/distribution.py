"""Compare two sets of features as distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from brainkit.errors import DataError
from brainkit.metrics.score import Score, Values


def frechet_distance(targets: Any, recons: Any, *, network: str) -> Score:
    """Give the Fréchet distance of two sets of features taken as Gaussians.

        |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))

    The root's trace is computed from symmetric eigenvalues, negative ones clipped, so singular
    covariances make no complex noise.

    Args:
        targets: (items, dim), features of the stimuli.
        recons: (other items, dim), features of the reconstructions.
        network: becomes part of the name; "FID" means the Inception of 2015.

    Raises:
        DataError: the widths differ, or a set has fewer than two items.

    Source: Heusel et al. 2017, equation 6; covariances with n - 1.
    """
    first, second = (np.asarray(f, dtype=np.float64).reshape(len(f), -1) for f in (targets, recons))
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise DataError(
            f"features of shapes {first.shape} and {second.shape} have no Fréchet distance; "
            "give at least two rows each, of equal width"
        )
    shift = float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum())
    a, b = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (first, second))
    value = shift + float(np.trace(a) + np.trace(b)) - 2 * _trace_of_root(a, b)
    fewest = min(len(first), len(second))
    notes: tuple[str, ...] = ("lower for more images; compare only sets of equal size",)
    if fewest <= first.shape[1]:
        notes += (f"{fewest} images for {first.shape[1]} dimensions: strongly biased upward",)
    return Score(
        name=f"Fréchet distance, {network}",
        mean=max(value, 0.0),
        sem=math.nan,
        per_item=np.empty(0),
        n_defined=fewest,
        higher_is_better=False,
        notes=notes,
    )


def _trace_of_root(a: Values, b: Values) -> float:
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ b @ root)
    return float(np.sqrt(np.clip(inner, 0, None)).sum())
