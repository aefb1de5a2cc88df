"""As a user with NSD: released files are fetched, checked and run, and give the same pictures.

The files are made here of the miniature's trained weights, in the published layouts and dtype.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.encoders.autokl import KL_F8
from brainkit.encoders.clip import CLIP_L14
from brainkit.miniature import miniature
from brainkit.miniature.brain import Difficulty


@pytest.fixture(scope="module")
def brainkit(cli_with):
    return cli_with("unibrain")


@pytest.fixture(scope="module")
def published(brainkit, tmp_path_factory) -> dict[str, Path]:
    """What a user has: a file or folder for each checkpoint, as published."""
    import torch
    from safetensors.torch import load_file

    from brainkit_unibrain.checkpoints import FOUR_FLOW, OPTIMUS

    place = tmp_path_factory.mktemp("published")
    miniature = CheckpointStore(Path(), miniature=True)

    def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
        return load_file(miniature.folder(checkpoint) / "model.safetensors")

    clip, vae, files = place / "clip", place / "sd" / "vae", place / "pretrained_pth"
    for folder in (clip, vae, files):
        folder.mkdir(parents=True)
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copy(miniature.folder(CLIP_L14) / name, clip / name)
    whole = miniature.folder(KL_F8) / "model.safetensors"
    shutil.copy(whole, vae / "diffusion_pytorch_model.safetensors")
    torch.save(weights(FOUR_FLOW), files / "vd-four-flow-v1-0-fp16.pth")
    masks = {f"decoder.transformer.h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    torch.save(weights(OPTIMUS) | masks, files / "optimus-vae.pth")
    found = {CLIP_L14: clip, KL_F8: place / "sd", FOUR_FLOW: files, OPTIMUS: files}
    configs = tmp_path_factory.mktemp("configs")
    for each in found:
        shutil.copy(miniature.folder(each) / "config.json", configs / f"{each.name}.json")
    return {"configs": configs} | {each.name: folder for each, folder in found.items()}


@pytest.fixture(scope="module")
def store(brainkit, published, tmp_path_factory) -> Path:
    """A store into which all of them were fetched; the miniature's tokenizers placed by hand."""
    from brainkit_unibrain.checkpoints import OPTIMUS

    store = tmp_path_factory.mktemp("store")
    for name, source in published.items():
        if name != "configs":
            config = published["configs"] / f"{name}.json"
            words = ("--from", str(source), "--config", str(config), "--checkpoints", str(store))
            brainkit("fetch", name, *words)
    tokenizers = CheckpointStore(Path(), miniature=True).folder(OPTIMUS)
    for which in ("reader", "writer"):
        shutil.copytree(tokenizers / which, store / OPTIMUS.name / which)
    return store


def pictures(folder: Path) -> list[np.ndarray]:
    found = sorted((folder / "images").glob("*.png"))
    assert len(found) == 4
    return [np.asarray(Image.open(path)) for path in found]


def captions(folder: Path) -> list[str]:
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["caption"] for line in lines]


def test_fetched_weights_give_the_pictures_and_captions_of_the_miniature(
    finished, store, shared_home, tmp_path
):
    there = finished("unibrain")
    small = Difficulty(train_images=60, test_images=10)
    nsd = miniature(shared_home / "miniature", difficulty=small).nsd
    words = ("--nsd", nsd, "--checkpoints", store, "--work", tmp_path / "nsd", "--no-ceiling")
    here = there.brainkit.run("unibrain", "--images", 4, "-o", "sampler.steps=6", *words)
    for one, other in zip(pictures(there.folder), pictures(here), strict=True):
        np.testing.assert_array_equal(one, other)
    assert captions(there.folder) == captions(here)


def test_what_was_fetched_is_listed_as_whole_and_damage_is_found(brainkit, store, tmp_path):
    copied = tmp_path / "store"
    shutil.copytree(store, copied)
    listed = ("checkpoints", "unibrain", "--checkpoints", str(copied), "--verify", "--json")
    needed = {"clip-vit-l14", "kl-f8", "vd-four-flow", "optimus-vae"}
    states = {
        each["name"]: each["state"] for each in json.loads(brainkit(*listed).stdout)["checkpoints"]
    }
    assert {states[name] for name in needed} == {"whole"}
    weights = copied / "kl-f8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    done = brainkit(*listed, code=1)
    states = {each["name"]: each["state"] for each in json.loads(done.stdout)["checkpoints"]}
    assert states["kl-f8"] == "damaged"


def test_missing_weights_are_told_with_the_command_that_fetches_them(brainkit, nsd, tmp_path):
    words = ("--nsd", str(nsd), "--checkpoints", str(tmp_path / "empty"))
    said = brainkit("run", "unibrain", *words, code=1).stderr
    assert said.count("\n") == 1
    assert "brainkit fetch unibrain" in said


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("vd-four-flow-v1-0.pth", b"<!DOCTYPE html><html>", "page"),
        ("vd-four-flow-v1-0.pth", b"version https://git-lfs.github.com/spec/v1\n", "pointer"),
        ("notes.txt", b"hello", "notes.txt"),
        ("vd-four-flow-v1-0.safetensors", b"\xff" * 64, "safetensors"),
    ],
)
def test_nonsense_in_place_of_weights_gets_one_sentence(
    brainkit, tmp_path, name, content, expected
):
    (tmp_path / name).write_bytes(content)
    words = ("--from", str(tmp_path / name), "--checkpoints", str(tmp_path / "store"))
    said = brainkit("fetch", "vd-four-flow", *words, code=1).stderr.splitlines()
    assert len([line for line in said if line.startswith("Error: ")]) == 1
    assert expected in said[-1]
    assert "Traceback" not in "".join(said)
