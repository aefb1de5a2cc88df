"""The docs say what the program does: links lead somewhere, nothing public is left out."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import brainkit
from brainkit import hookspecs
from brainkit.plugins import KINDS, MEMBERS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/*.md")])


@pytest.fixture
def generate(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    return importlib.import_module("generate")


def test_pages_made_from_the_program_are_current(generate):
    assert set(generate.PAGES) == {"cli.md", "code.md", "json.md", "style.md", "weights.md"}
    for name, made in generate.PAGES.items():
        page, now = (ROOT / "docs" / name).read_text(encoding="utf-8"), made()
        if name == "cli.md" and f"(as typer {generate.typer_release()} " not in page:
            # Another typer lays out its help otherwise, but of the same commands and flags.
            page, now = (
                sorted(set(re.findall(r"^## .*|--[a-z-]+", text, re.M))) for text in (page, now)
            )
        assert page == now, name


def test_a_page_that_is_out_of_date_ends_the_check(generate, monkeypatch, tmp_path):
    (tmp_path / "cli.md").write_text("old", encoding="utf-8")
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    with pytest.raises(SystemExit, match=r"docs/cli\.md is out of date"):
        generate.main(check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_hook_has_its_heading():
    page = (ROOT / "docs/plugins/hooks.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert re.search(rf"^#+ .*register_{kind}s", page, re.MULTILINE)
        assert hasattr(hookspecs, f"register_{kind}s")


def test_every_member_of_every_kind_of_part_is_explained():
    page = (ROOT / "docs/plugins/parts.md").read_text(encoding="utf-8")
    for kind in KINDS[:-1]:
        section = re.search(rf"^## .*{kind}.*?(?=^## |\Z)", page, re.M | re.S | re.I)
        assert section, kind
        for member in MEMBERS[kind]:
            if member != "name":
                assert f"`{member}" in section.group(), f"{kind}.{member}"


def test_every_artefact_is_described():
    page = (ROOT / "docs/run.md").read_text(encoding="utf-8")
    for name in ("trials-", "features/", "factor-", "weights/", "decoded/", "latents/", "images/"):
        assert name in page
    for name in ("captions.jsonl", "metrics.json", "report.html", "run.toml", "true/"):
        assert name in page


def modules() -> list[str]:
    found = pkgutil.walk_packages(brainkit.__path__, "brainkit.")
    return [each.name for each in found if not each.name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_are_true(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
