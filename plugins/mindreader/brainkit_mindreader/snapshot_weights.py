"""Bring the networks of a snapshot (`.pkl`) and a mapper's state dict before core's converter.

Sizes are read off the tensors, so any network of these classes is taken, not only the published
ones; what does not fit a network of its own sizes is a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from brainkit.checkpoints.record import FileFacts, listed
from brainkit.checkpoints.safetensors import quoted
from brainkit.errors import CheckpointError, DataError
from brainkit.weights import Config, Naming, Piece, Shapes
from brainkit.weights.conversion import Conversion, Fit, fitted
from brainkit.weights.open import READABLE, Entry, WeightFile, open_weights
from brainkit.weights.torchfile import read_tensor
from brainkit_mindreader.generator.shape import GeneratorShape
from brainkit_mindreader.generator.sizes import discriminator_shape, generator_shape
from brainkit_mindreader.snapshot import Network, Snapshot, open_snapshot

SOURCE = "source_sha256"
AVERAGE, RAW = "G_ema", "G"
"""What snapshots call the running average of the generator, and the generator itself."""
STATED = {"use_norm": "use_norm", "mbstd_group_size": "b4.mbstd.group_size"}
"""What a discriminator's modules keep of how it judges, by the configuration's names."""
UNSEEN = ("merge", "conv_clamp")
ONE_BRANCH = "it has one branch, as LAFITE's own, which will serve both embeddings"


def generator(
    checkpoint: str,
    source: Path,
    config: Config | None,
    stack: ExitStack,
    name: str = AVERAGE,
) -> Conversion | None:
    """Find the generator of a snapshot, which lies in a file or alone in a folder.

    Args:
        checkpoint: its folder in the store.
        source: the file or folder.
        config: of it `merge` and `conv_clamp` are used, which tensors do not tell.
        stack: closes the file.
        name: of the network in the snapshot, `G_ema` or `G`.

    Raises:
        CheckpointError: the file is damaged or refused, or has no such network.
    """
    snapshot = _snapshot(source, stack)
    if snapshot is None:
        return None
    found, shape = _generator(snapshot, config, name)
    said = _disagreements(found.arguments, shape, ("z_dim", "w_dim"))
    shapes = generator_shapes(shape.config())
    made = _fitted(checkpoint, found, shape, shapes=shapes, snapshot=snapshot, name=name)
    notes = (ONE_BRANCH,) if len(shape.f_dims) == 1 else ()
    return replace(made, differences=made.differences + said, notes=notes)


def discriminator(
    checkpoint: str, source: Path, config: Config | None, stack: ExitStack
) -> Conversion | None:
    """Find the discriminator of a snapshot, if it has one; arguments as in `generator`.

    Its configuration says what the file states of how it judges: whether heads are brought to
    length 1, and how many pictures a group of the minibatch statistic has.
    """
    snapshot = _snapshot(source, stack)
    if snapshot is None or "D" not in snapshot.records:
        return None
    _, other = _generator(snapshot, config, AVERAGE if AVERAGE in snapshot.records else RAW)
    found = snapshot.network("D")
    shape = discriminator_shape(_entries(found), found.arguments, other)
    judging, odd = judging_of(found)
    said = _disagreements(found.arguments, shape, ()) + _unlike(shape, other) + odd
    shapes = discriminator_shapes(shape.config())
    made = _fitted(checkpoint, found, shape, shapes=shapes, snapshot=snapshot, name="D")
    return replace(made, config=shape.config() | judging, differences=made.differences + said)


def judging_of(network: Network) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the configuration of how a discriminator judges, and what is impossible of it."""
    from brainkit_mindreader.generator.discriminator import Judging

    found = network.attributes
    stated = {key: found[name] for key, name in STATED.items() if name in found}
    passed = network.arguments | network.arguments.get("epilogue_kwargs", {})
    try:
        return Judging.of(passed | stated).config(), ()
    except CheckpointError as error:
        return {}, (str(error),)


