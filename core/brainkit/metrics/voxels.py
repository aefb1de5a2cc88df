"""Compare measured voxel responses with those an encoding model predicts, and their ceiling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.metrics.correlation import paired_correlation
from brainkit.metrics.score import Score, Values, check_paired, scored


def brain_correlation(
    measured: Any, predicted: Any, *, roi: str = "nsdgeneral", voxels: NDArray[Any] | None = None
) -> Score:
    """Correlate responses across voxels within each image.

    Args:
        measured: (images, voxels), responses averaged over repeats.
        predicted: (images, voxels), an encoding model's responses to the reconstructions.
        roi: becomes part of the name.
        voxels: bool (voxels,), which to use; None for all.
    """
    check_paired(measured, predicted, ("measured responses", "predicted ones"))
    chosen = slice(None) if voxels is None else np.asarray(voxels, dtype=bool)
    first, second = (np.asarray(responses)[:, chosen] for responses in (measured, predicted))
    return scored(f"brain correlation, {roi}", paired_correlation(first, second))


def voxel_correlation(measured: Any, predicted: Any) -> Score:
    """Correlate responses across images within each voxel, as papers on encoding models do.

    Not the `brain_correlation` of reconstruction papers; an item here is a voxel.
    """
    check_paired(measured, predicted, ("measured responses", "predicted ones"), at_least=2)
    per_voxel = paired_correlation(np.asarray(measured).T, np.asarray(predicted).T)
    return scored("correlation per voxel across images", per_voxel)


def noise_ceiling(ncsnr: NDArray[Any], repeats: NDArray[Any] | int) -> Values:
    """Return the variance of responses that a perfect model could explain, in percent.

        100 ncsnr^2 / (ncsnr^2 + mean of 1 / repeats)

    Args:
        ncsnr: (voxels,), noise ceiling signal-to-noise ratio.
        repeats: trials averaged for each image, int (images,), or one number for all.

    Returns:
        float64 (voxels,), NaN where ncsnr is.

    Source: Allen et al. 2022, NSD, methods, "noise ceiling estimation".
    """
    signal = np.asarray(ncsnr, dtype=np.float64) ** 2
    noise = float(np.mean(1 / np.asarray(repeats, dtype=np.float64)))
    return np.asarray(100 * signal / (signal + noise))
