"""Compare two sets of features as distributions, which pairs nothing with anything.

Exchanging reconstructions between images changes neither score, so neither has a chance level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from brainkit.data import Interval
from brainkit.errors import DataError
from brainkit.metrics.intervals import FEWEST, LEVEL
from brainkit.metrics.score import Score, Values

FEW: Final = 2048
"""Items below which a Fréchet distance of any features is called biased."""

DELTA_NOTE: Final = (
    "The interval is ± 1.96 standard errors over images by the delta method: how far other "
    "images would move the distance, whatever its bias. Images drawn twice would add to it, so "
    "there is no bootstrap."
)


def frechet_name(network: str) -> str:
    """Name the Fréchet distance of a network's features."""
    return f"Fréchet distance, {network}"


def kernel_name(network: str) -> str:
    """Name the kernel distance of a network's features."""
    return f"kernel distance, {network}"


def frechet_distance(targets: Any, recons: Any, *, network: str) -> Score:
    """Return the Fréchet distance of two sets of features taken as Gaussians.

        |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))

    The root's trace is computed from symmetric eigenvalues, negative ones clipped, or with fewer
    items than dimensions from singular values, so singular covariances make no complex noise.

    Args:
        targets: (items, dim), features of the stimuli.
        recons: (other items, dim), features of the reconstructions.
        network: becomes part of the name; "FID" means the Inception of 2015.

    Raises:
        DataError: the widths differ, or a set has fewer than two items.

    Source: Heusel et al. 2017, equation 6; covariances with n - 1.
    """
    first, second = _two_sets(targets, recons, "Fréchet distance")
    shift = float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum())
    spread = sum(float(f.var(axis=0, ddof=1).sum()) for f in (first, second))
    value = max(shift + spread - 2 * _trace_of_root(first, second), 0.0)
    bias = _bias(min(len(first), len(second)), first.shape[1])
    score = _of_sets(frechet_name(network), value, (first, second), bias)
    # Sets of other sizes are not of the same items, which could be drawn together.
    if len(first) != len(second) or len(first) < FEWEST:
        return score
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * _standard_error(first, second)
    interval = Interval(max(value - reach, 0.0), value + reach, LEVEL, "delta method")
    return replace(score, interval=interval, notes=(*score.notes, DELTA_NOTE))


def frechet_influences(first: Values, second: Values) -> Values:
    """Return how the Fréchet distance changes as an item pair of both sets gains weight.

    The derivative along (1 - t) p + t delta_i at equal weights p, with centred rows a_i and b_i,
    c = n / (n - 1), and A B' = U D V' of the rows times sqrt(c / n):

        2 (m1 - m2) . (a_i - b_i) + c |a_i|^2 - tr S1 + c |b_i|^2 - tr S2
        - (n (U D U')_ii + n (V D V')_ii - 2 tr D)

    since tr (S1 S2)^(1/2) has the derivative tr (T dS1 + T^-1 dS2) / 2, T the optimal transport,
    for which A T A' = U D U'.

    Args:
        first: float64 (items, dim), two items or more.
        second: float64 (items, dim), of the same items.

    Returns:
        float64 (items,), which sum to 0.
    """
    n = len(first)
    rows = [each - each.mean(axis=0) for each in (first, second)]
    shift = first.mean(axis=0) - second.mean(axis=0)
    sizes = sum((each**2).sum(axis=1) for each in rows) * n / (n - 1)
    left, values, right = _decomposed(*(each / math.sqrt(n - 1) for each in rows))
    roots = n * (left**2 @ values + right**2 @ values)
    each = 2 * (rows[0] - rows[1]) @ shift + sizes - roots
    return np.asarray(each - (sizes.mean() - 2 * values.sum()))


def _standard_error(first: Values, second: Values) -> float:
    """Return the infinitesimal jackknife's standard error over items."""
    n = len(first)
    return float(np.sqrt(np.square(frechet_influences(first, second)).sum() / (n * (n - 1))))


def _decomposed(first: Values, second: Values) -> tuple[Values, Values, Values]:
    """Return left vectors, values and right vectors of A B', (items, rank) and (rank,)."""
    if len(first) <= first.shape[1]:
        left, values, right = np.linalg.svd(first @ second.T)
        return left, values, right.T
    (q1, r1), (q2, r2) = np.linalg.qr(first), np.linalg.qr(second)
    left, values, right = np.linalg.svd(r1 @ r2.T)
    return q1 @ left, values, q2 @ right.T


