"""The guides for authors of plugins say what the code says."""

import ast
import inspect
import re
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from brainkit import Checkpoint, hookspecs, parts
from brainkit.plugins import KINDS, MEMBERS
from brainkit.testing import (
    checkpoint,
    checks,
    conditioner,
    decoder,
    encoder,
    method,
    part,
    plugin,
    regressor,
    sampler,
)
from brainkit.weights import Companion, Naming, Origin, Piece, Release, RemoteFile

GUIDES = Path(__file__).parent.parent / "docs" / "plugins"
FINISHED = GUIDES / "brainkit-mean"
PAGES = ("tutorial", "hooks", "parts", "testing", "weights")
KIT = {
    "Every part": part,
    "Encoders": encoder,
    "Regressors": regressor,
    "Conditioners": conditioner,
    "Samplers": sampler,
    "Decoders": decoder,
    "Methods": method,
    "Plugins": plugin,
    "Checkpoints": checkpoint,
}


def page(name):
    return (GUIDES / f"{name}.md").read_text(encoding="utf-8")


def sections(text, level):
    """Return {heading: text below it} for headings of a level."""
    pieces = re.split(rf"(?m)^{'#' * level} (.+)$", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def blocks(text, language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def test_the_tutorial_shows_the_finished_plugin_word_for_word():
    files = ["pyproject.toml", "brainkit_mean.py", "tests/test_mean.py"]
    finished = [(FINISHED / name).read_text(encoding="utf-8") for name in files]
    shown = [*blocks(page("tutorial"), "toml"), *blocks(page("tutorial"), "python")]
    assert len(shown) >= 8
    assert [block for block in shown if not any(block in text for text in finished)] == []


def test_the_tutorial_leaves_no_code_of_the_plugin_out():
    shown = "".join(blocks(page("tutorial"), "python"))
    source = (FINISHED / "brainkit_mean.py").read_text(encoding="utf-8")
    missing = [line for line in source.splitlines() if line.strip() and line not in shown]
    checkers = {"if TYPE_CHECKING:", "    from torch import Tensor"}
    assert set(missing[1:]) == {*checkers, "    from brainkit.parts import Regressor"}


def test_every_hook_has_its_heading_signature_and_sentence():
    written = sections(page("hooks"), 2)
    for kind in KINDS:
        name = f"register_{kind}s"
        hook = getattr(hookspecs, name)
        signature = str(inspect.signature(hook)).replace("'", "")
        assert f"`{name}{signature}`" in written[name]
        assert inspect.getdoc(hook) in " ".join(written[name].split())


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_every_member_of_a_kind_is_explained_under_its_heading(kind):
    text = sections(page("parts"), 2)[kind.capitalize()]
    protocol = getattr(parts, kind.capitalize())
    for member in set(MEMBERS[kind]) - {"name"}:
        assert hasattr(protocol, member)
        assert re.search(rf"\| `{member}\b", text), member


def test_every_check_is_listed_with_its_promise():
    written = sections(page("testing"), 3)
    assert set(written) == set(KIT)
    for title, module in KIT.items():
        expected = [
            f"| `{promise.__name__}` | {inspect.getdoc(promise).splitlines()[0]} |"
            for promise in module.PROMISES
        ]
        rows = [line for line in written[title].splitlines() if line.startswith("| `")]
        assert rows == expected


def test_every_function_of_the_kit_is_listed():
    public = [name for name in vars(checks) if name.startswith(("for_", "check_"))]
    assert len(public) == 8
    assert all(f"`checks.{name}(" in page("testing") for name in public)


@pytest.mark.parametrize("name", PAGES)
def test_every_example_is_python(name):
    for block in blocks(page(name), "python"):
        ast.parse(textwrap.dedent(block))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    text = re.sub(r"(?s)```.*?```", "", page(name))
    links = [each for each in re.findall(r"\]\(([^)#]+)", text) if "://" not in each]
    assert [each for each in links if not (GUIDES / each).exists()] == []


DECLARED = (Checkpoint, Release, Origin, RemoteFile, Naming, Piece, Companion)


@pytest.mark.parametrize("declared", DECLARED, ids=lambda declared: declared.__name__)
def test_every_field_of_a_release_is_explained(declared):
    text = sections(page("weights"), 2)[declared.__name__]
    explained = re.findall(r"(?m)^\| `(\w+)` \| \S", text)
    assert explained == [field.name for field in fields(declared)]
