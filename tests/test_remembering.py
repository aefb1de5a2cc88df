"""Parts that remember training images are given these alone, and the ceiling is a true one."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import DataError, UsageError
from brainkit.nsd import load_stimuli
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.artefact import read_recipe
from brainkit.run.config import RunConfig
from brainkit.testing.survey import survey

WORKED = Path(__file__).parents[1] / "docs" / "plugins" / "brainkit-retrieval"
STORE = CheckpointStore(Path("none"), miniature=True)


@pytest.fixture
def retrieval(monkeypatch):
    """The worked method's module."""
    monkeypatch.syspath_prepend(WORKED)
    yield importlib.import_module("brainkit_retrieval")
    sys.modules.pop("brainkit_retrieval", None)


@pytest.fixture
def registry(retrieval):
    module = "brainkit_retrieval"
    return Registry([Source("retrieval", "brainkit-retrieval 0.1.0", lambda: retrieval, module)])


def prepared(registry, nsd, work):
    """Prepare a run in which the miniature's CLIP reads the data: the released one takes long."""
    config = RunConfig("retrieval", nsd=nsd, work=work, images=3, weights="random")
    return replace(prepare(config, registry, lambda line: None), store=STORE)


def test_every_picture_is_a_training_picture_and_the_ceiling_the_nearest(registry, nsd, tmp_path):
    first = prepared(registry, nsd, tmp_path)
    folder = run(first).parent
    training, test = first.image_ids
    known = [each.tobytes() for each in load_stimuli(nsd, training)]
    (features,) = tmp_path.rglob("features/clip_image-*.safetensors")
    rows = {name: each.float() for name, each in load_file(features).items()}
    cosine = torch.nn.functional.cosine_similarity(
        rows["test"][:, None], rows["train"][None], dim=2
    )
    for image in first.chosen:
        shown = [
            known.index(np.asarray(Image.open(folder / of / f"nsd{image:05d}.png")).tobytes())
            for of in ("images", "true/images")
        ]
        assert shown[1] == int(cosine[int(np.searchsorted(test, image))].argmax())
    again = prepared(registry, nsd, tmp_path)
    run(again)
    assert again.work.computed == []


def test_what_it_remembers_is_in_the_recipes(registry, nsd, tmp_path):
    run(prepared(registry, nsd, tmp_path))
    for kind in ("latents/**/*.safetensors", "images/*.png"):
        recipe = read_recipe(next(tmp_path.rglob(kind)))
        assert {"training image ids", "training images"} <= set(recipe["inputs"])
    latent = read_recipe(next(tmp_path.rglob("latents/**/*.safetensors")))
    assert "training clip_image" in latent["inputs"]


def test_a_test_image_is_refused(registry, nsd, tmp_path, retrieval, monkeypatch):
    first = prepared(registry, nsd, tmp_path)
    test = int(first.image_ids[1][0])

    def load(self, store, training):
        return lambda latents, seeds: training.stimuli(np.full(len(latents), test, np.int32))

    monkeypatch.setattr(retrieval.Shown, "load", load)
    with pytest.raises(DataError, match=rf"asked for the images {test}, which are no training"):
        run(first)


def test_a_feature_that_nobody_makes_cannot_be_remembered(retrieval):
    class Other(retrieval.Nearest):
        remembers = ("sound",)

    with pytest.raises(UsageError, match=r"conditioner 'nearest-training' remembers \['sound'\]"):
        replace(retrieval.RETRIEVAL, conditioner=Other()).check()


def test_the_worked_method_keeps_every_promise_on_the_command_line_too(registry, tmp_path):
    verdicts = list(survey(registry.plugins[-1], registry, tmp_path))
    bad = [each.check for each in verdicts if each.outcome in ("broken", "left out")]
    assert bad == ["an_entry_point_names_it"]  # it is not installed here
    assert sum(each.subject == "decoder.training-picture" for each in verdicts) > 10
