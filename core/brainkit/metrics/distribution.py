"""Compare two sets of features as distributions, which pairs nothing with anything.

Exchanging reconstructions between images changes neither score, so neither has a chance level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from brainkit.errors import DataError
from brainkit.metrics.score import Score, Values

FEW: Final = 2048
"""Items below which a Fréchet distance of any features is called biased."""


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
    value = shift + spread - 2 * _trace_of_root(first, second)
    bias = _bias(min(len(first), len(second)), first.shape[1])
    return _of_sets(frechet_name(network), max(value, 0.0), (first, second), bias)


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
