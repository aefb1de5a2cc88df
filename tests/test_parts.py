"""What parts may offer besides: asked for in one module, and answered for parts of all kinds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from brainkit.data import Checkpoint
from brainkit.parts import (
    Mappable,
    Sharing,
    checkpoints_of,
    described,
    files_of,
    resuming_fit,
    resuming_walk,
    rowwise,
    takes_gaps,
    uses_truth,
)
from brainkit.regressors import FoldRidge, Ridge, VoxelSelectedRidge

CORE = Path(__file__).parent.parent / "core" / "brainkit"
OFFERS = {"journalled", "reads_gaps", "files", "rowwise", "uses_truth", "checkpoints", "recipe"}


class Plain:
    """Offers nothing; so does every part that leaves the attributes out."""

    def __repr__(self) -> str:
        return "Plain()"


class Offering(Plain):
    journalled = reads_gaps = True
    rowwise = False
    uses_truth = True
    files = (Path("table.npy"),)
    checkpoints = (Checkpoint("clip", "somewhere"),)

    def recipe(self, output: str) -> str:
        return f"for {output}"


class Denying(Plain):
    """Has the attributes and offers nothing by them, as a part may that decides by an option."""

    journalled = reads_gaps = False
    rowwise = True
    uses_truth = False
    files = ()
    checkpoints = ()


@pytest.mark.parametrize("part", [Plain(), Denying()])
def test_a_part_without_offers_has_none(part):
    assert not any(asked(part) for asked in (resuming_fit, resuming_walk, takes_gaps))
    assert rowwise(part)
    assert not uses_truth(part)
    assert (tuple(files_of(part)), checkpoints_of(part)) == ((), ())
    assert described(part, "image") == described(part) == "Plain()"


def test_what_a_part_offers_is_seen():
    part = Offering()
    assert resuming_fit(part)
    assert resuming_walk(part)
    assert takes_gaps(part)
    assert not rowwise(part)
    assert uses_truth(part)
    assert files_of(part) == (Path("table.npy"),)
    assert [each.name for each in checkpoints_of(part)] == ["clip"]
    assert described(part, "image") == "for image"
    assert described(part) == "Plain()"


def test_ridges_offer_to_share_and_all_of_cores_regressors_offer_maps():
    assert isinstance(Ridge(), Sharing)
    assert not isinstance(FoldRidge(), Sharing)
    assert all(isinstance(part, Mappable) for part in (Ridge(), FoldRidge(), VoxelSelectedRidge()))
    assert not isinstance(Plain(), Sharing | Mappable)


def asked_for(path: Path) -> set[str]:
    """Return the optional attributes that a module looks up by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    lookups = [node for node in calls if ast.unparse(node.func) in ("getattr", "hasattr")]
    names = [node.args[1] for node in lookups if isinstance(node.args[1], ast.Constant)]
    return OFFERS & {name.value for name in names}


def test_one_module_asks_for_all_of_them():
    assert asked_for(CORE / "parts.py") == OFFERS


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CORE.rglob("*.py")) if path != CORE / "parts.py"],
    ids=lambda path: str(path.relative_to(CORE)),
)
def test_no_other_module_asks_for_one(path):
    assert asked_for(path) == set()
