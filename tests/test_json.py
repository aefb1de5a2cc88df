"""--json: every command that prints data prints just what its schema says, and the docs list it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from typer.main import get_command

from brainkit import schema
from brainkit.cli import COMMANDS, app

PROGRAM = get_command(app)
NAMES = [name for group in COMMANDS.values() for name in group]
PAGE = Path(__file__).parents[1] / "docs" / "json.md"


def checked(command: str, text: str) -> Any:
    """Return what was printed, which has to be as the schema says and to have nothing besides."""
    printed = json.loads(text)
    assert list(differences(printed, schema.COMMANDS[command], command)) == []
    return printed


def differences(value: Any, kind: Any, where: str) -> Iterator[str]:
    """Say where a value differs from a type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from differences(value, inner[0], where)
    elif is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        if not isinstance(value, dict) or set(value) != set(hints):
            yield f"{where} is {value!r:.200}, expected the fields {sorted(hints)}"
            return
        for name, hint in hints.items():
            yield from differences(value[name], hint, f"{where}.{name}")
    elif origin in (list, dict):
        if not isinstance(value, origin):
            yield f"{where} is {value!r:.200}, expected a {origin.__name__}"
            return
        for each in value.values() if origin is dict else value:
            yield from differences(each, inner[-1], f"{where}[]")
    elif origin in (Union, UnionType):
        if all(list(differences(value, each, where)) for each in inner):
            yield f"{where} is {value!r:.200}, expected {kind}"
    elif (
        kind is not Any
        and value not in inner
        and type(value) is not (NoneType if kind is None else kind)
    ):
        yield f"{where} is {value!r:.200}, expected {kind}"


def models():
    return [each for each in vars(schema).values() if is_typeddict(each)]


def takes_json(name: str) -> bool:
    return any("--json" in each.opts for each in PROGRAM.commands[name].params)


def test_every_command_that_prints_json_has_a_schema():
    assert {command.split()[0] for command in schema.COMMANDS} == set(filter(takes_json, NAMES))


WITHOUT = {"figure", "new-plugin"}


def test_every_command_that_prints_data_prints_json():
    assert {name for name in NAMES if not takes_json(name)} <= WITHOUT


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_field_says_what_it_means(model):
    hints = get_type_hints(model, include_extras=True)
    assert [name for name, hint in hints.items() if not getattr(hint, "__metadata__", ())] == []


@pytest.mark.parametrize("command", schema.COMMANDS)
def test_the_docs_list_every_command_and_field(command):
    assert f"## brainkit {command} --json" in PAGE.read_text(encoding="utf-8")


def test_the_check_finds_what_is_lacking_wrong_or_too_much():
    whole = {"root": "x", "present": [], "lacking": [], "contradictions": [], "warnings": []}
    checked("check-data", json.dumps(whole))
    for wrong in (
        {**whole, "root": 1},
        {**whole, "more": 1},
        {"root": "x"},
        {**whole, "present": [1]},
    ):
        with pytest.raises(AssertionError):
            checked("check-data", json.dumps(wrong))


WORDS = {
    "list-plugins": ("list-plugins",),
    "show": ("show", "toy"),
    "checkpoints": ("checkpoints",),
    "fetch --dry-run": ("fetch", "alexnet", "--dry-run"),
    "doctor": ("doctor",),
}


@pytest.mark.parametrize("columns", ["40", "200"])
@pytest.mark.parametrize("command", WORDS)
def test_a_listing_is_what_its_schema_says_however_wide(cli, command, columns):
    code = 1 if command.startswith("fetch") else 0  # nothing can be fetched without a connection
    done = cli(*WORDS[command], "--json", code=code, env={"COLUMNS": columns})
    assert checked(command, done.stdout)
    assert done.stdout.isascii()


def test_what_data_have_and_lack_is_what_its_schema_says(cli, nsd):
    found = checked("check-data", cli("check-data", nsd, "--json").stdout)
    assert found["present"]
    assert found["contradictions"] == []


def test_a_verification_is_what_its_schema_says(cli, nsd, tmp_path):
    cli("run", "toy", "--nsd", nsd, "--images", 2, "--no-ceiling", "--work", "w")
    next(tmp_path.rglob("metrics.json")).write_text("{}")
    found = checked("verify", cli("verify", "w", "--json", code=1).stdout)
    assert [Path(each["file"]).name for each in found["damaged"]] == ["metrics.json"]
    assert found["sound"] > 0


def test_show_says_of_each_option_where_it_is_set(cli):
    found = checked("show", cli("show", "toy", "-o", "sampler.steps=7", "--json").stdout)
    options = {each["address"]: each for part in found["parts"] for each in part["options"]}
    assert options["sampler.steps"]["value"] == 7
    assert options["sampler.steps"]["allowed"] == ">= 1"


def test_a_run_and_its_plan_are_what_their_schemas_say(cli, nsd):
    words = ("run", "toy", "--nsd", nsd, "--images", 2, "--no-ceiling", "--work", "w", "--json")
    plan = checked("run --dry-run", cli(*words, "--dry-run").stdout)
    assert plan["reconstructed"] == 2
    assert "features/picture" in plan["computed"]
    done = checked("run", cli(*words).stdout)
    assert done["computed"] == plan["computed"]
    assert (cli.folder / done["metrics"]).is_file()
    again = checked("run", cli(*words).stdout)
    assert again["computed"] == []
    (report,) = checked("report", cli("report", "w", "--json").stdout)
    assert Path(report["report"]).name == "report.html"
    (listed,) = checked("runs", cli("runs", "w", "--json").stdout)
    assert listed["folder"].endswith(listed["name"])
    (mapped,) = checked("map", cli("map", "w", "--json").stdout)
    assert {each["feature"] for each in mapped["maps"]} == {"picture", "length"}
    assert mapped["maps"][0]["regions"]
    assert all(Path(file).is_file() for file in mapped["files"])
    compared = checked("compare", cli("compare", "w", "--json").stdout)
    assert compared["scores"]
