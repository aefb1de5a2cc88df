"""The report in headless Chromium: widths, dark, on paper, by keyboard, without JavaScript.

Skipped where playwright, axe-core or the browser is not installed; nothing is downloaded.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from unicodedata import normalize
from xml.etree import ElementTree

import pytest
from PIL import Image
from report_example import NAMES, example

from brainkit.compare import compared, read_results
from brainkit.compare.page import Shown, write_page
from brainkit.papers import Published
from brainkit.report import metrics_json, write_report

NAMED = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (360, 768, 1440)
N_IMAGES = 48


@pytest.fixture(scope="module")
def browser() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("BRAINKIT_CHROMIUM") or next(filter(None, map(shutil.which, NAMED)), "")
    if not found:
        pytest.skip("no Chromium here (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    return (resources.files(package) / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(example(N_IMAGES), path).as_uri()


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> str:
    """A page of so few images that axe-core, which looks at every word, has done soon."""
    path = tmp_path_factory.mktemp("few") / "report.html"
    return write_report(example(4), path).as_uri()


@pytest.fixture
def opened(browser, url):
    """Return a function that opens the report; it must have had no error when the test ends."""
    contexts, errors = [], []

    def open_page(where: str = url, width: int = 1440, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # of a busy machine, in milliseconds
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(where)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def violations(page, axe: str) -> list[str]:
    page.evaluate(axe)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [f"{each['id']}: {node['target']}" for each in found for node in each["nodes"]]


def sideways(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_and_breaks_no_rule_of_accessibility(opened, axe, few, width, scheme):
    page = opened(few, width=width, color_scheme=scheme, bypass_csp=True)
    assert sideways(page) <= 0
    assert violations(page, axe) == []


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory) -> str:
    """A comparison of two results with long names, one of which has no pictures."""
    folder = tmp_path_factory.mktemp("compared")
    paths = []
    for label in ("one.with=a_very_long_name_that_has_no_blank_in_it_at_all", "another"):
        paths.append(folder / label / "metrics.json")
        paths[-1].parent.mkdir()
        paths[-1].write_text(json.dumps(metrics_json(example(7))))
    comparison = compared([read_results(path, path.parent.name) for path in paths])
    pictures = {row.image_id: row.stimulus for row in example(7).rows}
    captions = {row.image_id: row.captions for row in example(7).rows}
    quoted = Published(system="Old", scores={"SSIM": 0.3}, source="a table", doubt="Much.")
    page = write_page(comparison, [quoted], Shown(pictures, captions, {}), folder / "c.html", "Two")
    return page.as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (768, "dark"), (1440, "light")])
def test_a_comparison_fits_and_breaks_no_rule(opened, axe, side_by_side, width, scheme):
    page = opened(side_by_side, width=width, color_scheme=scheme, bypass_csp=True)
    assert sideways(page) <= 0
    assert violations(page, axe) == []


def test_a_comparison_is_searched_and_sorted(opened, side_by_side):
    page = opened(side_by_side)
    page.get_by_label("Search").fill("boat")
    assert ids(page) == [row.image_id for row in example(7).rows if "boat" in row.captions[0]]
    page.get_by_label("Search").fill("")
    page.get_by_label("Sort by").select_option(label="pixel correlation: another")
    best = max(example(7).rows, key=lambda row: row.scores["pixel correlation"])
    assert ids(page)[0] == best.image_id


def test_a_page_with_a_fault_breaks_a_rule(browser, axe):
    page = browser.new_page()
    page.set_content("<html lang=en><title>t</title><main><h1>t</h1><img src='data:,'></main>")
    assert violations(page, axe) == ["image-alt: ['img']"]
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_without_javascript_all_is_there_and_nothing_pretends(opened, width):
    page = opened(width=width, java_script_enabled=False)
    assert page.locator("#cards .card").count() == N_IMAGES
    assert page.locator("button:visible, select:visible, input:visible").count() == 0
    assert page.locator("#table thead").inner_text().count("top-1") == 12
    page.locator("#reproduce summary").first.click()
    assert page.get_by_text("sampler.steps", exact=True).is_visible()


def test_values_are_saved_as_csv_without_javascript(opened):
    page = opened(java_script_enabled=False)
    link = page.get_by_role("link", name="All values as CSV")
    with page.expect_download() as saving:
        link.click()
    assert saving.value.suggested_filename == "toy-subj01-images.csv"
    rows = list(csv.DictReader(io.StringIO(Path(saving.value.path()).read_text("utf-8"))))
    data = example(N_IMAGES)
    assert [int(row["image_id"]) for row in rows] == [row.image_id for row in data.rows]
    assert float(rows[3]["CIDEr@allref"]) == data.rows[3].scores["CIDEr@allref"]
    assert (rows[0]["caption"], rows[0]["caption_from_brain"]) == (
        "a dog by the sea",
        "something small",
    )
    assert rows[-1]["SSIM"] == ""


def test_a_distribution_is_saved_as_svg_and_png(opened, few):
    page = opened(few)
    figure = page.locator("#distributions figure").first
    assert figure.locator("rect").count() > 0
    for kind in ("SVG", "PNG"):
        with page.expect_download() as saving:
            figure.get_by_role("button", name=f"as {kind}").click()
        assert saving.value.suggested_filename == f"pixel-correlation.{kind.lower()}"
        saved = Path(saving.value.path()).read_bytes()
        if kind == "PNG":
            assert Image.open(io.BytesIO(saved)).size == (992, 472)
        else:
            drawn = ElementTree.fromstring(saved)
            bars = [part for part in drawn.iter() if part.get("class") == "bar"]
            assert len(bars) == figure.locator("rect").count()
            assert all(bar.get("fill").startswith("rgb(") for bar in bars)


def ids(page) -> list[int]:
    shown = page.locator("#cards .card:not([hidden]) h3").all_text_contents()
    return [int(text.split()[-1]) for text in shown]


def test_images_are_searched_bounded_and_sorted(opened):
    page, rows = opened(), example(N_IMAGES).rows
    page.get_by_label("Search").fill("BOAT sea")
    boats = [row for row in rows if "boat" in row.captions[0]]
    assert ids(page) == [row.image_id for row in boats]
    assert page.locator("#shown").inner_text() == f"{len(boats)} of {N_IMAGES} images"
    page.get_by_label("Sort by").select_option(label="SSIM")
    page.get_by_label("from", exact=True).fill("0.5")
    kept = [row for row in boats if row.scores["SSIM"] >= 0.5]
    kept.sort(key=lambda row: -row.scores["SSIM"])
    assert 0 < len(kept) < len(boats)
    assert ids(page) == [row.image_id for row in kept]
    assert page.locator("#table tbody tr:visible").count() == len(kept)


def test_a_search_that_finds_nothing_says_so_and_is_undone(opened):
    page = opened()
    page.get_by_label("Search").fill("zebra")
    assert ids(page) == []
    page.get_by_role("button", name="Show all").click()
    assert len(ids(page)) == N_IMAGES


def test_an_undefined_value_comes_last_and_lies_within_no_bounds(opened):
    page = opened()
    page.get_by_label("Sort by").select_option(label="SSIM")
    last = example(N_IMAGES).rows[-1].image_id
    assert ids(page)[-1] == last
    page.get_by_label("from", exact=True).fill("-1000")
    assert last not in ids(page)


def test_the_keyboard_reaches_every_control_and_sorts(opened):
    page = opened()
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached
    assert reached[0] == "A"  # a section, before anything else
    controls = [each for each in reached if each in ("words", "key", "order", "low", "high")]
    assert controls == ["words", "key", "order", "low", "high"]
    page.locator("#key").focus()
    page.keyboard.press("ArrowDown")
    best = max(example(N_IMAGES).rows, key=lambda row: row.scores[NAMES[0]])
    assert ids(page)[0] == best.image_id
    page.locator("#table button").nth(1).focus()
    page.keyboard.press("Enter")
    assert ids(page)[-1] == best.image_id


def printed(page, tmp_path: Path):
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    return pypdf.PdfReader(tmp_path / "report.pdf").pages


def wide(page) -> bool:
    return page.mediabox.width > page.mediabox.height


def test_on_paper_it_is_a_supplement(opened, tmp_path):
    pages = printed(opened(color_scheme="dark"), tmp_path)
    assert len(pages) <= 10
    tables = [page for page in pages if wide(page)]
    values = example(N_IMAGES).rows
    for page in tables:  # the heading again on each, down to its last column
        words = normalize("NFKC", page.extract_text()).replace("\n", " ")
        assert words.count("top-1 of the classifier") == 12
    assert len(tables) > 1
    rows = " ".join(page.extract_text() for page in tables)
    assert all(f"{row.scores[NAMES[-1]]:.3f}" in rows for row in values)
    assert sum(len(page.images) for page in pages) >= 3 * N_IMAGES
    first = pages[0].get_contents().get_data()
    accent = rb"\.043\d* \.431\d* \.431\d* rg"  # the bars, in the light scheme's colour
    assert len(re.findall(accent, first)) >= len(NAMES)


def test_a_page_without_images_works(opened, tmp_path):
    bare = replace(example(3), rows=(), maps=(), figures=(), scores=())
    page = opened(write_report(bare, tmp_path / "bare.html").as_uri())
    assert page.get_by_role("heading", level=1).inner_text() == "Toy on the miniature"


def test_the_link_to_values_is_a_table(url):
    text = Path(url.removeprefix("file://")).read_text(encoding="utf-8")
    encoded = text.split("data:text/csv;charset=utf-8;base64,", 1)[1].split('"', 1)[0]
    assert base64.b64decode(encoded).decode().startswith("image_id,caption,caption_from_brain,")
