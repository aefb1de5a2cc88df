"""The published weights of LAFITE, Mind Reader's own layouts, and VICReg's ResNet-50.

Mind Reader's authors publish no weights; files that its code writes are read like LAFITE's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from brainkit.weights import Config, Naming, Origin, Piece, Release, RemoteFile, Shapes
from brainkit.weights.conversion import Conversion
from brainkit_mindreader import checkpoints, snapshot_weights
from brainkit_mindreader.generator.shape import GeneratorShape

LAFITE: Final = Origin(
    files=(),
    licence="MIT; made with NVIDIA's stylegan2-ada-pytorch, which has terms of its own",
    page="https://github.com/drboog/Lafite (take a model trained with CLIP-ViT/B-32)",
)
MIND_READER: Final = Origin(
    files=(), licence="not stated", page="https://github.com/sklin93/mind-reader"
)
VICREG: Final = Origin(
    files=(RemoteFile("resnet50.pth"),),
    licence="MIT; trained on ImageNet, whose own terms apply",
    url="https://dl.fbaipublicfiles.com/vicreg",
    page="https://github.com/facebookresearch/vicreg",
)
CLASSES: Final = "fc."
COUNTERS: Final = "num_batches_tracked"
"""What batch norms counted in training; nothing reads it."""
PREFIXES: Final = ("", "module.backbone.", "backbone.", "module.")


def _average(source: Path, config: Config | None, stack: ExitStack) -> Conversion | None:
    return snapshot_weights.generator(GENERATOR.name, source, config, stack)


def _raw(source: Path, config: Config | None, stack: ExitStack) -> Conversion | None:
    return snapshot_weights.generator(
        RAW_GENERATOR.name, source, config, stack, snapshot_weights.RAW
    )


def _discriminator(source: Path, config: Config | None, stack: ExitStack) -> Conversion | None:
    return snapshot_weights.discriminator(DISCRIMINATOR.name, source, config, stack)


def _image_mapper(source: Path, config: Config | None, stack: ExitStack) -> Conversion | None:
    return snapshot_weights.mapper(MAPPER_IMAGE.name, source, config, stack)


def _caption_mapper(source: Path, config: Config | None, stack: ExitStack) -> Conversion | None:
    return snapshot_weights.mapper(MAPPER_CAPTION.name, source, config, stack)


def _resnet_shapes(config: Config) -> Shapes:
    from torchvision.models import resnet50

    from brainkit.networks.assemble import manifest

    return {
        name: shape
        for name, shape in manifest(lambda: resnet50(weights=None)).items()
        if not name.startswith(CLASSES) and not name.endswith(COUNTERS)
    }


def _resnet_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    prefix = next((each for each in PREFIXES if f"{each}conv1.weight" in names[0]), "")
    return {name: Piece(f"{prefix}{name}") for name in _resnet_shapes(config)}


GENERATOR: Final = Release(
    "mindreader-generator",
    (LAFITE,),
    GeneratorShape().config(),
    snapshot_weights.generator_shapes,
    read=_average,
)
"""The running average of the generator, which papers show pictures of; sizes are Mind Reader's."""
RAW_GENERATOR: Final = Release(
    checkpoints.RAW_GENERATOR.name, GENERATOR.origins, GENERATOR.config, GENERATOR.shapes, read=_raw
)
"""The generator itself; to run it, give its folder the name of the average's."""
DISCRIMINATOR: Final = Release(
    "mindreader-discriminator",
    (LAFITE,),
    GeneratorShape().config(),
    snapshot_weights.discriminator_shapes,
    read=_discriminator,
)
SUBJECT_1: Final = {"length": 15744, "dim": 512}
"""A mapper of NSD's first subject; other sizes are read off the tensors."""
MAPPER_IMAGE: Final = Release(
    "mindreader-mapper-image",
    (MIND_READER,),
    SUBJECT_1,
    snapshot_weights.mapper_shapes,
    read=_image_mapper,
)
MAPPER_CAPTION: Final = Release(
    "mindreader-mapper-caption",
    (MIND_READER,),
    SUBJECT_1,
    snapshot_weights.mapper_shapes,
    read=_caption_mapper,
)
RESNET50: Final = Release(
    "resnet50-vicreg",
    (VICREG,),
    {"architecture": "resnet50"},
    _resnet_shapes,
    (
        Naming(
            "torchvision",
            (("resnet50.pth", "resnet50_fullckpt.pth"),),
            _resnet_pieces,
            foreign=rf"(module\.)?projector\.|.*{COUNTERS}$",
        ),
    ),
)
CHECKPOINTS: Final = (
    checkpoints.RAW_GENERATOR,
    checkpoints.DISCRIMINATOR,
    checkpoints.RESNET50,
    *checkpoints.MAPPERS,
)
"""What only trainings load, or nobody yet, so that it can be fetched by its name."""
