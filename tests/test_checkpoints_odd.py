"""What a plugin says wrongly of its weights is told with its name, and stops no other's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType

import pytest

from brainkit import Checkpoint, hookimpl
from brainkit.cli.doctor import diagnosed, diagnosis
from brainkit.fetch.inventory import stored
from brainkit.plugins import Registry, Source
from brainkit.tables import laid_out

ODD = {
    "no-module": Checkpoint("no-module", release="brainkit_nowhere:NET"),
    "no-name": Checkpoint("no-name", release="brainkit.weights:NOWHERE"),
    "no-colon": Checkpoint("no-colon", release="brainkit.weights"),
    "no-release": Checkpoint("no-release", release="brainkit.weights:SUFFIXES"),
    "raises": Checkpoint("raises", release="odd_release:NET"),
    "empty-place": Checkpoint("empty-place", miniature=":folder"),
    "bad-package": Checkpoint("bad-package", miniature="..:folder"),
    "raising-package": Checkpoint("raising-package", miniature="odd_release:folder"),
}
SAID = {
    "no-module": "cannot be imported (ModuleNotFoundError: No module named 'brainkit_nowhere')",
    "no-name": "cannot be imported (AttributeError: ",
    "no-colon": "cannot be imported (AttributeError: ",
    "no-release": "is a tuple, expected a brainkit.weights.Release",
    "raises": "cannot be imported (ZeroDivisionError: division by zero)",
    "empty-place": "has no miniature",
    "bad-package": "cannot be found (",
    "raising-package": "cannot be found (ZeroDivisionError: division by zero)",
}


@dataclass(frozen=True)
class Odd:
    name: str
    checkpoints: tuple[Checkpoint, ...]
    reads = "image"

    def shape(self, store):
        return (1,)

    def load(self, store):
        raise NotImplementedError


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A plugin with weights of which only some are said rightly."""
    (tmp_path / "odd_release.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("odd")

    @hookimpl
    def register_encoders(register):
        register(Odd("odd", (*ODD.values(), Checkpoint("right"))))

    module.register_encoders = register_encoders
    return Registry([Source("odd", "brainkit-odd 1.2", lambda: module)])


@pytest.mark.parametrize("name", ODD)
def test_it_is_told_beside_the_checkpoint_with_the_distribution(registry, tmp_path, name):
    found = stored(registry, tmp_path / "store")
    told = {each["name"]: each["faults"] for each in found.json()["checkpoints"]}
    (fault,) = told[name]
    assert SAID[name] in fault
    assert fault.endswith("(brainkit-odd 1.2)")
    assert told["right"] == told["clip-vit-l14"] == []
    assert fault in found.text()


def test_a_bug_report_holds_it_too(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path))
    text = laid_out(diagnosed(diagnosis(registry)))
    assert re.search(r"^  right +missing$", text, re.M)
    assert all(said in text for said in SAID.values())
