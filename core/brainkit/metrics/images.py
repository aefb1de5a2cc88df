"""Compare each reconstruction with its stimulus pixel by pixel.

Images are uint8 or floats in [0, 1], (images, height, width, 3), RGB, as one array or a sequence of
single images. A reconstruction of another size is resized to its stimulus, as Brain-Diffuser does.
MindEye 2 reduces both to 256 px and enlarges them to 425 before comparing; `resized` twice does so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.metrics.correlation import correlation_or_worst
from brainkit.metrics.score import CORRELATION, INDEX, Score, Values, check_paired, scored

Images = NDArray[Any] | Sequence[NDArray[Any]]

GREY = np.array([0.2125, 0.7154, 0.0721])
"""Luminance of R, G, B as in scikit-image's `rgb2gray`."""
SIGMA = 1.5
RADIUS = 5
"""Standard deviation and half width in pixels of SSIM's Gaussian window: int(3.5 sigma + 0.5)."""
UNIFORM = 7
"""Width in pixels of scikit-image's default window."""
C1, C2 = 0.01**2, 0.03**2
"""SSIM's constants for images in [0, 1], of the variants that are computed here."""


def pixel_correlation(targets: Images, recons: Images) -> Score:
    """Return the correlation of the pixels of all three channels, the published "PixCorr".

    A constant reconstruction has no correlation and counts as -1, a constant stimulus is NaN.
    """
    values = _each(targets, recons, _pixel_correlation)
    return scored("pixel correlation", values, **CORRELATION)


def ssim(targets: Images, recons: Images) -> Score:
    """Return the structural similarity of the grey images in two dimensions, by scikit-image.

    Gaussian window of 11 x 11 px, population covariance, border of 5 px left out. Papers before
    2024 mostly report `ssim_columns_legacy` under this name, which is larger.

    Source: Wang et al. 2004, equation 13, with K1 = 0.01 and K2 = 0.03.
    """
    return scored("SSIM", _each(targets, recons, _ssim), **INDEX)


def ssim_uniform(targets: Images, recons: Images) -> Score:
    """Return SSIM of each colour channel under a uniform window of 7 x 7 px, averaged.

    scikit-image's defaults: sample covariance, border of 3 px left out.
    """
    note = "scikit-image's defaults on the three channels; not comparable with SSIM"
    values = _each(targets, recons, _ssim_uniform)
    return scored("SSIM (uniform 7, RGB)", values, notes=(note,), **INDEX)


def ssim_columns_legacy(targets: Images, recons: Images) -> Score:
    """Return SSIM of every column of the grey image as a one-dimensional signal.

    What `multichannel=True` made of a grey image in scikit-image before 0.20; only for comparison
    with papers that used it.
    """
    note = "not comparable with SSIM; kept for comparison with papers before 2024"
    values = _each(targets, recons, _ssim_columns)
    return scored("SSIM of columns (legacy)", values, notes=(note,), **INDEX)


def ssim_one_window(targets: Images, recons: Images) -> Score:
    """Return SSIM of the grey images with one window, the whole image; population covariance.

    Wang et al.'s formula taken once for the image: it compares brightness and contrast as a whole
    and knows little of where things are, so it is larger than windowed SSIM.
    """
    note = "the formula taken once over the whole grey image; not comparable with SSIM"
    values = _each(targets, recons, _ssim_one_window)
    return scored("SSIM (one window, grey)", values, notes=(note,), **INDEX)


def psnr(targets: Images, recons: Images) -> Score:
    """Return the peak signal-to-noise ratio in dB; NaN for identical images."""

    def ratio(target: NDArray[Any], recon: NDArray[Any]) -> float:
        error = float(np.mean((target.astype(np.float64) - recon) ** 2))
        return -10 * float(np.log10(error)) if error > 0 else np.nan

    return scored("PSNR", _each(targets, recons, ratio), unit="dB")


