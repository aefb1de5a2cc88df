"""Figures: which images are chosen, and what files hold, read back by other programs."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from report_example import example

from brainkit.compare import read_results
from brainkit.compare.figure import FigureRow, chosen, write_figure
from brainkit.errors import DataError, UsageError
from brainkit.report import metrics_json


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics_json(example(9))))
    return read_results(path)


def ranked(name):
    rows = [row for row in example(9).rows if np.isfinite(row.scores[name])]
    return [row.image_id for row in sorted(rows, key=lambda row: -row.scores[name])]


def test_images_are_chosen_by_rank(results):
    best = ranked("pixel correlation")
    assert chosen(results, results.ids, "best:3", "") == best[:3]
    assert chosen(results, results.ids, "worst:2", "") == best[::-1][:2]
    assert chosen(results, results.ids, "median:3", "") == best[3:6]
    assert chosen(results, results.ids, "best:99", "cider") == ranked("CIDEr@allref")


def test_images_are_chosen_by_nothing_but_their_place(results):
    assert chosen(results, results.ids, "even:3", "") == [results.ids[i] for i in (0, 4, 8)]
    drawn = chosen(results, results.ids, "random:4", "")
    assert drawn == chosen(results, results.ids, "random:4", "")
    assert len(set(drawn)) == 4
    assert set(drawn) <= set(results.ids)
    assert chosen(results, results.ids, "27, 7", "") == [27, 7]


@pytest.mark.parametrize(
    ("asked", "by", "said"),
    [
        ("bets:3", "", "Did you mean 'best'"),
        ("best:0", "", "expected WAY:COUNT"),
        ("best:x", "", "expected WAY:COUNT"),
        ("7,8", "", "'8', not among the 9 images"),
        ("", "", "not among the 9 images"),
        ("best:2", "zebra", "no score of images is called 'zebra'; there are pixel correlation"),
    ],
)
def test_nonsense_is_told_in_a_sentence(results, asked, by, said):
    with pytest.raises(UsageError, match=said):
        chosen(results, results.ids, asked, by)


def rows():
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    return [
        FigureRow("stimulus", {1: red, 2: red}, {1: "costs $5 & more", 2: ""}),
        FigureRow("a run", {1: red, 2: None}, {}),
    ]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_equal_figures_have_equal_bytes(tmp_path, kind):
    first = write_figure(rows(), [1, 2], tmp_path / "a", kind).read_bytes()
    assert write_figure(rows(), [1, 2], tmp_path / "b", kind).read_bytes() == first


def test_a_figure_holds_its_pictures(tmp_path):
    drawn = Image.open(write_figure(rows(), [1, 2], tmp_path / "a.png", "png")).convert("RGB")
    red = (np.asarray(drawn) == (255, 0, 0)).all(-1).sum()
    assert red == pytest.approx(3 * 330 * 330, rel=0.02)  # three pictures of 1.1 inches at 300 dpi
    root = ElementTree.fromstring(
        write_figure(rows(), [1, 2], tmp_path / "a.svg", "svg").read_bytes()
    )
    assert len([each for each in root.iter() if each.tag.endswith("}image")]) == 3
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    (page,) = pypdf.PdfReader(
        io.BytesIO(write_figure(rows(), [1, 2], tmp_path / "a.pdf", "pdf").read_bytes())
    ).pages
    assert "costs $5 & more" in page.extract_text()


def test_a_spoilt_picture_is_named(tmp_path):
    bad = tmp_path / "nsd00001.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"nsd00001\.png is not a picture"):
        write_figure([FigureRow("x", {1: bad}, {})], [1], tmp_path / "f.png", "png")
    assert not (tmp_path / "f.png").exists()


def test_a_finished_run_is_drawn_from_the_command_line(finished, tmp_path):
    run = finished("unibrain")
    out = tmp_path / "figure.pdf"
    printed = run.brainkit(
        "figure", run.folder, "--format", "pdf", "--images", "best:2", "--out", out
    )
    assert printed.stdout.strip() == str(out)
    assert out.read_bytes().startswith(b"%PDF")
