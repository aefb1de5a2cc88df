"""Pearson correlation and cosine of rows that may be too many or too wide for memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.metrics.score import Values

WORST = -1.0
"""The least that a correlation or cosine can be."""
BLOCK = 8192
"""Feature columns read at a time: 64 MB for each thousand rows and side."""


def correlation_matrix(first: Any, second: Any, *, centred: bool = True) -> Values:
    """Correlate every row of one matrix with every row of another.

    Rows are centred and the products of all pairs are accumulated as one matrix product over blocks
    of columns, so memory does not grow with the width. Sums over blocks are float64; products
    within a block are float32 where rows have several blocks, which keeps r to 1e-6.

    Args:
        first: (rows, *shape), numpy, memory-mapped or CPU tensor.
        second: (other rows, *shape).
        centred: False gives cosines instead of correlations.

    Returns:
        float64 (rows, other rows); NaN for rows that do not vary (cosine: rows of zeros).

    Raises:
        DataError: the widths differ.
    """
    left, right = _matrix(first), _matrix(second)
    _check_widths(left, right)
    means = _means(left, centred), _means(right, centred)
    product, narrow = np.zeros((len(left), len(right))), left.shape[1] <= BLOCK
    squares = np.zeros(len(left)), np.zeros(len(right))
    for block in _blocks(left.shape[1]):
        rows, others = (
            _centred(each[:, block], mean, narrow)
            for each, mean in zip((left, right), means, strict=True)
        )
        product += rows @ others.T
        squares[0][:] += _squares(rows)
        squares[1][:] += _squares(others)
    norms = [_norms(s, m, left.shape[1]) for s, m in zip(squares, means, strict=True)]
    return np.asarray(np.clip(product / norms[0][:, None] / norms[1][None, :], -1, 1))


def paired_correlation(first: Any, second: Any, *, centred: bool = True) -> Values:
    """Correlate each row of one matrix with the same row of another, float64 (rows,).

    As the diagonal of `correlation_matrix`, without the other pairs.
    """
    left, right = _matrix(first), _matrix(second)
    _check_widths(left, right)
    return np.array([_row_correlation(a, b, centred) for a, b in zip(left, right, strict=True)])


def correlation_or_worst(first: Any, second: Any, *, centred: bool = True) -> Values:
    """Correlate rows as `paired_correlation`, -1 where only the second row lets it be undefined.

    A blank or failed reconstruction has no correlation with its stimulus: it counts as the worst
    there is and does not leave the mean. NaN stays where the first row itself is blank.
    """
    values = paired_correlation(first, second, centred=centred)
    undefined = np.flatnonzero(np.isnan(values))
    if len(undefined):
        whole = _matrix(first)[undefined]
        own = paired_correlation(whole, whole, centred=centred)
        values[undefined] = np.where(np.isnan(own), np.nan, WORST)
    return values


def _row_correlation(first: NDArray[Any], second: NDArray[Any], centred: bool) -> float:
    rows = [row.astype(np.float64) for row in (first, second)]
    means = [row.mean() if centred else 0.0 for row in rows]
    rows = [row - mean for row, mean in zip(rows, means, strict=True)]
    norms = [
        _norms(np.array([row @ row]), np.array([mean]), len(row))[0]
        for row, mean in zip(rows, means, strict=True)
    ]
    return float(np.clip(rows[0] @ rows[1] / norms[0] / norms[1], -1, 1))


def _matrix(features: Any) -> NDArray[Any]:
    array = np.asarray(features)
    return array.reshape(len(array), -1) if len(array) else array.reshape(0, 0)


def _check_widths(left: NDArray[Any], right: NDArray[Any]) -> None:
    if left.shape[1] != right.shape[1]:
        raise DataError(
            f"features of {left.shape[1]} and {right.shape[1]} numbers cannot be compared; "
            "both have to come from the same network"
        )


def _blocks(width: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, width, BLOCK))


def _means(rows: NDArray[Any], centred: bool) -> Values:
    total = np.zeros(len(rows))
    if centred:
        for block in _blocks(rows.shape[1]):
            total += rows[:, block].sum(axis=1, dtype=np.float64)
    return np.asarray(total / max(rows.shape[1], 1))


def _centred(rows: NDArray[Any], means: Values, narrow: bool) -> NDArray[Any]:
    """Return a block of rows without their means; of wide rows in float32."""
    kind: type = np.float64 if narrow else np.float32
    return np.asarray(np.subtract(rows, means[:, None].astype(kind), dtype=kind))


def _squares(rows: NDArray[Any]) -> NDArray[Any]:
    # Pairwise sums, whose error does not grow with the width as that of one running sum does.
    return np.asarray(np.square(rows).sum(axis=1))


def _norms(squares: Values, means: Values, width: int) -> Values:
    norms = np.sqrt(squares)
    # What float32 rounding leaves of a constant row grows with its mean.
    floor = 1e-12 + 1e-6 * np.abs(means) * np.sqrt(width)
    return np.where(norms < floor, np.nan, norms)
