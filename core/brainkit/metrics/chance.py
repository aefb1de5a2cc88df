"""What scores are worth by chance: of pairs that do not belong together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import BrainkitWarning, DataError
from brainkit.metrics.score import Score

Integers = NDArray[np.intp]


@dataclass(frozen=True)
class Chance:
    """Mean and spread (standard deviation) of a metric over shuffles of the pairs."""

    mean: float
    sd: float
    n_shuffles: int


def derangements(n: int, *, count: int, seed: int = 0) -> Integers:
    """Draw permutations in which no item keeps its place, int (count, n).

    Raises:
        DataError: one item alone cannot change places.
    """
    if n < 2:
        raise DataError(f"{n} items cannot be shuffled; chance needs at least 2 images")
    generator = np.random.default_rng(seed)
    drawn: list[Integers] = []
    while len(drawn) < count:
        order = generator.permutation(n)
        if not np.any(order == np.arange(n)):
            drawn.append(order)
    return np.stack(drawn)


def chance_levels(
    score: Callable[[Integers], Sequence[Score]], n: int, *, n_shuffles: int = 5, seed: int = 0
) -> dict[str, Chance]:
    """Score pairs that do not belong together.

    Args:
        score: the scores when item j is taken for item `order[j]`.
        n: items.
        n_shuffles: how many derangements to score.

    Returns:
        For each score's name its mean and spread over the shuffles.
    """
    values: dict[str, list[float]] = {}
    for order in derangements(n, count=n_shuffles, seed=seed):
        with warnings.catch_warnings():
            # The run itself has already said what is undefined.
            warnings.simplefilter("ignore", BrainkitWarning)
            for one in score(order):
                values.setdefault(one.name, []).append(one.mean)
    return {
        name: Chance(
            float(np.mean(means)),
            float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
            len(means),
        )
        for name, means in values.items()
    }
