"""UniBrain: images and captions from brain activity through Versatile Diffusion."""

from __future__ import annotations

from collections.abc import Callable

from brainkit import hookimpl
from brainkit.decoders.autokl import AutoKLDecoder
from brainkit.encoders.autokl import AutoKL
from brainkit.method import Method
from brainkit.papers import Paper
from brainkit.parts import Conditioner, Decoder, Encoder
from brainkit.regressors import Ridge
from brainkit.samplers.diffusion import DDIM
from brainkit_unibrain import published
from brainkit_unibrain.parts import (
    FourFlow,
    OptimusDecoder,
    OptimusEncoder,
    VdClipImage,
    VdClipText,
)

UNIBRAIN = Method(
    name="unibrain",
    summary="images and captions through Versatile Diffusion",
    source="Mai & Zhang 2023, arXiv 2308.07428; network: Xu et al. 2022, arXiv 2211.08332",
    encoders={
        "image_latent": AutoKL(),
        "text_latent": OptimusEncoder(),
        "clip_image": VdClipImage(),
        "clip_text": VdClipText(),
    },
    # The paper does not state its penalties, so they are chosen on the training trials.
    regressors=dict.fromkeys(
        ("image_latent", "text_latent", "clip_image", "clip_text"), Ridge(alpha="cv")
    ),
    conditioner=FourFlow(),
    sampler=DDIM(steps=50, noise_lead=1),
    decoders={"image": AutoKLDecoder(), "caption": OptimusDecoder()},
    published=published.UNIBRAIN,
    papers=(
        Paper(
            authors=("Weijian Mai", "Zhijun Zhang"),
            title="UniBrain: Unify Image Reconstruction and Captioning All in One Diffusion Model "
            "from Human Brain Activity",
            year=2023,
            arxiv="2308.07428",
        ),
        Paper(
            authors=(*("Xingqian Xu", "Zhangyang Wang", "Eric Zhang", "Kai Wang", "Humphrey Shi"),),
            title="Versatile Diffusion: Text, Images and Variations All in One Diffusion Model",
            year=2023,
            venue="ICCV",
            arxiv="2211.08332",
        ),
    ),
    presets={"no_captions": {"conditioner.use_zt": False, "conditioner.use_ct": False}},
)


@hookimpl
def register_encoders(register: Callable[[Encoder], None]) -> None:
    """Register Versatile Diffusion's CLIP contexts and the Optimus encoder."""
    register(VdClipImage())
    register(VdClipText())
    register(OptimusEncoder())


@hookimpl
def register_conditioners(register: Callable[[Conditioner], None]) -> None:
    """Register the four-flow network."""
    register(FourFlow())


@hookimpl
def register_decoders(register: Callable[[Decoder], None]) -> None:
    """Register the Optimus decoder."""
    register(OptimusDecoder())


@hookimpl
def register_methods(register: Callable[[Method], None]) -> None:
    """Register the method."""
    register(UNIBRAIN)
