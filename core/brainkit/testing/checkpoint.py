"""Promises of checkpoints, and of the releases and miniatures they name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import util
from pathlib import Path

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.names import unfit
from brainkit.testing.part import import_without_torch
from brainkit.testing.promise import require
from brainkit.weights import Release, release

Owners = Mapping[str, tuple[str, Checkpoint]]
"""Name of a checkpoint -> who else declares one of that name, and which."""


def it_can_be_named_and_found(checkpoint: Checkpoint, others: Owners) -> None:
    """The name is a word, and `source` says to people where the weights come from."""
    require(not unfit(checkpoint.name), f"the checkpoint is named {unfit(checkpoint.name)}")
    require(bool(checkpoint.source.strip()), "source is empty; say where the weights come from")


def no_other_checkpoint_has_its_name(checkpoint: Checkpoint, others: Owners) -> None:
    """Whoever else declares a checkpoint of the name means the same release and miniature."""
    owner, other = others.get(checkpoint.name, ("", checkpoint))
    for field in ("release", "miniature"):
        mine, theirs = getattr(checkpoint, field), getattr(other, field)
        require(
            mine == theirs,
            f"{owner} declares {checkpoint.name!r} with {field} {theirs!r}, this one with "
            f"{mine!r}; they would share a folder, so rename it",
        )


def its_miniature_is_there(checkpoint: Checkpoint, others: Owners) -> None:
    """The folder that `miniature` names holds whole weights and a configuration."""
    if not checkpoint.miniature:
        return
    store = _miniature()
    try:
        store.config(checkpoint)
        store.load(checkpoint)
    except CheckpointError as error:
        raise AssertionError(
            f"miniature is {checkpoint.miniature!r}, but {error}; name package:folder, and pack "
            "the folder's files with the distribution"
        ) from error


def its_release_is_there(checkpoint: Checkpoint, others: Owners) -> None:
    """`release` names a `brainkit.weights.Release` of the checkpoint's own name."""
    found = _release(checkpoint)
    if found:
        require(
            found.name == checkpoint.name,
            f"release {checkpoint.release!r} is of {found.name!r}, expected {checkpoint.name!r}; "
            "a fetch would write into the other folder",
        )


def importing_its_release_loads_no_torch(checkpoint: Checkpoint, others: Owners) -> None:
    """The module of a release imports torch only inside functions."""
    if checkpoint.release:
        name = checkpoint.release.partition(":")[0]
        spec = util.find_spec(name)
        import_without_torch(name, (spec.origin if spec else "") or "")


def its_release_says_whence_and_on_which_terms(checkpoint: Checkpoint, others: Owners) -> None:
    """Every origin has a licence, and files at an address or a page for people."""
    found = _release(checkpoint)
    if not found:
        return
    require(bool(found.origins), f"release {found.name!r} has no origin, so it cannot be had")
    for number, origin in enumerate(found.origins, 1):
        who = f"origin {number} of release {found.name!r}"
        named = bool(origin.files) or bool(origin.page)
        require(named, f"{who} names no files, nor a page that tells people of them")
        require(bool(origin.licence.strip()), f"{who} names no licence")
        place = origin.repository or origin.url or origin.page
        require(bool(place), f"{who} has neither repository, url nor page")


def its_manifest_fits_its_miniature(checkpoint: Checkpoint, others: Owners) -> None:
    """`shapes` of the miniature's configuration are those of the miniature's tensors."""
    found = _release(checkpoint)
    store = _miniature()
    if not found or not checkpoint.miniature or not store.has(checkpoint):
        return
    expected, there = dict(found.shapes(store.config(checkpoint))), store.shapes(checkpoint)
    if not expected:
        return
    wrong = sorted(
        name
        for name in {*expected, *there}
        if tuple(expected.get(name, ())) != there.get(name, None)
    )
    require(
        not wrong,
        f"shapes of release {found.name!r} differ from the miniature's tensors in {wrong[:5]}",
    )


def _release(checkpoint: Checkpoint) -> Release | None:
    if not checkpoint.release:
        return None
    try:
        return release(checkpoint.release)
    except CheckpointError as error:
        raise AssertionError(f"{error}; name it as module:NAME") from error


def _miniature() -> CheckpointStore:
    return CheckpointStore(Path(), miniature=True)


PROMISES = (
    it_can_be_named_and_found,
    no_other_checkpoint_has_its_name,
    its_miniature_is_there,
    its_release_is_there,
    importing_its_release_loads_no_torch,
    its_release_says_whence_and_on_which_terms,
    its_manifest_fits_its_miniature,
)
