"""Results know the code that made them: another version, or edited code, computes them anew."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest

from brainkit.code import code_hash, package_of
from brainkit.plugins import Registry, Source, installed_sources
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig

CODE = """
from dataclasses import dataclass
from brainkit import hookimpl
from bk_edited.numbers import FACTOR

@dataclass(frozen=True)
class Middle:
    name = "middle"

    def fit(self, betas, feature):
        return {"mean": feature.float().mean(0) * FACTOR}

    def predict(self, weights, betas, feature):
        return weights["mean"].repeat(len(betas), *[1] * weights["mean"].ndim)

@hookimpl
def register_regressors(register):
    register(Middle())
"""
USE = {"regressor.picture": "middle"}


@pytest.fixture
def author(tmp_path, monkeypatch):
    """A package that its author edits, on the path of Python."""
    package = tmp_path / "src" / "bk_edited"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(CODE)
    (package / "numbers.py").write_text("FACTOR = 1\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield package
    forget()


def forget():
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.partition(".")[0] == "bk_edited"]:
        del sys.modules[name]


def steps(toy, nsd, work, version="0.3.0", place=None):
    """Run in what stands for a new process; return the lines and the steps that were computed."""
    forget()
    load = lambda: importlib.import_module("bk_edited")  # noqa: E731
    edited = Source("edited", f"bk-edited {version}", load, "bk_edited", place)
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy), edited])
    config = RunConfig("toy", nsd=nsd, work=work, images=1, ceiling=False, use=USE)
    lines = []
    prepared = prepare(config, registry, lines.append)
    run(prepared)
    return lines, prepared.work.computed


def test_edited_code_computes_anew_what_it_made_and_says_so(author, toy, nsd, tmp_path):
    steps(toy, nsd, tmp_path / "work")
    assert steps(toy, nsd, tmp_path / "work")[1] == []
    (author / "numbers.py").write_text("FACTOR = 0\n")
    lines, computed = steps(toy, nsd, tmp_path / "work")
    assert "weights/picture: computing (the code of bk-edited changed)" in lines
    assert {"weights/picture", "decoded/picture", "images/brain"} <= set(computed)
    assert not {"trials", "features/picture", "weights/length"} & set(computed)


def test_a_comment_is_code_too(author, toy, nsd, tmp_path):
    steps(toy, nsd, tmp_path / "work")
    (author / "numbers.py").write_text("FACTOR = 1  # as ever\n")
    assert "weights/picture" in steps(toy, nsd, tmp_path / "work")[1]


def test_of_installed_code_only_the_version_counts(author, toy, nsd, tmp_path):
    site = author.parent
    steps(toy, nsd, tmp_path / "work", place=site)
    (author / "numbers.py").write_text("FACTOR = 1.0\n")
    assert steps(toy, nsd, tmp_path / "work", place=site)[1] == []
    lines, _ = steps(toy, nsd, tmp_path / "work", "0.3.1", place=site)
    assert "weights/picture: computing (bk-edited 0.3 -> bk-edited 0.3.1)" in lines


def test_versions_that_installers_hold_equal_are_equal(author, toy, nsd, tmp_path):
    steps(toy, nsd, tmp_path / "work", "1.0", place=author.parent)
    assert steps(toy, nsd, tmp_path / "work", "1.0.0", place=author.parent)[1] == []


def test_every_python_file_of_a_package_counts_and_no_other(author):
    importlib.import_module("bk_edited")
    assert package_of("bk_edited") == author
    before = code_hash(author)
    (author / "notes.txt").write_text("not code")
    (author / "inner").mkdir()
    assert code_hash(author) == before
    (author / "inner" / "more.py").write_text("")
    with_more = code_hash(author)
    assert with_more != before
    (author / "inner" / "more.py").rename(author / "inner" / "other.py")
    assert code_hash(author) != with_more


def test_a_part_that_is_not_registered_has_the_version_of_its_module(author):
    forget()
    load = lambda: importlib.import_module("bk_edited")  # noqa: E731
    registry = Registry([Source("edited", "bk-edited 2.0.0", load, "bk_edited", author.parent)])
    part = sys.modules["bk_edited"].Middle()
    assert registry.provider("regressor", part).version == "bk-edited 2.0"

    other = replace(part)
    object.__setattr__(other, "name", "unheard-of")
    assert registry.provider("regressor", other).version == "bk-edited 2.0"


@pytest.mark.parametrize(
    ("told", "edited"),
    [
        (None, False),
        ('{"url": "file:///src", "dir_info": {"editable": true}}', True),
        ('{"url": "file:///src", "dir_info": {}}', False),
        ("spoilt", False),
    ],
)
def test_an_editable_installation_is_recognised(tmp_path, monkeypatch, told, edited):
    facts = tmp_path / "bk_edited-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: bk-edited\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[brainkit]\nedited = bk_edited\n")
    if told:
        (facts / "direct_url.json").write_text(told)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BRAINKIT_PLUGINS", "edited")
    (source,) = installed_sources()
    assert source.module == "bk_edited"
    assert source.place == (None if edited else tmp_path)
