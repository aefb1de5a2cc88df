"""How pictures of known scenes are scored while a network learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature import referee
from brainkit.miniature.scenes import Scene


def picture_scores(
    prefix: str, made: NDArray[np.uint8], true: NDArray[np.uint8], scenes: Sequence[Scene]
) -> dict[str, float]:
    """Score uint8 pictures (batch, height, width, 3) by the referee and by pixel correlation."""
    network = referee.load_referee()
    return {
        f"{prefix}_objects": referee.object_recall(network, made, scenes),
        f"{prefix}_background": referee.background_accuracy(network, made, scenes),
        f"{prefix}_pixcorr": pixel_correlation(made, true),
    }


def pixel_correlation(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    """Return the mean Pearson correlation of pictures with their originals."""
    pairs = zip(made.reshape(len(made), -1), true.reshape(len(true), -1), strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))
