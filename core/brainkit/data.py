"""What travels between the steps of a run: plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brainkit.options import option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int32]


@dataclass(frozen=True)
class Split:
    """Responses to one set of images.

    Attributes:
        betas: float32 (trials, voxels), standardised percent signal change.
        image_ids: int32 (trials,), 0-based rows of the NSD picture array.
        repeats: int32 (trials,), presentations averaged into each row.
    """

    betas: Floats
    image_ids: Integers
    repeats: Integers


@dataclass(frozen=True)
class Trials:
    """One subject's responses, split into training and test images.

    Attributes:
        train: responses to the training images.
        test: responses to the test images, other ones; `Selection.split` says which.
        voxel_xyz: int32 (voxels, 3), grid position of each voxel, C order over X, Y, Z.
        ncsnr: float32 (voxels,), noise ceiling signal-to-noise ratio, NaN where unknown; None when
            the download has no `ncsnr.nii.gz`.
        sessions: the 1-based sessions the trials come from.
        units: what one number means: "zscore" or "percent".
        warnings: sentences about valid but surprising input; they appear in the report.
    """

    train: Split
    test: Split
    voxel_xyz: Integers
    ncsnr: Floats | None
    sessions: tuple[int, ...]
    units: str = "zscore"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Which voxels and trials of a subject a method uses; papers differ, so methods say it."""

    name = "selection"
    roi: str = option("nsdgeneral", "ROI volume, or volume:label")
    sessions: Literal["available"] | int | tuple[int, ...] = option(
        "available", "all there are, the first n, or a list of 1-based sessions", ge=1
    )
    preparation: str = option("betas_fithrf_GLMdenoise_RR", "folder of the betas")
    standardise: Literal["session", "train", "none"] = option(
        "session", "statistics: each session's training trials, averaged training rows, or none"
    )
    repeats: Literal["average", "single"] = option("average", "what a row of betas is")
    split: Literal["shared", "first-seen-85", "clusters"] = option(
        "shared",
        "test images: those shared by all subjects, the last 15 % first seen, or whole clusters of "
        "images that CLIP finds alike",
    )
    # Not part of the recipe of other splits; that of clusters has them.
    clusters: int = option(
        40, "clusters that split clusters parts the images into", ge=2, repr=False
    )
    held_out: float = option(
        0.1, "share of the images that the clusters held out have at least", gt=0, lt=1, repr=False
    )
    cluster_seed: int = option(0, "which clusters are held out", ge=0, le=2**32 - 1, repr=False)
    by_feature: tuple[str, ...] = option(
        (), "features predicted from fewer voxels, each FEATURE=ROI with the ROI within roi"
    )

    def roi_of(self, feature: str) -> str:
        """Return the ROI that a feature has for itself, or an empty text."""
        pairs = (each.partition("=") for each in self.by_feature)
        return next((roi for name, _, roi in pairs if name == feature), "")


@dataclass(frozen=True)
class Stimuli:
    """Pictures and their captions, one row an image.

    Attributes:
        images: uint8 (batch, height, width, 3), RGB.
        captions: for each image its captions, 1 to 7 strings.
        image_ids: int32 (batch,), 0-based rows of the NSD picture array.
    """

    images: NDArray[np.uint8]
    captions: tuple[tuple[str, ...], ...]
    image_ids: Integers


@dataclass(frozen=True)
class TrainingRows:
    """The training images, for parts that choose among them; no brain activity is in it.

    Attributes:
        image_ids: int32 (images,), ascending, 0-based rows of the NSD picture array.
        features: name -> float16 (images, *shape), true features in that order, mapped from disk.
        stimuli: `stimuli(image_ids)` reads pictures and captions of training images, of no others.
    """

    image_ids: Integers
    features: Mapping[str, Tensor]
    stimuli: Callable[[Integers], Stimuli]


@dataclass(frozen=True)
class Condition:
    """What a conditioner prepares and a sampler walks.

    Attributes:
        denoise: `denoise(latent, sigma)` gives the clean latent, float32 (batch, *latent), for a
            latent in the variance-exploding scale (clean + sigma * noise) and sigma float32 (). A
            generator in one pass, whose `sigmas` has one, may give (batch, *other).
        start: float32 (batch, *latent), the predicted clean latent the walk begins near; of a
            generator in one pass zeros in the shape of its noise.
        sigmas: float32 (steps,), ascending noise levels the network was trained on.
        strength: fraction of the schedule that is run, in (0, 1]; 1 begins from noise alone.
        misfit: `misfit(latent)` gives a loss (batch,) of clean latents that a sampler may descend
            or choose by, or None. Row i depends on latent i alone.
        context: float32 (batch, *context), what `denoise` is conditioned on, or None when a sampler
            cannot change it.
        denoise_with: `denoise_with(context)` gives the same denoiser under another context.
    """

    denoise: Callable[[Tensor, Tensor], Tensor]
    start: Tensor
    sigmas: Tensor
    strength: float = 1.0
    misfit: Callable[[Tensor], Tensor] | None = None
    context: Tensor | None = None
    denoise_with: Callable[[Tensor], Callable[[Tensor, Tensor], Tensor]] | None = None


@dataclass(frozen=True)
class Interval:
    """Where a score may lie.

    Attributes:
        low: its lower end.
        high: its upper end.
        level: how often such intervals hold the true value.
        method: how it was found, e.g. "BCa" (bootstrap over images).
    """

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True)
class Checkpoint:
    """Pretrained weights a part needs; declares, never downloads.

    Attributes:
        name: folder name in the store, e.g. "clip-vit-l14".
        source: where the released file comes from, for people.
        miniature: `package:folder` holding the small trained weights of the same network class,
            e.g. "brainkit.miniature.checkpoints:clip"; empty when there are none.
        release: `module:NAME` of the `brainkit.weights.Release` that `brainkit fetch` follows;
            empty when the released files can only be placed by hand.
    """

    name: str
    source: str = ""
    miniature: str = ""
    release: str = ""