def resized(images: Images, side: int, *, antialias: bool) -> list[NDArray[np.float32]]:
    """Resize images to squares, bilinear.

    Args:
        images: see the module.
        side: height and width in pixels.
        antialias: whether to average over what is lost when shrinking. torchvision's tensor
            resize did not before 0.17, so MindEye 2's numbers come from False.

    Returns:
        float32 (side, side, 3) each, in [0, 1].
    """
    whole = (_resized(_unit(image), (side, side), antialias) for image in images)
    return [image.astype(np.float32) for image in whole]


def _each(
    targets: Images, recons: Images, compare: Callable[[NDArray[Any], NDArray[Any]], float]
) -> Values:
    check_paired(targets, recons, ("stimuli", "reconstructions"))
    values = []
    for pair in zip(targets, recons, strict=True):
        target, recon = (_unit(image) for image in pair)
        if recon.shape != target.shape:
            recon = _resized(recon, target.shape[:2], antialias=True)
        values.append(compare(target, recon))
    return np.array(values)


def _unit(image: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3:
        raise DataError(f"an image has shape {array.shape}; expected (height, width, 3)")
    if array.dtype == np.uint8:
        return array / 255
    if array.min() < -1e-3 or array.max() > 1 + 1e-3:
        raise DataError(
            f"an image of floats spans [{array.min():.3g}, {array.max():.3g}]; "
            "expected [0, 1], or uint8"
        )
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _resized(image: NDArray[Any], size: tuple[int, ...], antialias: bool) -> NDArray[Any]:
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    scaled = torch.nn.functional.interpolate(
        batch, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )
    resized: NDArray[Any] = scaled[0].permute(1, 2, 0).numpy()
    return resized


def _pixel_correlation(target: NDArray[Any], recon: NDArray[Any]) -> float:
    return float(correlation_or_worst(target[None], recon[None])[0])


def _ssim(target: NDArray[Any], recon: NDArray[Any]) -> float:
    from skimage.metrics import structural_similarity

    _check_window(target, 2 * RADIUS + 1)
    window = {"gaussian_weights": True, "sigma": SIGMA, "use_sample_covariance": False}
    return float(structural_similarity(*_grey(target, recon), data_range=1, **window))


def _ssim_uniform(target: NDArray[Any], recon: NDArray[Any]) -> float:
    from skimage.metrics import structural_similarity

    _check_window(target, UNIFORM)
    # scikit-image would compute float32 images in float32.
    pair = (image.astype(np.float64) for image in (target, recon))
    return float(structural_similarity(*pair, win_size=UNIFORM, channel_axis=-1, data_range=1))


def _ssim_columns(target: NDArray[Any], recon: NDArray[Any]) -> float:
    from scipy.ndimage import gaussian_filter1d

    _check_window(target, 2 * RADIUS + 1)
    inner = slice(RADIUS, -RADIUS)

    def averaged(values: Values) -> Values:
        smooth: Values = gaussian_filter1d(values, SIGMA, axis=0, radius=RADIUS)
        return smooth[inner]

    return _similarity(*_grey(target, recon), averaged)


def _ssim_one_window(target: NDArray[Any], recon: NDArray[Any]) -> float:
    return _similarity(*_grey(target, recon), lambda values: values.mean(keepdims=True))


def _grey(target: NDArray[Any], recon: NDArray[Any]) -> tuple[Values, Values]:
    return target.astype(np.float64) @ GREY, recon.astype(np.float64) @ GREY


def _check_window(image: NDArray[Any], width: int) -> None:
    if min(image.shape[:2]) < width:
        raise DataError(
            f"SSIM's window of {width} px does not fit an image of "
            f"{image.shape[0]} x {image.shape[1]} px; use larger images"
        )


def _similarity(x: Values, y: Values, averaged: Callable[[Values], Values]) -> float:
    """Average SSIM's formula over windows, with population covariance."""
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = map(averaged, (x, y, x * x, y * y, x * y))
    covariance = mean_xy - mean_x * mean_y
    variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    below = (mean_x**2 + mean_y**2 + C1) * (variances + C2)
    return float(np.mean(above / below))
