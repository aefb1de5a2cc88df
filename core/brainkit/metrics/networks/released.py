"""Where the networks that scores read are published, and how their files are laid out.

All are single files; the digits at the end of most names begin the file's SHA-256, which is what
tells variants of equal shapes apart. Layers above the features that are read are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brainkit.checkpoints.record import FileFacts
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.weights import Config, Naming, Origin, Piece, Release, RemoteFile, Shapes

if TYPE_CHECKING:
    from torch import nn

    from brainkit.weights.conversion import Conversion

TORCHVISION: Final = "https://download.pytorch.org/models"
TORCHVISION_LICENCE: Final = "BSD-3-Clause; trained on ImageNet, whose own terms apply"
NON_COMMERCIAL: Final = "CC BY-NC 4.0 (no commercial use)"
COUNTERS: Final = "num_batches_tracked"
"""What batch norms counted in training; no score reads it."""
DIGITS: Final = re.compile(r"-([0-9a-f]{8})\.pth$")


def built(architecture: str, options: Config | None = None) -> nn.Module:
    """Build a network of torchvision without weights.

    Raises:
        CheckpointError: torchvision has no such network, or its constructor no such option.
    """
    from torchvision.models import get_model

    try:
        network: nn.Module = get_model(architecture, weights=None, **(options or {}))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"torchvision makes no network {architecture!r} with options {dict(options or {})} "
            f"({error}); correct 'architecture' and 'options' in the configuration"
        ) from error
    return network


def headless(architecture: str) -> nn.Module:
    """Build a network of torchvision up to the node that scores read, without weights.

    Inception exchanges the colours' scale by itself (`transform_input`), as it does whenever
    torchvision loads the published weights; without, its features are wrong.
    """
    from torch import nn

    inception = {"transform_input": True, "aux_logits": False, "init_weights": False}
    network = built(architecture, inception if architecture == "inception_v3" else None)
    for above in ("classifier", "fc"):
        if hasattr(network, above):
            setattr(network, above, nn.Identity())
    return network


def _shapes(make: Callable[[], nn.Module]) -> Shapes:
    """Return names and shapes of a network's tensors without what counts batches."""
    from brainkit.networks.assemble import manifest

    shapes = manifest(make).items()
    return {name: shape for name, shape in shapes if not name.endswith(COUNTERS)}


def _headless_shapes(config: Config) -> Shapes:
    return _shapes(lambda: headless(config["architecture"]))


def _fid_shapes(config: Config) -> Shapes:
    from brainkit.metrics.networks.inception import Inception

    return _shapes(Inception)


def _classifier_shapes(config: Config) -> Shapes:
    if not isinstance(config.get("architecture"), str) or not isinstance(config.get("side"), int):
        raise CheckpointError(
            f"a classifier's configuration has {sorted(config)}; expected 'architecture', "
            "torchvision's name, 'side', the pixels it reads, and perhaps 'options'"
        )
    return _shapes(lambda: built(config["architecture"], config.get("options")))


def _named(shapes: Shapes, names: tuple[Collection[str], ...], prefix: str) -> Mapping[str, Piece]:
    own = prefix if any(name.startswith(prefix) for name in names[0]) else ""
    return {name: Piece(f"{own}{name}") for name in shapes}


def _headless_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    return _named(_headless_shapes(config), names, "module.")


def _fid_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    return _named(_fid_shapes(config), names, "")


def _classifier_pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Name the pieces; transformers of before July 2022 number the halves of a block otherwise."""
    pieces = {}
    for name in _classifier_shapes(config):
        before = name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")
        pieces[name] = Piece(before if before in names[0] else name)
    return pieces


def _foreign(*above: str) -> str:
    """Return the pattern of what is passed over: layers above the node, and counters."""
    return "|".join([*(rf"(module\.)?{each}\." for each in above), rf".*{COUNTERS}$"])


def _variants(conversion: Conversion, store: Path, stack: ExitStack) -> tuple[str, ...]:
    """Refuse a file that was published as another network's.

    Variants have equal names and shapes, so that only the hash tells.

    Raises:
        CheckpointError: says whose file it is.
    """
    sha256 = FileFacts.of(conversion.files[0]).sha256
    for other in _RELEASES:
        digits = other.origins[0].files[0].sha256
        if other.name != conversion.checkpoint and digits and sha256.startswith(digits):
            raise CheckpointError(
                f"{conversion.files[0]} is the published file of {other.name!r} (its SHA-256 "
                f"begins with {digits}), not of {conversion.checkpoint!r}; give that one's"
            )
    return ()


WHOLE: Final = {
    "alexnet-owt-7be5be79.pth": (
        244_408_911,
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "weights-inception-2015-12-05-6726825d.pth": (
        95_628_359,
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
}
"""Bytes and SHA-256 where more is known than the digits in a file's name."""


def _origin(url: str, file: str, licence: str, page: str) -> Origin:
    digits = DIGITS.search(file)
    size, sha256 = WHOLE.get(file, (0, digits[1] if digits else ""))
    remote = RemoteFile(file, size, sha256)
    return Origin((remote,), licence, url=url, page=page)


