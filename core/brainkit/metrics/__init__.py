"""Scores of reconstructions and captions; each is a `Score`, with a value per item."""

from brainkit.data import Interval
from brainkit.metrics.captions import bleu, cider, meteor, rouge, rouge_l_coco, word_scores
from brainkit.metrics.chance import Chance, chance_levels, derangements
from brainkit.metrics.correlation import correlation_matrix, paired_correlation
from brainkit.metrics.distribution import (
    frechet_distance,
    frechet_name,
    kernel_distance,
    kernel_name,
)
from brainkit.metrics.features import (
    correlation_distance,
    direction_explained,
    feature_correlation,
    feature_cosine,
    variance_explained,
    without_gaps,
    without_noise,
)
from brainkit.metrics.groups import FID, GROUPS, Group, Reader, Seen, groups_named
from brainkit.metrics.identification import (
    brain_from_image,
    identification_by_target,
    image_from_brain,
    n_way_name,
    n_way_top_k,
    n_ways,
    retrieval_scores,
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
from brainkit.metrics.intervals import Draws, with_intervals
from brainkit.metrics.score import Score, key_of, not_computed, over_samples, scored
from brainkit.metrics.sentences import Embedded, caption_scores, clip_scores, text_cosine
from brainkit.metrics.standard import standard_scores
from brainkit.metrics.voxels import brain_correlation, noise_ceiling, voxel_correlation
from brainkit.metrics.words import tokens

__all__ = [
    "FID",
    "GROUPS",
    "Chance",
    "Draws",
    "Embedded",
    "Group",
    "Interval",
    "Reader",
    "Score",
    "Seen",
    "bleu",
    "brain_correlation",
    "brain_from_image",
    "caption_scores",
    "chance_levels",
    "cider",
    "clip_scores",
    "correlation_distance",
    "correlation_matrix",
    "derangements",
    "direction_explained",
    "feature_correlation",
    "feature_cosine",
    "frechet_distance",
    "frechet_name",
    "groups_named",
    "identification_by_target",
    "image_from_brain",
    "kernel_distance",
    "kernel_name",
    "key_of",
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
    "retrieval_scores",
    "rouge",
    "rouge_l_coco",
    "scored",
    "ssim",
    "ssim_columns_legacy",
    "ssim_one_window",
    "ssim_uniform",
    "standard_scores",
    "text_cosine",
    "tokens",
    "two_way_identification",
    "variance_explained",
    "voxel_correlation",
    "with_intervals",
    "without_gaps",
    "without_noise",
    "word_scores",
]
