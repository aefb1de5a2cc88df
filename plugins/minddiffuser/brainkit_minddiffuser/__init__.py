"""MindDiffuser and the Takagi & Nishimoto baseline, through Stable Diffusion."""

from __future__ import annotations

from collections.abc import Callable

from brainkit import Selection, hookimpl
from brainkit.decoders.autokl import AutoKLDecoder
from brainkit.encoders.autokl import AutoKL
from brainkit.method import Method
from brainkit.papers import Paper
from brainkit.parts import Conditioner, Encoder, Sampler
from brainkit.regressors import FoldRidge, VoxelSelectedRidge
from brainkit.samplers.diffusion import DDIM
from brainkit_minddiffuser import published
from brainkit_minddiffuser.aligned import Aligned
from brainkit_minddiffuser.parts import LAYERS, SdText, StableDiffusion
from brainkit_minddiffuser.structure import ClipLayer
from brainkit_minddiffuser.takagi import LowResolution

AREAS = (
    *("V1", "V2", "V3", "V3a", "V3b", "hV4", "VO1", "VO2", "PHC1", "PHC2", "hMT", "MST"),
    *("LO1", "LO2", "IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5"),
)
TOP_QUARTER = 0.25
STABLE_DIFFUSION = Paper(
    authors=(
        *("Robin Rombach", "Andreas Blattmann", "Dominik Lorenz", "Patrick Esser"),
        "Björn Ommer",
    ),
    title="High-Resolution Image Synthesis with Latent Diffusion Models",
    year=2022,
    venue="CVPR",
    arxiv="2112.10752",
)

MINDDIFFUSER = Method(
    name="minddiffuser",
    summary="images through Stable Diffusion, whose input is then aligned with CLIP's structure",
    source="Lu et al. 2023, arXiv 2303.14139 and 2308.04249; constants of its first published code",
    encoders={
        "image_latent": AutoKL(),
        "text_tokens": SdText(tokens=15, captions="five"),
        **{name: ClipLayer(layer=number) for number, name in enumerate(LAYERS, start=1)},
    },
    regressors={
        "image_latent": VoxelSelectedRidge(voxels=4000),
        "text_tokens": VoxelSelectedRidge(voxels=125),
        **dict.fromkeys(LAYERS[:3], VoxelSelectedRidge(voxels=350, units=TOP_QUARTER)),
        **dict.fromkeys(LAYERS[3:], VoxelSelectedRidge(voxels=250, units=TOP_QUARTER)),
    },
    conditioner=StableDiffusion(guidance=5.0, strength=0.7),
    sampler=Aligned(steps=50, noise_lead=3, iterations=300),
    decoders={"image": AutoKLDecoder()},
    selection=Selection(roi=",".join(f"Kastner2015:{area}" for area in AREAS), sessions=37),
    presets={
        "no_captions": {"conditioner.use_c": False},
        "tuned": {
            "regressor.voxels": "cv",
            **{f"encoder.{name}.resize": "bicubic" for name in LAYERS},
            "sampler.noise_lead": 0,
            "sampler.keep": "lowest",
        },
        "miniature": {
            "selection.roi": "nsdgeneral",
            "selection.sessions": "available",
            # 1000 training images, where NSD has 9000, ask for a stronger penalty or fewer voxels.
            "regressor.image_latent.voxels": 100,
            "regressor.text_tokens.voxels": 400,
            "regressor.text_tokens.alpha": 1000.0,
            **{f"regressor.{name}.voxels": 2000 for name in LAYERS},
            **{f"regressor.{name}.alpha": 1000.0 for name in LAYERS},
            **{f"encoder.{name}.resize": "bicubic" for name in LAYERS},
            # Minutes on two cores instead of hours.
            "sampler.steps": 10,
            "sampler.noise_lead": 1,
            "sampler.iterations": 20,
            "sampler.rate": 0.005,
            "sampler.noise": "fixed",
            "sampler.backprop_steps": 2,
            "sampler.keep": "lowest",
            "sampler.judge_noises": 2,
            "sampler.every": 5,
        },
    },
    scores=("ssim_variants", "clip_similarity"),
    published=published.MINDDIFFUSER,
    papers=(
        Paper(
            authors=(
                *("Yizhuo Lu", "Changde Du", "Qiongyi Zhou", "Dianpeng Wang"),
                "Huiguang He",
            ),
            title="MindDiffuser: Controlled Image Reconstruction from Human Brain Activity with "
            "Semantic and Structural Diffusion",
            year=2023,
            venue="ACM Multimedia",
            arxiv="2308.04249",
        ),
        STABLE_DIFFUSION,
    ),
)

TAKAGI = Method(
    name="takagi",
    summary="images through Stable Diffusion, from a decoded picture of low resolution",
    source="Takagi & Nishimoto 2023, CVPR, bioRxiv 2022.11.18.517004; checked against its code",
    encoders={
        "image_latent": AutoKL(scale=0.625, resize="lanczos"),
        "text_tokens": SdText(tokens="all", captions="all"),
    },
    regressors=dict.fromkeys(("image_latent", "text_tokens"), FoldRidge()),
    conditioner=LowResolution(guidance=5.0, strength=0.8),
    sampler=DDIM(steps=50, noise_lead=1),
    decoders={"image": AutoKLDecoder()},
    selection=Selection(
        roi="streams:early,streams:ventral",
        sessions=37,
        standardise="train",
        repeats="single",
        by_feature=("image_latent=streams:early", "text_tokens=streams:ventral"),
    ),
    presets={
        "no_captions": {"conditioner.use_c": False},
        "takagi_released": {
            "encoder.image_latent.posterior": "sample",
            "regressor.intercept": False,
            "conditioner.posterior": "sample",
        },
        "miniature": {
            "selection.sessions": "available",
            # 3000 trials, where NSD has 25000: without a penalty noise is learned by heart.
            "regressor.alphas": (100.0, 1000.0, 10000.0),
            "sampler.steps": 10,
            "sampler.noise_lead": 0,
        },
    },
    scores=("target_identification",),
    samples=5,
    published=published.TAKAGI,
    papers=(
        Paper(
            authors=("Yu Takagi", "Shinji Nishimoto"),
            title="High-resolution image reconstruction with latent diffusion models from human "
            "brain activity",
            year=2023,
            venue="CVPR",
            doi="10.1101/2022.11.18.517004",
        ),
        STABLE_DIFFUSION,
    ),
)


@hookimpl
def register_encoders(register: Callable[[Encoder], None]) -> None:
    """Register Stable Diffusion's text context and the layers of CLIP ViT-B/32."""
    register(SdText())
    register(ClipLayer())


@hookimpl
def register_conditioners(register: Callable[[Conditioner], None]) -> None:
    """Register both ways into Stable Diffusion."""
    register(StableDiffusion())
    register(LowResolution())


@hookimpl
def register_samplers(register: Callable[[Sampler], None]) -> None:
    """Register the sampler that aligns what it samples."""
    register(Aligned())


@hookimpl
def register_methods(register: Callable[[Method], None]) -> None:
    """Register both methods."""
    register(MINDDIFFUSER)
    register(TAKAGI)
