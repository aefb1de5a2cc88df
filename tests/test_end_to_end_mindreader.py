"""Mind Reader on the miniature, with few images; and, slow, its bars."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FEW = ["-o", "miniature.train_images=60", "-o", "miniature.test_images=10", "--images", "3"]
OBJECTS, BACKGROUND = "objects recalled (referee)", "background recalled (referee)"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    pytest.importorskip("brainkit_mindreader", reason="the plugin is not installed here")
    home = tmp_path_factory.mktemp("home")
    wanted = {"BRAINKIT_PLUGINS": "mindreader", "BRAINKIT_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **wanted}


def brainkit(words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brainkit", "run", "mindreader", *words]
    done = subprocess.run(
        command, env=env, text=True, capture_output=True, timeout=3000, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def folder(done: subprocess.CompletedProcess[str]) -> Path:
    return Path(done.stdout.splitlines()[-1]).parent


def scores(made: Path) -> dict[str, dict[str, float]]:
    found = json.loads((made / "metrics.json").read_text(encoding="utf-8"))["scores"]
    return {each["name"]: each for each in found}


def test_mindreader_makes_pictures_and_then_keeps_them(environment, tmp_path):
    words = [*FEW, "-o", "regressor.epochs=2", "--work", str(tmp_path)]
    made = folder(brainkit(words, environment))
    assert len(list((made / "images").glob("*.png"))) == 3
    assert len(list((made / "true" / "images").glob("*.png"))) == 3
    assert "0 steps computed" in brainkit(words, environment).stderr


def test_the_paper_s_split_is_told_in_the_report(environment, tmp_path):
    words = [*FEW, "-o", "regressor.epochs=1", "-o", "selection.split=first-seen-85"]
    made = folder(brainkit([*words, "--no-ceiling", "--work", str(tmp_path)], environment))
    assert "first seen" in (made / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(environment, tmp_path_factory) -> Path:
    """The folder of a run with all defaults, 100 images."""
    return folder(brainkit(["--work", str(tmp_path_factory.mktemp("work"))], environment))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_true_embeddings_show_objects_and_backgrounds(whole):
    found = scores(whole)
    assert found[OBJECTS]["ceiling"] >= 0.40
    assert found[BACKGROUND]["ceiling"] >= 0.90
    assert found["SSIM"]["ceiling"] >= 0.40


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_brain_shows_objects_and_backgrounds(whole):
    found = scores(whole)
    assert found[OBJECTS]["value"] >= 0.25
    assert found[BACKGROUND]["value"] >= 0.80
    assert found[OBJECTS]["value"] > 2 * found[OBJECTS]["chance"]["mean"]