def mapper(
    checkpoint: str, source: Path, config: Config | None, stack: ExitStack
) -> Conversion | None:
    """Find a mapper's weights in a file of named tensors.

    Args:
        checkpoint: its folder in the store.
        source: the file.
        config: of it `sigmoid` is used, which tensors do not tell.
        stack: closes the file.

    Raises:
        CheckpointError: the file is damaged or refused, or holds no mapper.
    """
    from brainkit_mindreader.mapper.network import MapperShape

    if not source.is_file() or not source.name.endswith(READABLE):
        return None
    file = stack.enter_context(open_weights(source))
    try:
        shape = MapperShape.of(file.entries, bool((config or {}).get("sigmoid")))
    except DataError as error:
        raise CheckpointError(f"{source} is no mapper: {error}") from error
    shapes = mapper_shapes(asdict(shape))
    made = fitted(checkpoint, asdict(shape), _fit("state dict", file, shapes), shapes)
    return replace(made, metadata={SOURCE: FileFacts.of(source).sha256, "network": "mapper"})


def generator_shapes(config: Config) -> Shapes:
    """Return the manifest of a generator."""
    from brainkit.networks.assemble import manifest
    from brainkit_mindreader.generator.network import Generator

    return manifest(lambda: Generator(GeneratorShape.of(config)))


def discriminator_shapes(config: Config) -> Shapes:
    """Return the manifest of a discriminator."""
    from brainkit.networks.assemble import manifest
    from brainkit_mindreader.generator.discriminator import Discriminator

    return manifest(lambda: Discriminator(GeneratorShape.of(config)))


def mapper_shapes(config: Config) -> Shapes:
    """Return the manifest of a mapper."""
    from brainkit.networks.assemble import manifest
    from brainkit_mindreader.mapper.network import MapperNetwork, MapperShape

    return manifest(lambda: MapperNetwork(MapperShape(**config)))


def _snapshot(source: Path, stack: ExitStack) -> Snapshot | None:
    files = listed(source, "*.pkl") if source.is_dir() else [source]
    if len(files) > 1:
        raise CheckpointError(
            f"{source} holds {len(files)} snapshots ({', '.join(each.name for each in files)}); "
            "give one of them"
        )
    if not files or files[0].suffix != ".pkl":
        return None
    return stack.enter_context(open_snapshot(files[0]))


def _generator(
    snapshot: Snapshot, config: Config | None, name: str
) -> tuple[Network, GeneratorShape]:
    found = snapshot.network(name)
    shape = generator_shape(_entries(found), found.arguments)
    unseen = {key: value for key, value in (config or {}).items() if key in UNSEEN}
    return found, GeneratorShape.of(shape.config() | unseen)


def _entries(network: Network) -> dict[str, Entry]:
    return {quoted(name)[1:-1]: each.entry for name, each in network.tensors.items()}


def _fitted(
    checkpoint: str,
    network: Network,
    shape: GeneratorShape,
    *,
    shapes: Shapes,
    snapshot: Snapshot,
    name: str,
) -> Conversion:
    heads = "two heads" if len(shape.f_dims) > 1 else "single head"
    layout = f"{heads}, {name}" if name == RAW else heads
    file = WeightFile(
        snapshot.path,
        _entries(network),
        lambda each: read_tensor(snapshot.path, network.tensors[each]),
    )
    made = fitted(checkpoint, shape.config(), _fit(layout, file, shapes), shapes)
    metadata = {SOURCE: FileFacts.of(snapshot.path).sha256, "network": name, "layout": heads}
    return replace(made, metadata=metadata)


def _fit(layout: str, file: WeightFile, shapes: Shapes) -> Fit:
    """Return the fit of a file in which tensors have their own names."""
    pieces = {name: Piece(name) for name in shapes}
    return Fit(Naming(layout, (), lambda config, names: pieces), (file,), pieces)


def _disagreements(
    arguments: Mapping[str, Any], shape: GeneratorShape, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Compare the sizes a network says it has with those of its tensors."""
    own = {"img_resolution": shape.resolution} | {name: getattr(shape, name) for name in names}
    return tuple(
        f"an {name} given as {quoted(str(arguments[name]))[1:-1]} where its tensors have {size}"
        for name, size in own.items()
        if arguments.get(name, size) != size
    )


def _unlike(own: GeneratorShape, other: GeneratorShape) -> tuple[str, ...]:
    return tuple(
        f"a {name} of {getattr(own, name)} where the generator has {getattr(other, name)}"
        for name in ("resolution", "f_dims")
        if getattr(own, name) != getattr(other, name)
    )
