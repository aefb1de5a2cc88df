"""MindDiffuser and Takagi & Nishimoto on the miniature, with few images; and, slow, their bars."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from shared_files import latents, shared

FEW = ["-o", "miniature.train_images=60", "-o", "miniature.test_images=10", "--images", "3"]


@pytest.fixture(scope="module")
def brainkit(cli_with):
    return cli_with("minddiffuser")


def test_minddiffuser_refines_pictures_and_then_keeps_them(finished):
    run = finished("minddiffuser")
    assert len(list((run.folder / "images").glob("*.png"))) == 3
    assert len(list((run.folder / "paths").glob("*.png"))) == 3
    assert (run.folder / "report.html").read_text(encoding="utf-8").count("<polyline") >= 3
    assert "0 steps computed" in run.brainkit("run", *run.words).stderr


def test_takagi_makes_five_pictures_of_each_image(finished):
    assert len(list((finished("takagi").folder / "images").glob("*.png"))) == 10


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_killed_refinement_goes_on_to_the_same_pictures(brainkit, tmp_path):
    few = ["-o", "sampler.iterations=12", "-o", "sampler.every=3", "--no-ceiling"]
    words = ["minddiffuser", *FEW, *few, "--work"]
    whole = brainkit.run(*words, tmp_path / "whole")
    killed = brainkit.process("run", *words, tmp_path / "killed")
    states = tmp_path / "killed"
    while len(list(states.rglob("*.state.safetensors"))) < 3:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    reached = [len(load_file(each)["path.losses"]) for each in states.rglob("*.state.safetensors")]
    assert all(0 < each < 12 for each in reached)
    resumed = brainkit.run(*words, tmp_path / "killed")
    for path, again in zip(latents(whole), latents(resumed), strict=True):
        found, expected = load_file(again), load_file(path)
        assert found.keys() == expected.keys()
        for name in expected:
            assert np.array_equal(found[name], expected[name])


@pytest.fixture(scope="module")
def runs(brainkit, tmp_path_factory):
    """Return a function from a run's name to its folder; each is made once, 100 images."""
    work = tmp_path_factory.mktemp("work")
    one_walk = ["--use", "sampler=ddim", "-o", "sampler.steps=10", "-o", "sampler.noise_lead=1"]
    words = {
        "stage 2": ["minddiffuser", "--no-ceiling"],
        "stage 1": ["minddiffuser", *one_walk],
        "z only": ["minddiffuser", *one_walk, "--no-ceiling", "-o", "conditioner.use_c=false"],
        "c only": ["minddiffuser", *one_walk, "--no-ceiling", "-o", "conditioner.use_z=false"],
        "takagi": ["takagi"],
    }
    made: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in made:
            made[name] = brainkit.run(*words[name], "--work", work / name.replace(" ", "-"))
        return made[name]

    return run


def scores(made: Path) -> dict[str, dict[str, float]]:
    found = json.loads((made / "metrics.json").read_text(encoding="utf-8"))["scores"]
    return {each["name"]: each for each in found}


OBJECTS, BACKGROUND = "objects recalled (referee)", "background recalled (referee)"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_stage_1_shows_the_objects(runs):
    found = scores(runs("stage 1"))
    assert found[OBJECTS]["true_features"]["value"] >= 0.55
    assert found[BACKGROUND]["true_features"]["value"] >= 0.95
    assert found[OBJECTS]["value"] >= 0.30


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_stage_2_comes_nearer_to_the_picture(runs):
    first, second = scores(runs("stage 1")), scores(runs("stage 2"))
    gains = [second[name]["value"] - first[name]["value"] for name in ("SSIM", "pixel correlation")]
    assert max(gains) > 0


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_stage_2_lowers_the_structural_loss(runs):
    import torch

    from brainkit.miniature.train.features import small_store
    from brainkit_minddiffuser import MINDDIFFUSER

    made = runs("stage 2")
    features = {
        name: torch.from_numpy(load_file(shared(made, f"decoded/{name}"))["decoded"])
        for name in MINDDIFFUSER.encoders
    }
    features = {name: each.float() for name, each in features.items()}
    walked = [load_file(each) for each in latents(made)]
    begun = torch.from_numpy(np.stack([each["path.latents"][0] for each in walked])).float()
    ended = torch.from_numpy(np.stack([each["latent"] for each in walked]))
    with torch.no_grad():
        misfit = MINDDIFFUSER.conditioner.load(small_store())(features)["image"].misfit
        lower = misfit(ended) < misfit(begun)
    assert float(lower.float().mean()) >= 0.80


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_layout_comes_from_z_and_content_from_c(runs):
    z, c, both = (scores(runs(name)) for name in ("z only", "c only", "stage 1"))
    assert z["pixel correlation"]["value"] > c["pixel correlation"]["value"]
    assert c[OBJECTS]["value"] > z[OBJECTS]["value"]
    assert both[OBJECTS]["value"] > z[OBJECTS]["value"]
    assert both["pixel correlation"]["value"] > c["pixel correlation"]["value"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_z_is_read_from_early_areas_and_c_from_ventral_ones(runs, brainkit):
    made = runs("stage 1")
    brainkit("map", made)

    def mean_weight(feature: str, region: str) -> float:
        facts = json.loads((made / "maps" / f"{feature}.json").read_text(encoding="utf-8"))
        regions = facts["maps"]["weight"]["regions"]
        found = (each for each in regions if (each["volume"], each["name"]) == ("streams", region))
        return float(next(found)["mean"])

    assert mean_weight("image_latent", "early") > 2 * mean_weight("image_latent", "ventral")
    assert mean_weight("text_tokens", "ventral") > 1.2 * mean_weight("text_tokens", "early")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_takagi_shows_the_objects(runs):
    found = scores(runs("takagi"))
    assert found[OBJECTS]["true_features"]["value"] >= 0.55
    assert found[BACKGROUND]["value"] >= 0.80
