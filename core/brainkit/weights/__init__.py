"""From released files to the checkpoint store: what there is, where it is had, how it is read.

A checkpoint names its `Release` by "module:NAME"; that module imports no torch, only its functions
do. A release says under which names and in which files the tensors of a network are published
(`Naming`), so that `brainkit fetch` can check every one of them and write them as safetensors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.errors import CheckpointError, reason

if TYPE_CHECKING:
    from brainkit.weights.conversion import Conversion

Config = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
"""Shape of every tensor of a network, by its own name: the network's manifest."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        path: inside its repository, or below its origin's URL; a file of the same last part, or the
            same path, is what a user who has it already gives with `--from`.
        size: bytes, 0 when not known for sure.
        sha256: hexadecimal; only the first digits where no more are published; empty when unknown.
    """

    path: str
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Origin:
    """A place where files are published.

    Attributes:
        files: all that are needed.
        licence: its usual short name, e.g. "CreativeML OpenRAIL-M".
        repository: on the Hugging Face hub, e.g. "CompVis/stable-diffusion-v1-4"; or empty.
        revision: the commit whose files are meant, 40 hexadecimal digits; empty when none is known
            for sure, then the newest is taken and recorded.
        url: of the folder the files lie in, when they are not on the hub; or empty.
        page: for people: where to read on, or what to click when there is no direct address.
        gated: whether the hub asks for an account that has accepted the terms.
    """

    files: tuple[RemoteFile, ...]
    licence: str
    repository: str = ""
    revision: str = ""
    url: str = ""
    page: str = ""
    gated: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files; 0 when one is unknown."""
        sizes = [each.size for each in self.files]
        return sum(sizes) if all(sizes) else 0


@dataclass(frozen=True)
class Piece:
    """Where one tensor of a network lies in a layout's files.

    Attributes:
        name: in the file.
        file: which of the layout's files, from 0.
        part: (i, n) when it is the i-th of n equal parts along the first axis, as in fused
            projections of queries, keys and values.
        transposed: whether the file has the matrix the other way round.
    """

    name: str
    file: int = 0
    part: tuple[int, int] = (0, 1)
    transposed: bool = False


Pieces = Callable[[Config, tuple[Collection[str], ...]], Mapping[str, Piece]]
"""`pieces(config, names)` gives the piece of every tensor; `names` are those in each file, for
layouts whose own names vary. A name that no file has is reported as missing."""


@dataclass(frozen=True)
class Naming:
    """One way in which a network's tensors are named and spread over files.

    Attributes:
        name: e.g. "official", "deprecated", "diffusers".
        files: for each file the paths it may have below a folder, tried in order. A single file
            given by the user stands for the first, whatever its name, when there is but one.
        pieces: where each tensor lies.
        foreign: regular expression that names of tensors which are none of this network's match
            from their beginning; they are passed over. Any other name no piece has is an error.
    """

    name: str
    files: tuple[tuple[str, ...], ...]
    pieces: Pieces
    foreign: str = r"(?!)"


@dataclass(frozen=True)
class Companion:
    """A file beside the weights, such as a tokenizer's.

    Attributes:
        path: in the checkpoint's folder, e.g. "tokenizer.json".
        files: for each file it is made of, the paths that may have below a folder.
        make: gives its content from those files; None copies the only one.
        origins: where the files are published; the first is what is fetched. Empty when they come
            with the weights.
    """

    path: str
    files: tuple[tuple[str, ...], ...]
    make: Callable[[tuple[Path, ...]], bytes] | None = None
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True)
class Release:
    """The published weights of one network.

    Attributes:
        name: of the checkpoint, its folder in the store.
        origins: where they are published; the first is what is fetched.
        config: of the published network; becomes `config.json`.
        shapes: gives the manifest of a network of a configuration, without making its weights.
        layouts: the ways in which its tensors are published.
        companions: files it needs besides.
        read: reads files that no layout describes, e.g. because sizes follow from the tensors:
            `read(source, config, stack)` gives None where nothing of it is there. None for those
            that are described.
        checked: keys of a `config.json` beside published weights that have to agree with `config`;
            "text_config.hidden_act" is one within another.
        remarks: `remarks(conversion, store, stack)` gives sentences for the user on files that fit,
            such as how they agree with other weights in the folder of the store.
    """

    name: str
    origins: tuple[Origin, ...]
    config: Config = field(default_factory=dict)
    shapes: Callable[[Config], Shapes] = lambda config: {}
    layouts: tuple[Naming, ...] = ()
    companions: tuple[Companion, ...] = ()
    read: Callable[[Path, Config | None, ExitStack], Conversion | None] | None = None
    checked: tuple[str, ...] = ()
    remarks: Callable[[Conversion, Path, ExitStack], Sequence[str]] | None = None


SUFFIXES = (".safetensors", ".fp16.safetensors", ".safetensors.index.json", ".bin", ".fp16.bin")


def stems(*paths: str) -> tuple[str, ...]:
    """Return the paths that diffusers and transformers write weights to, safetensors first.

    >>> stems("unet/diffusion_pytorch_model")[:2]
    ('unet/diffusion_pytorch_model.safetensors', 'unet/diffusion_pytorch_model.fp16.safetensors')
    """
    return tuple(f"{path}{suffix}" for suffix in SUFFIXES for path in paths)


def release(reference: str) -> Release:
    """Import the release that a checkpoint names by "module:NAME".

    Raises:
        CheckpointError: it is not there.
    """
    module, _, name = reference.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # the module is a plugin's, and may raise whatever it likes
        raise CheckpointError(
            f"the release {reference!r} that a checkpoint names cannot be imported "
            f"({reason(error)}); install its plugin again"
        ) from error
    if not isinstance(found, Release):
        kind = type(found).__name__
        raise CheckpointError(
            f"the release {reference!r} that a checkpoint names is a {kind}, expected a "
            "brainkit.weights.Release; install its plugin again"
        )
    return found
