"""Paired tests: whether one of two results is better on the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainkit.seeds import seed_of

N_FLIPS = 9999
"""Draws of signs behind a p value, which is then 0.0001 at least."""
FEWEST = 6
"""Images from which on differences are tested: of five no p value lies below 0.06."""


def flipped(differences: NDArray[np.float64]) -> float:
    """Return the two-sided p value of the sign-flip test of a mean difference of 0.

    Under the null hypothesis each image's difference may as well have the other sign. Of 9999
    draws of all signs, seeded, the share is counted whose mean is as far from 0; the observed
    one is counted too.

    Args:
        differences: float64 (images,), finite.

    Source:
        Fisher 1935, The Design of Experiments, section 21; counting as Phipson & Smyth 2010.
    """
    if not differences.any():
        return 1.0
    signs = np.random.default_rng(seed_of("paired test")).integers(
        0, 2, (N_FLIPS, len(differences)), dtype=np.int8
    )
    sums = (2.0 * signs.astype(np.float32) - 1.0) @ differences.astype(np.float32)
    observed = abs(float(differences.sum()))
    # Single precision: a sum that is equal but for rounding counts as equal.
    slack = 1e-5 * float(np.abs(differences).sum())
    return float((1 + np.count_nonzero(np.abs(sums) >= observed - slack)) / (1 + N_FLIPS))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down procedure.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected
