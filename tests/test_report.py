"""The report's page and JSON, read back with Python's own parsers."""

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from brainkit.data import Interval
from brainkit.errors import DataError
from brainkit.papers import NSD
from brainkit.report import (
    MINIATURE_LINE,
    Figure,
    Level,
    ReportData,
    ReportRow,
    ScoreRow,
    metrics_json,
    read_metrics,
    write_report,
)
from brainkit.report.histograms import histogram
from brainkit.report.page import picks
from brainkit.report.pictures import data_uri, size_for
from brainkit.report.scales import meaning, scale

VOID = {"meta", "link", "img", "option", "br", "wbr", "input"}


class Page(HTMLParser):
    """Collects what the tests ask about and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "body" in self.open and data.strip() and not {"script", "style"} & set(self.open):
            self.words.append(data.strip())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def picture(seed, side=16):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def opened(uri):
    assert uri.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def row(image_id, value, **extra):
    return ReportRow(
        image_id=image_id,
        stimulus=picture(image_id),
        ceiling=png(picture(image_id + 1)),
        brain=picture(image_id + 2),
        captions=("a dog <on> a beach", "a dog & the sea"),
        ceiling_caption="a dog",
        brain_caption="a cat",
        scores={"SSIM": value, "error": 1 - value},
        **extra,
    )


DATA = ReportData(
    title="Toy on subj01",
    method="toy 1.0",
    subject="subj01",
    n_train=1000,
    n_test=4,
    miniature=True,
    scores=(
        ScoreRow(
            name="SSIM",
            key="ssim",
            value=0.6,
            sem=0.01,
            interval=Interval(0.5, 0.7, 0.95, "BCa"),
            true=Level(value=0.8),
            null=Level(value=0.2, sd=0.02, n=3),
            exchange=Level(value=0.1, sd=0.03, n=5),
            n=4,
            per_image=(0.2, 0.9, 0.5, math.nan),
        ),
        ScoreRow(name="error", value=0.4, higher_is_better=False, n=3),
    ),
    rows=(row(30, 0.2), row(7, 0.9), row(11, 0.5), row(12, math.nan)),
    n_shuffles=5,
    warnings=("a <strange> thing",),
    footnotes=("a footnote",),
    options={"sampler.steps": 20, "conditioner.mix": (0.6, 0.4)},
    versions={"brainkit": "0.1.0"},
    command="brainkit run toy -o sampler.steps=20",
    run_toml='method = "toy"\n',
    timings={"sample": 75.0},
    figures=(Figure(title="Weights", picture=picture(0), text="what it shows"),),
    papers=(NSD,),
)


@pytest.fixture
def page(tmp_path):
    return Page(write_report(DATA, tmp_path / "report.html").read_text(encoding="utf-8"))


def test_first_line_says_that_the_data_are_simulated(page, tmp_path):
    assert page.words[0] == MINIATURE_LINE
    real = write_report(replace(DATA, miniature=False), tmp_path / "real.html").read_text()
    assert MINIATURE_LINE not in real
    assert Page(real).words[0] == "Toy on subj01"


def test_page_refers_to_nothing_outside_itself(page, tmp_path):
    text = (tmp_path / "report.html").read_text()
    # Papers may be linked; nothing may be loaded.
    assert not re.search(r"(https?:)?//[a-z]+\.[a-z]", text.replace(f'href="{NSD.url}"', ""))
    assert "@import" not in text
    assert all(attrs["src"].startswith("data:") for attrs in page.all("img"))
    assert all("src" not in attrs for attrs in page.all("script"))
    assert [attrs["href"] for attrs in page.all("link")] == ["data:,"]
    links = [attrs["href"] for attrs in page.all("a") if attrs["href"] != NSD.url]
    links = [link for link in links if not link.startswith("data:text/csv;")]
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {link[1:] for link in links} <= ids


def test_ids_are_unique_and_labels_point_to_them(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    pointed = [attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs]
    pointed += [attrs["for"] for attrs in page.all("label")]
    assert set(pointed) <= set(ids)


def test_every_picture_has_words_and_opens(page):
    images = page.all("img")
    assert len(images) == 3 * 4 + 3 * 3 + 1  # cards, best median worst, one figure
    assert all(attrs["alt"] for attrs in images)
    assert all(opened(attrs["src"]).size == (16, 16) for attrs in images)


def test_small_pictures_arrive_unchanged_whatever_they_came_as(tmp_path):
    array = picture(3)
    path = tmp_path / "a.png"
    path.write_bytes(png(array))
    for given in (array, png(array), path):
        np.testing.assert_array_equal(np.asarray(opened(data_uri(given, size_for(4)))), array)


def test_a_thousand_noisy_pictures_stay_below_forty_megabytes():
    size = size_for(3 * 1000)
    one = data_uri(picture(0, side=512), size)  # noise is the worst case for JPEG
    assert 3 * 1000 * len(one) < 40e6
    assert max(opened(one).size) >= 96


def test_unreadable_picture_is_named(tmp_path):
    path = tmp_path / "nsd00003.png"
    path.write_bytes(b"no picture")
    broken = replace(DATA, rows=(replace(DATA.rows[0], brain=path),))
    with pytest.raises(DataError, match=r"nsd00003\.png is not a picture"):
        write_report(broken, tmp_path / "report.html")
    assert not list(tmp_path.glob("report*"))


def test_writing_again_replaces_the_page_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "deep" / "report.html"
    write_report(replace(DATA, title="old"), path)
    write_report(DATA, path)
    assert "Toy on subj01" in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_texts_from_users_are_escaped(tmp_path):
    nasty = "</script><script>alert(1)</script>"
    rows = (replace(DATA.rows[0], brain_caption=nasty, scores={nasty: 1.0}),)
    bad = replace(DATA, title=nasty, rows=rows, command=nasty, options={nasty: nasty})
    text = write_report(bad, tmp_path / "r.html").read_text()
    assert "alert(1)</script>" not in text
    assert len(Page(text).all("script")) == 2


def test_table_of_values_has_headings_that_sort_by_button(page):
    heads = [attrs for attrs in page.all("th") if attrs.get("scope") == "col"]
    buttons = [attrs for attrs in page.all("button") if "data-key" in attrs]
    assert [attrs["data-key"] for attrs in buttons] == ["0", "1", "2"]
    assert len(heads) >= 3
    assert [attrs["aria-sort"] for attrs in page.all("th") if "aria-sort" in attrs]


def test_numbers_for_sorting_hold_every_value_and_null_where_undefined(tmp_path):
    text = write_report(DATA, tmp_path / "r.html").read_text()
    found = re.search(r'id="numbers">(.*?)</script>', text, re.DOTALL)
    table = json.loads(found[1])
    assert table["names"] == ["SSIM", "error"]
    assert table["better"] == [True, False]
    assert table["rows"][0] == [30, 0.2, 0.8]
    assert table["rows"][3] == [12, None, None]


def test_page_shows_scores_with_ceiling_chance_and_how_to_reproduce(page):
    words = " ".join(page.words)
    for expected in ("0.600", "0.800", "0.200", "± 0.020", "5 times", "brainkit run toy"):
        assert expected in words
    for expected in ("sampler.steps", "0.1.0", "1 min 15 s", "a footnote", "a <strange> thing"):
        assert expected in words


def test_best_median_and_worst_follow_the_direction_of_the_score():
    values = [DATA.rows[i].scores["SSIM"] for i in picks(DATA.rows, "SSIM", True)]
    assert values == [0.9, 0.5, 0.2]
    values = [DATA.rows[i].scores["SSIM"] for i in picks(DATA.rows, "SSIM", False)]
    assert values == [0.2, 0.5, 0.9]
    assert picks(DATA.rows[:2], "SSIM", True) == ()


def test_scale_puts_the_share_between_chance_and_ceiling():
    place = scale(DATA.scores[0])
    assert place.share == 67  # (0.6 - 0.2) / (0.8 - 0.2)
    assert place.floor < place.value < place.true
    levels = {"true": Level(value=0.4), "exchange": Level(value=0.9)}
    lower = ScoreRow(name="d", value=0.6, higher_is_better=False, **levels)
    assert scale(lower).share == 60
    assert scale(DATA.scores[1]) is None


@pytest.mark.parametrize(("true", "null", "higher"), [(0.2, 0.3, True), (0.9, 0.4, False)])
def test_true_features_no_better_than_the_null_make_no_scale(true, null, higher):
    levels = {"true": Level(value=true), "null": Level(value=null)}
    assert scale(ScoreRow(name="x", value=0.35, higher_is_better=higher, **levels)) is None


def test_a_score_within_the_spread_of_chance_is_called_so():
    levels = {"true": Level(value=0.9), "exchange": Level(value=0.5, sd=0.02)}
    noise = ScoreRow(name="x", value=0.52, sem=0.01, **levels)
    assert "Not distinguishable from chance" in meaning(noise)
    assert "67 % of the way" in meaning(DATA.scores[0])


@pytest.mark.parametrize(
    ("absent", "n_images"), [("images", 1), ("captions", 22), ("rows", 1), ("everything", 0)]
)
def test_page_can_do_without(absent, n_images, tmp_path):
    no_images = {"stimulus": None, "ceiling": None, "brain": None}
    no_captions = {"captions": (), "ceiling_caption": None, "brain_caption": None}
    changed = {
        "images": replace(DATA, rows=tuple(replace(r, **no_images) for r in DATA.rows)),
        "captions": replace(DATA, rows=tuple(replace(r, **no_captions) for r in DATA.rows)),
        "rows": replace(DATA, rows=()),
        "everything": ReportData(
            title="t", method="m", subject="s", n_train=0, n_test=0, miniature=False
        ),
    }[absent]
    page = Page(write_report(changed, tmp_path / "r.html").read_text())
    assert len(page.all("img")) == n_images


def test_one_missing_picture_leaves_its_place(tmp_path):
    rows = (replace(DATA.rows[0], ceiling=None), *DATA.rows[1:])
    page = Page(write_report(replace(DATA, rows=rows), tmp_path / "r.html").read_text())
    assert "none" in page.words


def test_metrics_json_is_strict_json_and_keeps_every_number():
    found = json.loads(json.dumps(metrics_json(DATA), allow_nan=False))
    first, second = found["scores"]
    assert (first["value"], first["true_features"]["value"], first["n"]) == (0.6, 0.8, 4)
    assert first["interval"] == {"low": 0.5, "high": 0.7, "level": 0.95, "method": "BCa"}
    assert first["null"] == {"value": 0.2, "sd": 0.02, "interval": None, "n": 3}
    assert first["exchange"]["value"] == 0.1
    assert first["floor"] == first["null"]
    assert second["floor"] is None
    assert first["per_image"] == [0.2, 0.9, 0.5, None]
    assert second["per_image"] is None
    assert second["sem"] is None
    assert second["higher_is_better"] is False
    assert found["images"][0]["caption"] == "a cat"
    assert found["options"]["conditioner.mix"] == [0.6, 0.4]
    assert found["steps"] == {"sample": 75.0}
    assert found["seconds"] == 75.0


def test_the_scale_begins_where_no_brain_does_better():
    both = {"null": Level(value=0.4), "exchange": Level(value=0.6)}
    assert ScoreRow(name="x", value=0.7, **both).floor.value == 0.6
    assert ScoreRow(name="x", value=0.3, higher_is_better=False, **both).floor.value == 0.4
    assert ScoreRow(name="x", value=0.7, null=Level(value=0.0)).floor.value == 0
    undefined = ScoreRow(name="x", value=0.7, null=Level(value=math.nan))
    assert undefined.floor is None


def test_metrics_of_another_layout_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics_json(DATA)))
    assert read_metrics(path)["title"] == DATA.title
    path.write_text('{"layout": 1, "scores": []}')
    with pytest.raises(DataError, match="layout 1 of another brainkit, expected 2; run again"):
        read_metrics(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="holds no scores; delete it and run again"):
        read_metrics(path)


def test_a_histogram_holds_every_image_and_marks_the_mean():
    values = tuple(np.random.default_rng(3).normal(0.5, 0.1, 400).tolist())
    row = ScoreRow(name="x", value=float(np.mean(values)), per_image=(*values, math.nan))
    drawn = histogram(row)
    low, high = min(values), max(values)
    assert len(drawn.bars) <= 20
    expected, _ = np.histogram(values, 20, (low, high))
    tall = {round(x / 12): height for x, _, _, height in drawn.bars}
    for place, count in enumerate(expected):
        assert tall.get(place, 0) == pytest.approx(64 * count / expected.max())
    assert dict(drawn.marks) == {"mean": pytest.approx(240 * (row.value - low) / (high - low))}
    assert "n = 400" in drawn.text


def test_too_few_values_have_no_histogram_and_equal_ones_do():
    assert histogram(ScoreRow(name="x", value=0.5, per_image=(0.5, math.nan, 0.5))) is None
    same = histogram(ScoreRow(name="x", value=0.5, per_image=(0.5,) * 5))
    assert [height for *_, height in same.bars] == [64.0]


def test_a_score_of_a_whole_set_keeps_its_interval_on_the_scale():
    row = replace(DATA.scores[0], interval=Interval(0.5, 0.65, 0.95, "BCa"))
    place = scale(row)
    inner = (place.true - place.floor) / 0.6
    assert place.low == pytest.approx(place.floor + inner * 0.3)
    assert place.high == pytest.approx(place.floor + inner * 0.45)
