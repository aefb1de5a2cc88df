"""Mind Reader on the miniature, with few images; and, slow, its bars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

OBJECTS, BACKGROUND = "objects recalled (referee)", "background recalled (referee)"


def scores(made: Path) -> dict[str, dict[str, float]]:
    found = json.loads((made / "metrics.json").read_text(encoding="utf-8"))["scores"]
    return {each["name"]: each for each in found}


def test_mindreader_makes_pictures_and_then_keeps_them(finished):
    run = finished("mindreader")
    assert len(list((run.folder / "images").glob("*.png"))) == 3
    assert len(list((run.folder / "true" / "images").glob("*.png"))) == 3
    assert "0 steps computed" in run.brainkit("run", *run.words).stderr


def test_the_paper_s_split_is_told_in_the_report(finished):
    run = finished("mindreader")
    folder = run.brainkit.run(*run.words, "--no-ceiling", "-o", "selection.split=first-seen-85")
    assert "first seen" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(cli_with, tmp_path_factory) -> Path:
    """The folder of a run with all defaults, 100 images."""
    return cli_with("mindreader").run("mindreader", "--work", tmp_path_factory.mktemp("work"))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_true_embeddings_show_objects_and_backgrounds(whole):
    found = scores(whole)
    assert found[OBJECTS]["true_features"]["value"] >= 0.40
    assert found[BACKGROUND]["true_features"]["value"] >= 0.90
    assert found["SSIM"]["true_features"]["value"] >= 0.40


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_brain_shows_objects_and_backgrounds(whole):
    found = scores(whole)
    assert found[OBJECTS]["value"] >= 0.25
    assert found[BACKGROUND]["value"] >= 0.80
    assert found[OBJECTS]["value"] > 2 * found[OBJECTS]["exchange"]["value"]
