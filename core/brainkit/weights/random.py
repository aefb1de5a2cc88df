"""Seeded random weights in the sizes of released networks, to try a method before one has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.checkpoints import CheckpointStore
from brainkit.disk import written_aside
from brainkit.errors import CheckpointError
from brainkit.seeds import seed_of
from brainkit.weights import Config, Release, Shapes, release

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from brainkit.data import Checkpoint

VERSION = 1
"""Of how tensors are filled; part of what stamps depend on."""
BLOCK = 262_139
"""Numbers drawn of a tensor; larger ones repeat them. A prime, so that rows of a matrix differ."""
EMBEDDING = re.compile(r"embed|\bwte\b|\bwpe\b|class_embedding")
GAIN = re.compile(r"(^|[._/])(weight|gamma|running_var)$|affine(_\d+)?\.bias$")
SHIFT = re.compile(r"(^|[._/])(bias|beta|running_mean|w_avg)$")
COUNT = re.compile(r"(^|[._/])(position_ids|num_batches_tracked)$")
SMALL = 0.02

FILLER = "word{}"
"""Stands for every id that the miniature has no word for."""


@dataclass(frozen=True)
class RandomStore(CheckpointStore):
    """A store in which every released network has its true sizes and random weights.

    A tensor depends on the names of checkpoint and tensor alone. Its folders hold tokenizers that
    stand in for the released ones, made of the miniature's.
    """

    def folder(self, checkpoint: Checkpoint) -> Path:
        """Return the folder with the checkpoint's tokenizers, writing them when they are not there.

        Raises:
            CheckpointError: the network's sizes are not known.
        """
        folder = self.root / checkpoint.name
        for name, text in _stand_ins(checkpoint).items():
            path = folder / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                _write(path, text)
        return folder

    def has(self, checkpoint: Checkpoint) -> bool:
        """Say whether the sizes of a checkpoint's network are known."""
        try:
            return bool(manifest(checkpoint))
        except CheckpointError:
            return False

    def config(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the configuration of the released network."""
        manifest(checkpoint)
        copied: dict[str, Any] = json.loads(json.dumps(dict(release_of(checkpoint).config)))
        return copied

    def load(
        self, checkpoint: Checkpoint, prefix: str = "", dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Draw the tensors whose names begin with a prefix, which is cut off, on the CPU."""
        import torch

        wanted = torch.float32 if dtype is None else dtype
        return {
            name[len(prefix) :]: drawn(f"{checkpoint.name}/{name}", shape, wanted)
            for name, shape in manifest(checkpoint).items()
            if name.startswith(prefix)
        }

    def shapes(self, checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of the released network."""
        return dict(manifest(checkpoint))

    def fingerprint(self, checkpoint: Checkpoint) -> str:
        """Return a SHA-256 (hex) of all that the random weights depend on."""
        facts = {
            "version": VERSION,
            "name": checkpoint.name,
            "config": self.config(checkpoint),
            "shapes": {name: list(shape) for name, shape in manifest(checkpoint).items()},
            "files": dict(_stand_ins(checkpoint)),
        }
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def lacking(self, who: str, missing: Sequence[Checkpoint]) -> CheckpointError:
        """Return the error for a method whose networks have unknown sizes."""
        names = ", ".join(each.name for each in missing)
        return CheckpointError(
            f"{who} cannot run with random weights: the sizes of {names} are not known, since no "
            "release of it is declared; leave out --weights random"
        )


def release_of(checkpoint: Checkpoint) -> Release:
    """Return the release that a checkpoint names.

    Raises:
        CheckpointError: it names none, or one that cannot be imported.
    """
    if not checkpoint.release:
        raise CheckpointError(f"checkpoint {checkpoint.name!r} declares no release")
    return release(checkpoint.release)


@cache
def manifest(checkpoint: Checkpoint) -> Shapes:
    """Return the shape of every tensor of a released network.

    Raises:
        CheckpointError: there is no release, or it states no sizes.
    """
    published = release_of(checkpoint)
    shapes = published.shapes(published.config)
    if not shapes:
        raise CheckpointError(
            f"the release of checkpoint {checkpoint.name!r} states no sizes of its network, so it "
            "cannot have random weights"
        )
    return shapes


def drawn(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Draw a tensor so that activations of a network of such tensors stay finite.

    Matrices and kernels are N(0, 1 / fan-in), embeddings N(0, 0.02^2), gains 1, shifts 0.

    Args:
        name: seeds it and says what it is: "clip-vit-l14/visual_projection.weight".
        shape: of the tensor.
        dtype: of the tensor, unless it counts something.
    """
    import torch

    if COUNT.search(name):
        return torch.arange(prod(shape)).view(shape)
    if len(shape) < 2 and GAIN.search(name):
        return torch.ones(shape, dtype=dtype)
    if len(shape) < 2 and (SHIFT.search(name) or not shape):
        return torch.zeros(shape, dtype=dtype)
    small = len(shape) < 2 or EMBEDDING.search(name)
    return _filled(name, shape, dtype, SMALL if small else prod(shape[1:]) ** -0.5)


def _filled(name: str, shape: tuple[int, ...], dtype: torch.dtype, spread: float) -> Tensor:
    import torch

    size = prod(shape)
    seed = seed_of(name)
    generator = torch.Generator().manual_seed(seed)
    block = (torch.randn(min(size, BLOCK), generator=generator) * spread).to(dtype)
    if size <= BLOCK:
        return block.view(shape)
    flat, whole = torch.empty(size, dtype=dtype), size // BLOCK
    flat[: whole * BLOCK].view(whole, BLOCK).copy_(block)
    flat[whole * BLOCK :] = block[: size % BLOCK]
    return flat.view(shape)


@cache
def _stand_ins(checkpoint: Checkpoint) -> Mapping[str, str]:
    """Return the tokenizer files that the miniature of a checkpoint has, in the released sizes."""
    miniature = CheckpointStore(Path(), miniature=True)
    if not miniature.has(checkpoint):
        return {}
    folder, sizes = miniature.folder(checkpoint), _vocabularies(release_of(checkpoint).config)
    return {
        path.relative_to(folder).as_posix(): stand_in(path.read_text("utf-8"), sizes)
        for path in sorted(folder.rglob("tokenizer.json"))
    }


def stand_in(tokenizer: str, sizes: Sequence[int]) -> str:
    """Turn the miniature's tokenizer into one with as many ids as a released network has.

    Special tokens at the end of the miniature's vocabulary are at the end again, in the same order,
    as CLIP's begin and end are the last two of 49408; those at its beginning and the words keep
    their ids. Every other id gets a made-up word, so that whatever a network writes can be read.

    Args:
        tokenizer: a `tokenizer.json` of the kind WordLevel.
        sizes: of the network's vocabularies. Of several, as in a text autoencoder that reads in
            BERT's and writes in GPT-2's, the largest is that of special tokens at the end, the
            smallest that of those at the beginning.

    Returns:
        the text of another `tokenizer.json`, without truncation and padding.
    """
    table: dict[str, Any] = json.loads(tokenizer)
    vocabulary: dict[str, int] = table["model"]["vocab"]
    special = {str(each["content"]) for each in table["added_tokens"]}
    last = {token for token in special if vocabulary[token] > len(vocabulary) // 2}
    size = max(sizes) if last else min(sizes)
    moved = size - len(vocabulary)
    ids = {token: old + moved * (token in last) for token, old in vocabulary.items()}
    free = set(range(size)) - set(ids.values())
    ids |= {FILLER.format(each): each for each in sorted(free)}
    table["model"]["vocab"] = ids
    _renumber(table, ids)
    return json.dumps(table, ensure_ascii=False)


def _renumber(table: dict[str, Any], ids: Mapping[str, int]) -> None:
    """Put the new ids of special tokens everywhere a tokenizer file names them."""
    for each in table["added_tokens"]:
        each["id"] = ids[each["content"]]
    table["truncation"] = table["padding"] = None
    around = table.get("post_processor") or {}
    for token, each in around.get("special_tokens", {}).items():
        each["ids"] = [ids[token]]
    for name in ("sep", "cls"):
        if name in around:
            token = around[name][0]
            around[name] = [token, ids[token]]


def _vocabularies(config: Config) -> list[int]:
    """Return every `vocab_size` anywhere in a configuration."""
    inner = (_vocabularies(each) for each in config.values() if isinstance(each, Mapping))
    own = [int(config["vocab_size"])] if "vocab_size" in config else []
    return own + [size for sizes in inner for size in sizes]


def _write(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
