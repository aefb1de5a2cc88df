"""Mind Reader: CNN mappers from voxels to CLIP, and a LAFITE generator under two conditions."""

from __future__ import annotations

from collections.abc import Callable

from brainkit import Selection, hookimpl
from brainkit.decoders.pixels import Pixels
from brainkit.method import Method
from brainkit.papers import Paper
from brainkit.parts import Conditioner, Encoder, Regressor
from brainkit.samplers.single_pass import SinglePass
from brainkit_mindreader import published
from brainkit_mindreader.captions.targets import ClipB32Image, ClipB32Text
from brainkit_mindreader.mapper.part import Mapper
from brainkit_mindreader.parts import Lafite

EXPECTED_FAILURES = {
    "regressor.mapper": {
        "a_planted_linear_map_is_found": "40 epochs at its rate are for thousands of trials"
    }
}

MINDREADER = Method(
    name="mindreader",
    summary="images in one pass of a generative adversarial network, from two CLIP embeddings",
    source="Lin et al. 2022, NeurIPS, arXiv 2210.01769; constants of its published code",
    encoders={"clip_image": ClipB32Image(), "clip_text": ClipB32Text()},
    regressors=dict.fromkeys(("clip_image", "clip_text"), Mapper(alternatives=True)),
    conditioner=Lafite(),
    sampler=SinglePass(),
    decoders={"image": Pixels()},
    selection=Selection(roi="nsdgeneral", sessions=37, repeats="single"),
    presets={
        "no_captions": {"conditioner.heads": "image"},
        "miniature": {
            "selection.sessions": "available",
            # 1000 images, where NSD has 9000: less noise, fewer weights and a stronger decay.
            "selection.repeats": "average",
            "encoder.clip_image.views": 0,
            "regressor.blocks": 0,
            "regressor.hidden": 32,
            "regressor.contrast": 0.2,
            "regressor.epochs": 24,
            "regressor.batch": 32,
            "regressor.rate": 0.002,
            "regressor.weight_decay": 0.01,
            "regressor.decay_every": 3,
        },
    },
    scores=("fid", "n_way"),
    published=published.MINDREADER,
    papers=(
        Paper(
            authors=("Sikun Lin", "Thomas Sprague", "Ambuj K. Singh"),
            title="Mind Reader: Reconstructing complex images from brain activities",
            year=2022,
            venue="NeurIPS",
            arxiv="2210.01769",
        ),
        Paper(
            authors=(
                *("Yufan Zhou", "Ruiyi Zhang", "Changyou Chen", "Chunyuan Li", "Chris Tensmeyer"),
                *("Tong Yu", "Jiuxiang Gu", "Jinhui Xu", "Tong Sun"),
            ),
            title="Towards Language-Free Training for Text-to-Image Generation",
            year=2022,
            venue="CVPR",
            arxiv="2111.13792",
        ),
    ),
)


@hookimpl
def register_encoders(register: Callable[[Encoder], None]) -> None:
    """Register the embeddings of pictures and of screened captions."""
    register(ClipB32Image())
    register(ClipB32Text())


@hookimpl
def register_regressors(register: Callable[[Regressor], None]) -> None:
    """Register the convolutional mapper, for any method."""
    register(Mapper())


@hookimpl
def register_conditioners(register: Callable[[Conditioner], None]) -> None:
    """Register LAFITE's generator."""
    register(Lafite())


@hookimpl
def register_methods(register: Callable[[Method], None]) -> None:
    """Register the method."""
    register(MINDREADER)
