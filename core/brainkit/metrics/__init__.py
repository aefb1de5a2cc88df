"""Scores of reconstructions and captions; each gives a `Score`, with a value per item."""

from brainkit.data import EXTRA_SCORES
from brainkit.metrics.captions import bleu, caption_scores, cider, meteor, rouge, tokens
from brainkit.metrics.chance import (
    Chance,
    chance_levels,
    derangements,
    extra_scores,
    image_scores,
)
from brainkit.metrics.correlation import correlation_matrix, paired_correlation
from brainkit.metrics.distribution import (
    frechet_distance,
    frechet_name,
    kernel_distance,
    kernel_name,
)
from brainkit.metrics.features import (
    clip_s,
    correlation_distance,
    feature_correlation,
    feature_cosine,
    text_cosine,
    variance_explained,
    without_gaps,
)
from brainkit.metrics.identification import (
    brain_from_image,
    drawn_subsets,
    identification_by_target,
    image_from_brain,
    n_way_name,
    n_way_top_k,
    n_ways,
    two_way_identification,
)
from brainkit.metrics.images import (
    pixel_correlation,
    psnr,
    resized,
    ssim,
    ssim_columns_legacy,
    ssim_one_window,
    ssim_uniform,
)
from brainkit.metrics.score import Score, not_computed, over_samples, scored
from brainkit.metrics.voxels import brain_correlation, noise_ceiling, voxel_correlation

__all__ = [
    "EXTRA_SCORES",
    "Chance",
    "Score",
    "bleu",
    "brain_correlation",
    "brain_from_image",
    "caption_scores",
    "chance_levels",
    "cider",
    "clip_s",
    "correlation_distance",
    "correlation_matrix",
    "derangements",
    "drawn_subsets",
    "extra_scores",
    "feature_correlation",
    "feature_cosine",
    "frechet_distance",
    "frechet_name",
    "identification_by_target",
    "image_from_brain",
    "image_scores",
    "kernel_distance",
    "kernel_name",
    "meteor",
    "n_way_name",
    "n_way_top_k",
    "n_ways",
    "noise_ceiling",
    "not_computed",
    "over_samples",
    "paired_correlation",
    "pixel_correlation",
    "psnr",
    "resized",
    "rouge",
    "scored",
    "ssim",
    "ssim_columns_legacy",
    "ssim_one_window",
    "ssim_uniform",
    "text_cosine",
    "tokens",
    "two_way_identification",
    "variance_explained",
    "voxel_correlation",
    "without_gaps",
]