def _features(name: str, architecture: str, origin: Origin, *above: str) -> Release:
    layout = Naming(
        "published", ((origin.files[0].path,),), _headless_pieces, foreign=_foreign(*above)
    )
    config = {"architecture": architecture}
    return Release(name, (origin,), config, _headless_shapes, (layout,), remarks=_variants)


def _of_torchvision(file: str, page: str, licence: str = TORCHVISION_LICENCE) -> Origin:
    models = "https://docs.pytorch.org/vision/stable/models/"
    return _origin(TORCHVISION, file, licence, f"{models}{page}.html")


ALEXNET: Final = _features(
    "alexnet",
    "alexnet",
    _of_torchvision("alexnet-owt-7be5be79.pth", "alexnet"),
    "classifier",
)
INCEPTION_V3: Final = _features(
    "inception-v3",
    "inception_v3",
    _of_torchvision("inception_v3_google-0cc3c7bd.pth", "inception"),
    "AuxLogits",
    "fc",
)
EFFICIENTNET_B1_V1: Final = _features(
    "efficientnet-b1-v1",
    "efficientnet_b1",
    _of_torchvision("efficientnet_b1_rwightman-bac287d4.pth", "efficientnet"),
    "classifier",
)
EFFICIENTNET_B1_V2: Final = _features(
    "efficientnet-b1-v2",
    "efficientnet_b1",
    _of_torchvision("efficientnet_b1-c27df63c.pth", "efficientnet"),
    "classifier",
)
SWAV: Final = _features(
    "swav-resnet50",
    "resnet50",
    _origin(
        "https://dl.fbaipublicfiles.com/deepcluster",
        "swav_800ep_pretrain.pth.tar",
        NON_COMMERCIAL,
        "https://github.com/facebookresearch/swav",
    ),
    "fc",
    "projection_head",
    "prototypes",
)
_FID_ORIGIN: Final = _origin(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0",
    "weights-inception-2015-12-05-6726825d.pth",
    "Apache-2.0",
    "https://github.com/toshas/torch-fidelity/releases",
)
INCEPTION_2015: Final = Release(
    "inception-2015",
    (_FID_ORIGIN,),
    shapes=_fid_shapes,
    layouts=(
        Naming(
            "published",
            ((_FID_ORIGIN.files[0].path, "pt_inception-2015-12-05-6726825d.pth"),),
            _fid_pieces,
            foreign=_foreign("fc", "AuxLogits"),
        ),
    ),
)
_SWAG_ORIGIN: Final = _of_torchvision(
    "vit_h_14_swag-80465313.pth", "vision_transformer", NON_COMMERCIAL
)
CLASSIFIER: Final = Release(
    "imagenet-classifier",
    (_SWAG_ORIGIN,),
    {"architecture": "vit_h_14", "side": 518, "options": {"image_size": 518}},
    _classifier_shapes,
    (
        Naming(
            "torchvision",
            ((_SWAG_ORIGIN.files[0].path,),),
            _classifier_pieces,
            foreign=_foreign("AuxLogits", "aux[12]"),
        ),
    ),
)


_RELEASES: Final = (
    ALEXNET,
    INCEPTION_V3,
    EFFICIENTNET_B1_V1,
    EFFICIENTNET_B1_V2,
    SWAV,
    INCEPTION_2015,
    CLASSIFIER,
)


def _checkpoint(release: Release, constant: str, source: str) -> Checkpoint:
    return Checkpoint(release.name, source, release=f"{__name__}:{constant}")


CHECKPOINTS: Final[tuple[Checkpoint, ...]] = (
    _checkpoint(ALEXNET, "ALEXNET", "alexnet-owt-7be5be79.pth of torchvision, 244.4 MB"),
    _checkpoint(
        INCEPTION_V3, "INCEPTION_V3", "inception_v3_google-0cc3c7bd.pth of torchvision, 109 MB"
    ),
    _checkpoint(
        EFFICIENTNET_B1_V1,
        "EFFICIENTNET_B1_V1",
        "efficientnet_b1_rwightman-bac287d4.pth of torchvision, 31.6 MB",
    ),
    _checkpoint(
        EFFICIENTNET_B1_V2,
        "EFFICIENTNET_B1_V2",
        "efficientnet_b1-c27df63c.pth of torchvision, 31.6 MB",
    ),
    _checkpoint(SWAV, "SWAV", "swav_800ep_pretrain.pth.tar of facebookresearch/swav, CC BY-NC"),
    _checkpoint(
        INCEPTION_2015,
        "INCEPTION_2015",
        "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's releases",
    ),
    _checkpoint(
        CLASSIFIER,
        "CLASSIFIER",
        "vit_h_14_swag-80465313.pth of torchvision, 2.5 GB, CC BY-NC; or another classifier of "
        "torchvision with its config.json",
    ),
)
"""Of every network that scores read; the run's CLIP is an encoder's."""


def checkpoint(name: str) -> Checkpoint:
    """Return the checkpoint of a network by its name in the store."""
    return next(each for each in CHECKPOINTS if each.name == name)


def release_of(checkpoint: Checkpoint) -> Release:
    """Return the release that one of these checkpoints names."""
    return next(each for each in _RELEASES if each.name == checkpoint.name)
