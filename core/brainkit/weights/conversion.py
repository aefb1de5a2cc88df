"""Check released files against a network's manifest and write them as the store keeps them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from brainkit.checkpoints.limits import read_json
from brainkit.checkpoints.safetensors import SIZES, Entry
from brainkit.errors import CheckpointError, enumerated
from brainkit.weights import Companion, Config, Naming, Piece, Release, Shapes
from brainkit.weights.file import WeightFile
from brainkit.weights.open import READABLE, open_weights
from brainkit.weights.state_dict import listed


@dataclass(frozen=True)
class Conversion:
    """One network on its way into the store.

    Attributes:
        checkpoint: its folder in the store.
        config: for its `config.json`.
        entries: dtype, as in the files, and shape of every tensor, by the network's own names.
        read: gives a tensor's bytes by its own name, row-major and little-endian.
        layout: in which the files are.
        differences: how the files differ from the network's manifest; empty when they fit.
        companions: content of the files beside the weights, by their path in the folder.
        lacks: companions whose files are not there, with where they are had.
        files: that it is made of.
        notes: sentences for the user.
        metadata: for the header of the weights.
    """

    checkpoint: str
    config: Config
    entries: Mapping[str, Entry]
    read: Callable[[str], bytes]
    layout: str
    differences: tuple[str, ...] = ()
    companions: Mapping[str, bytes] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.size for entry in self.entries.values())


@dataclass(frozen=True)
class Fit:
    """A layout's files, open, and where the tensors lie in them."""

    layout: Naming
    files: tuple[WeightFile, ...]
    pieces: Mapping[str, Piece]

    @property
    def there(self) -> dict[str, Piece]:
        """The pieces that the files have."""
        return {n: each for n, each in self.pieces.items() if each.name in self._names(each)}

    def _names(self, piece: Piece) -> Mapping[str, Entry]:
        return self.files[piece.file].entries

    def entry(self, piece: Piece) -> Entry:
        """Return the dtype and shape that a piece has once it is cut out and turned."""
        dtype, shape = self._names(piece)[piece.name]
        parts = piece.part[1]
        if parts > 1 and shape and shape[0] % parts == 0:
            shape = (shape[0] // parts, *shape[1:])
        return Entry(dtype, shape[::-1] if piece.transposed else shape)

    def read(self, piece: Piece) -> bytes:
        """Return the bytes of a piece."""
        content = self.files[piece.file].read(piece.name)
        index, parts = piece.part
        if parts > 1:
            step = len(content) // parts
            content = content[index * step : (index + 1) * step]
        return _turned(content, self.entry(piece)) if piece.transposed else content


def _turned(content: bytes, entry: Entry) -> bytes:
    import numpy as np

    dtype = np.dtype((np.void, SIZES[entry.dtype]))
    return np.frombuffer(content, dtype).reshape(entry.shape[::-1]).T.tobytes()


def conversions(
    releases: Sequence[Release],
    places: Sequence[Path],
    config: Config | None,
    stack: ExitStack,
    companions: Mapping[str, Sequence[Path]] = MappingProxyType({}),
) -> list[Conversion]:
    """Find what released files hold of some networks, and check all of it.

    Args:
        releases: of the networks that are wanted.
        places: files or folders, searched in order.
        config: of a network of other sizes than the published one; None for the published sizes.
        stack: closes the files.
        companions: more folders for the files beside the weights, by the companion's path.

    Returns:
        a conversion for each network of which there is anything.

    Raises:
        CheckpointError: a file is damaged or refused, there is nothing of any network, or the one
            message lists every difference of every network.
    """
    for place in places:
        if not place.exists():
            raise CheckpointError(f"there is no file or folder {place}; check the path")
    opened = _Opened(stack)
    found = [
        _accompanied(each, release, places, companions)
        for release in releases
        if (each := _conversion(release, places, config, opened))
    ]
    unfit = [
        f"{each.checkpoint} has {', '.join(each.differences)}" for each in found if each.differences
    ]
    where = " and ".join(str(place) for place in places)
    if unfit:
        raise CheckpointError(
            f"{where} does not fit the published networks: {'; '.join(unfit)}; download it again "
            "or give the file this was made for, or --config for a network of other sizes"
        )
    if not found:
        raise CheckpointError(_nothing(where, releases, opened))
    return found


class _Opened:
    """Opens each file once."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack, self.files = stack, dict[Path, WeightFile]()

    def __call__(self, path: Path) -> WeightFile:
        if path not in self.files:
            self.files[path] = self.stack.enter_context(open_weights(path))
        return self.files[path]


def _nothing(where: str, releases: Sequence[Release], opened: _Opened) -> str:
    names = ", ".join(release.name for release in releases)
    wanted = sorted({each.files[0][0] for release in releases for each in release.layouts})
    count = sum(len(file.entries) for file in opened.files.values())
    has = f"{count} tensors, but none" if opened.files else "nothing"
    return (
        f"{where} has {has} of {names}{_held(opened)}; give a file or folder with one of "
        f"{', '.join(wanted) or 'its published files'}"
    )


def _held(opened: _Opened) -> str:
    """Return the first names of tensors that files have, or the keys where none were found."""
    files = opened.files.values()
    if names := [name for file in files for name in file.entries]:
        return f" (its names are {listed(names)})"
    keys = [key for file in files for key in file.keys]
    return f" (no single table of tensors is under its keys {listed(keys)})" if keys else ""


def _conversion(
    release: Release, places: Sequence[Path], config: Config | None, opened: _Opened
) -> Conversion | None:
    if release.read is None:
        return _laid_out(release, places, config, opened)
    found = (release.read(place, config, opened.stack) for place in places)
    return next((each for each in found if each is not None), None)


def _laid_out(
    release: Release, places: Sequence[Path], config: Config | None, opened: _Opened
) -> Conversion | None:
    own = release.config if config is None else config
    fits = [
        Fit(layout, each, layout.pieces(own, tuple(file.entries for file in each)))
        for layout in release.layouts
        if (files := _files(layout, places, opened))
        for each in (files, tuple(file.unwrapped for file in files))
    ]
    if not fits:
        return None
    shapes = release.shapes(own)
    fit = max(fits, key=lambda each: len(each.there.keys() & shapes.keys()))
    if fit.there.keys().isdisjoint(shapes):
        return None
    if config is None:
        _check_configs(release, fit)
    return fitted(release.name, own, fit, shapes)


def fitted(checkpoint: str, config: Config, fit: Fit, shapes: Shapes) -> Conversion:
    """Return the conversion of files in a layout, with how they differ from a manifest.

    Args:
        checkpoint: its folder in the store.
        config: of the network.
        fit: the files, and where the tensors lie in them.
        shapes: the network's manifest.
    """
    own = {name: piece for name, piece in fit.pieces.items() if name in shapes}
    fit = replace(fit, pieces=own)
    there = fit.there
    entries = {name: Entry(fit.entry(piece).dtype, shapes[name]) for name, piece in there.items()}
    return Conversion(
        checkpoint=checkpoint,
        config=config,
        entries=entries,
        read=lambda name: fit.read(there[name]),
        layout=fit.layout.name,
        differences=tuple(_differences(fit, shapes)),
        files=tuple(path for file in fit.files for path in (file.path, *file.shards)),
        notes=tuple(_passed_over(fit)),
    )


def _files(
    layout: Naming, places: Sequence[Path], opened: _Opened
) -> tuple[WeightFile, ...] | None:
    found = [_path(patterns, places, single=len(layout.files) == 1) for patterns in layout.files]
    if not all(found):
        return None
    return tuple(opened(path) for path in found if path)


def _path(patterns: Sequence[str], places: Sequence[Path], single: bool) -> Path | None:
    """Find a file by the paths it may have; a layout's only one may lie or be called otherwise."""
    for folder in (place for place in places if place.is_dir()):
        paths = [folder / pattern for pattern in patterns]
        paths += [folder / Path(pattern).name for pattern in patterns if single]
        if found := next((path for path in paths if path.is_file()), None):
            return found
    files = [place for place in places if place.is_file() and place.name.endswith(READABLE)]
    names = {Path(pattern).name for pattern in patterns}
    named = [file for file in files if file.name in names]
    return next(iter(named or (files if single else [])), None)


def _differences(fit: Fit, shapes: Shapes) -> list[str]:
    """List how files differ from a manifest: missing, extra, misshapen, not floating point."""
    there = fit.there
    common = sorted(shapes.keys() & there.keys())
    used = {(piece.file, piece.name) for piece in fit.pieces.values()}
    kinds = {
        "missing": sorted(shapes.keys() - there.keys()),
        "extra": sorted(
            name
            for index, file in enumerate(fit.files)
            for name in file.entries
            if (index, name) not in used and not re.match(fit.layout.foreign, name)
        ),
        "misshapen": [
            f"{name} {sizes(fit.entry(there[name]).shape)}, expected {sizes(shapes[name])}"
            for name in common
            if not _fits(fit.entry(there[name]).shape, shapes[name])
        ],
        "not floating point": [
            f"{name} {fit.entry(there[name]).dtype}"
            for name in common
            if fit.entry(there[name]).dtype not in SIZES
        ],
    }
    return [f"{len(names)} {kind} ({enumerated(names)})" for kind, names in kinds.items() if names]


def sizes(shape: Sequence[int]) -> str:
    """Return a shape as people write it."""
    return "x".join(map(str, shape)) or "a single number"


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """A matrix may lie in the file as a 1 x 1 convolution, or the other way: the same bytes."""
    return _squeezed(found) == _squeezed(wanted)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _passed_over(fit: Fit) -> list[str]:
    used = {(piece.file, piece.name) for piece in fit.pieces.values()}
    others = [
        name
        for index, file in enumerate(fit.files)
        for name in file.entries
        if (index, name) not in used
    ]
    return [f"{len(others)} tensors of other parts were passed over"] if others else []


def _check_configs(release: Release, fit: Fit) -> None:
    """Refuse a configuration beside the weights that computes something else.

    Raises:
        CheckpointError: lists every disagreement.
    """
    for file in fit.files if release.checked else ():
        path = file.path.with_name("config.json")
        if not path.is_file():
            continue
        stored = _config(path)
        pairs = ((key, _value(stored, key), _value(release.config, key)) for key in release.checked)
        other = [
            f"{key} is {found!r}, expected {wanted!r}"
            for key, found, wanted in pairs
            if found not in (None, wanted)
        ]
        if other:
            raise CheckpointError(
                f"{path} is not of {release.name}: {'; '.join(other)}; give the published folder, "
                "or --config for a network of other sizes"
            )


def _value(config: Config, key: str) -> Any:
    """Return a value, also one within another; None where there is none."""
    own, _, rest = key.partition(".")
    value = config.get(own)
    return _value(value, rest) if rest and isinstance(value, Mapping) else value


def _config(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is not a network configuration: {error}") from error


def _accompanied(
    conversion: Conversion,
    release: Release,
    places: Sequence[Path],
    more: Mapping[str, Sequence[Path]],
) -> Conversion:
    """Add the files beside the weights, and name those that are not there."""
    made, lacks = dict(conversion.companions), []
    for companion in release.companions:
        folders = [place for place in (*more.get(companion.path, ()), *places) if place.is_dir()]
        paths = [_beside(patterns, folders) for patterns in companion.files]
        if all(paths):
            made[companion.path] = _made(companion, tuple(path for path in paths if path))
        else:
            lacks.append(companion.path)
    return replace(conversion, companions=made, lacks=tuple(lacks))


def _beside(patterns: Sequence[str], folders: Sequence[Path]) -> Path | None:
    """Find a file by its paths alone: tokenizers of several networks have the same names."""
    paths = (folder / pattern for folder in folders for pattern in patterns)
    return next((path for path in paths if path.is_file()), None)


def _made(companion: Companion, paths: tuple[Path, ...]) -> bytes:
    return companion.make(paths) if companion.make else paths[0].read_bytes()