def kernel_distance(targets: Any, recons: Any, *, network: str) -> Score:
    """Return the kernel distance of two sets of features: the unbiased squared MMD.

        mean of k(x, x') over pairs of different stimuli
        + mean of k(y, y') over pairs of different reconstructions - 2 mean of k(x, y)
        k(x, y) = (x . y / dim + 1)^3

    It is taken over the whole sets at once, not over random subsets, so it needs no seed. It may be
    below 0, which means that the sets are not told apart.

    Args:
        targets: (items, dim), features of the stimuli.
        recons: (other items, dim), features of the reconstructions.
        network: becomes part of the name; "KID" means the Inception of 2015.

    Raises:
        DataError: the widths differ, or a set has fewer than two items.

    Source: Bińkowski et al. 2018, arXiv 1801.01401, equation 4 and section 3.
    """
    first, second = _two_sets(targets, recons, "kernel distance")
    kernels = [_kernel(*pair) for pair in ((first, first), (second, second), (first, second))]
    within = sum(_mean_of_others(kernel) for kernel in kernels[:2])
    value = within - 2 * float(kernels[2].mean())
    score = _of_sets(
        kernel_name(network), value, (first, second), "unbiased whatever n, may be below 0."
    )
    # Sets of other sizes are not of the same items, which could be drawn together.
    same = len(first) == len(second)
    return replace(score, resample=partial(_kernel_distances, kernels)) if same else score


def _kernel_distances(kernels: Sequence[Values], counts: Values) -> Values:
    """Return the distance of several sets of the items, told by how often each holds each item.

    Pairs of an item with itself are left out, also where a set holds it twice.
    """
    n_pairs = counts.sum(axis=1) ** 2 - np.square(counts).sum(axis=1)
    others = [kernel - np.diag(np.diagonal(kernel)) for kernel in kernels[:2]]
    within = sum(np.einsum("si,si->s", counts @ kernel, counts) for kernel in others)
    across = np.einsum("si,si->s", counts @ kernels[2], counts) / counts.sum(axis=1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(within / n_pairs - 2 * across)


def _two_sets(targets: Any, recons: Any, what: str) -> tuple[Values, Values]:
    first, second = (np.asarray(f, dtype=np.float64).reshape(len(f), -1) for f in (targets, recons))
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise DataError(
            f"features of shapes {first.shape} and {second.shape} have no {what}; "
            "give at least two rows each, of equal width"
        )
    for features, what_of in ((first, "stimuli"), (second, "reconstructions")):
        spoilt = int((~np.isfinite(features)).any(axis=1).sum())
        if spoilt:
            raise DataError(
                f"{spoilt} of {len(features)} rows of features of the {what_of} are not finite, so "
                f"there is no {what}; look at these pictures, or read them in float32"
            )
    return first, second


def _bias(n: int, dim: int) -> str:
    same = "compare only sets of equal size."
    if n <= dim:
        return f"strongly biased upward, as n is no more than the {dim} dimensions; {same}"
    if n < FEW:
        return f"biased upward, as n < {FEW}; {same}"
    return f"lower for more images; {same}"


def _of_sets(name: str, value: float, sets: tuple[Values, Values], bias: str) -> Score:
    n_targets, n_recons = (len(each) for each in sets)
    return Score(
        name=name,
        mean=value,
        sem=math.nan,
        per_item=np.empty(0),
        n_defined=min(n_targets, n_recons),
        higher_is_better=False,
        unit="distance",
        notes=(
            f"n = {n_targets} stimuli and {n_recons} reconstructions: {bias}",
            "It compares sets and pairs nothing: exchanging reconstructions between images leaves "
            "it as it is, so there is no chance level.",
        ),
    )


def _kernel(first: Values, second: Values) -> Values:
    return np.asarray((first @ second.T / first.shape[1] + 1) ** 3)


def _mean_of_others(kernel: Values) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _trace_of_root(first: Values, second: Values) -> float:
    roots = [(f - f.mean(axis=0)) / math.sqrt(len(f) - 1) for f in (first, second)]
    if max(len(first), len(second)) <= first.shape[1]:
        # With S1 = X'X and S2 = Y'Y the root's trace is the sum of the singular values of XY'.
        return float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    a, b = (root.T @ root for root in roots)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ b @ root)
    return float(np.sqrt(np.clip(inner, 0, None)).sum())
