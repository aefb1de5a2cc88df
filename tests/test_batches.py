"""Batches are part of the numbers: what was killed, lost or spoilt is made again to the byte."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file
from shared_files import latents
from trees import tree

from brainkit import hookimpl
from brainkit.decoders.autokl import to_uint8
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Crowded:
    """Comes nearer to the start in three iterations; in another batch to other numbers.

    Kernels round differently by a batch's size; here the difference is large enough to see.
    """

    name = "crowded"
    journalled = True

    def sample(self, condition, seeds, progress=None, journal=None):
        import torch

        states = [journal.state(row) for row in range(len(seeds))]
        zeros = torch.zeros_like(condition.start)
        latents = torch.stack([s.get("latent", z) for s, z in zip(states, zeros, strict=True)])
        ways = [list(s.get("path.latents", [z.half()])) for s, z in zip(states, zeros, strict=True)]
        while min(map(len, ways)) < 4:
            step = 0.3 * (condition.start - latents) + 0.02 * len(seeds)
            for row, way in enumerate(ways):
                if len(way) < 4:
                    latents[row] += step[row]
                    way.append(latents[row].half())
                    frames = {"path.latents": torch.stack(way), "path.losses": torch.ones(len(way))}
                    places = {"path.iterations": torch.arange(len(way))}
                    journal.keep(row, {"latent": latents[row], **frames, **places})
        return latents


@dataclasses.dataclass(frozen=True)
class CrowdedPictures:
    """Pictures that have a little of all others of their batch."""

    name = "crowded-pictures"
    gives = "image"
    checkpoints = ()

    def load(self, store):
        return lambda latents, seeds: to_uint8(latents + 0.1 * latents.mean(0) + len(latents) / 50)


@dataclasses.dataclass(frozen=True)
class CrowdedWords:
    """A sentence that says how many were written at once."""

    name = "crowded-words"
    gives = "caption"
    checkpoints = ()

    def load(self, store):
        return lambda latents, seeds: [f"one of {len(latents)}: {float(each)}" for each in latents]


@pytest.fixture
def registry(toy) -> Registry:
    crowded = dataclasses.replace(
        toy.TOY,
        name="crowded",
        sampler=Crowded(),
        decoders={"image": CrowdedPictures(), "caption": CrowdedWords()},
        presets={},
    )

    class Hooks:
        @hookimpl
        def register_methods(self, register):
            register(crowded)

        @hookimpl
        def register_samplers(self, register):
            register(Crowded())

    sources = [("toy", lambda: toy), ("crowded", Hooks)]
    return Registry([Source(name, f"brainkit-{name} 1.0", load) for name, load in sources])


@pytest.fixture
def do(nsd, registry, tmp_path):
    """Return a function that does a run in a folder of its own, and what it said."""

    def doing(work: str, **settings) -> list[str]:
        lines: list[str] = []
        common = {"nsd": nsd, "work": tmp_path / work, "images": 5, "batch_size": 2}
        config = RunConfig("crowded", **{**common, **settings})
        run(prepare(config, registry, lines.append))
        return lines

    return doing


def require_equal(folder: Path, whole: Path) -> None:
    found, expected = tree(folder), tree(whole)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


# --- kills --------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Ends a run when it comes to the n-th rename, removal or flush; nothing works after that."""

    def __init__(self, patch: pytest.MonkeyPatch, n: int) -> None:
        self.left = n
        for name in ("replace", "unlink", "fsync"):
            patch.setattr(os, name, self._dying(getattr(os, name)))

    def _dying(self, function: Callable) -> Callable:
        def called(*arguments, **options):
            # A process that is gone holds no lock; this one has to leave it.
            if ".lock" in str(arguments[0]):
                return function(*arguments, **options)
            self.left -= 1
            if self.left < 0:
                raise Killed
            return function(*arguments, **options)

        return called


def kill_until_done(do: Callable, work: str, n: int, **settings) -> int:
    """Do a run that dies at every n-th operation, and again, until it is done; count its lives."""
    for life in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            Mortal(patch, n)
            try:
                do(work, **settings)
            except Killed:
                continue
            return life
    raise AssertionError("no life gets further than the one before")


@pytest.mark.parametrize("n", [41, 67])
def test_a_run_killed_within_batches_ends_as_one_that_was_not(do, tmp_path, n):
    do("whole")
    assert kill_until_done(do, "killed", n) > 3
    require_equal(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("n", [1000, 37])
def test_more_images_make_the_begun_batch_again_whole(do, tmp_path, n):
    do("whole", batch_size=4)
    do("more", images=3, batch_size=4)
    first = tree(tmp_path / "more")
    kill_until_done(do, "more", n, batch_size=4)
    require_equal(tmp_path / "more", tmp_path / "whole")
    again = tree(tmp_path / "more")
    # Not a test of nothing: the three were other numbers in a batch of three.
    of_brain = [name for name in first if "/null/" not in name]
    pictures = [name for name in of_brain if "/images/nsd" in name or "/paths/" in name]
    assert len(pictures) == 9
    assert all(first[name] != again[name] for name in pictures)


def test_samples_share_batches_and_their_strips_follow(do, tmp_path):
    settings = {"batch_size": 4, "samples": 2, "images": 4}
    do("whole", **settings)
    do("more", **{**settings, "images": 3})
    do("more", **settings)
    require_equal(tmp_path / "more", tmp_path / "whole")


# --- loss and damage ----------------------------------------------------------------------------


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = {
    "latent": "latents/image-*/nsd*.safetensors",
    "caption's latent": "latents/caption-*/nsd*.safetensors",
    "picture": "runs/*/images/nsd*.png",
    "strip": "runs/*/paths/nsd*.png",
    "captions": "runs/*/captions.jsonl",
}


@pytest.mark.parametrize("damage", [Path.unlink, spoil])
def test_a_lost_or_spoilt_file_is_made_again_to_the_byte(do, tmp_path, damage):
    do("whole")
    before = tree(tmp_path / "whole")
    (root,) = tmp_path.glob("whole/*/subj01")
    for pattern in FILES.values():
        damage(sorted(root.glob(pattern))[-2:][0])
        lines = do("whole")
        assert tree(tmp_path / "whole") == before, lines
    for pattern in FILES.values():
        damage(sorted(root.glob(pattern))[-2:][0])
    do("whole")
    assert tree(tmp_path / "whole") == before


def test_only_the_batch_of_a_lost_file_is_made_again(do, tmp_path):
    do("whole")
    (root,) = tmp_path.glob("whole/*/subj01")
    last, second, *_ = sorted(root.glob(FILES["picture"]))[::-1]
    times = {path: path.stat().st_mtime_ns for path in root.rglob("nsd*")}
    second.unlink()
    lines = do("whole")
    assert "images/brain: computing 2 of 5 images (new, 3 kept, 1 with their batch)" in lines
    changed = [path for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert len(changed) == 2
    assert last not in changed


def test_networks_make_a_lost_latent_and_picture_again_to_the_byte(finished):
    run = finished("unibrain")
    subject = run.folder.parents[1]
    before = tree(subject)
    latent = latents(run.folder)[1]
    picture = sorted((run.folder / "images").glob("nsd*"))[2]
    shown, walked = Image.open(picture).tobytes(), load_file(latent)["latent"]
    latent.unlink()
    picture.unlink()
    run.brainkit("run", *run.words)
    assert (load_file(latent)["latent"] == walked).all()
    assert Image.open(picture).tobytes() == shown
    assert tree(subject) == before
