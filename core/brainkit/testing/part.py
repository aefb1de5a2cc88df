"""Promises of every part, whatever its kind."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from functools import cache
from typing import Any

from brainkit.errors import BrainkitError
from brainkit.options import options, validated
from brainkit.plugins import MEMBERS
from brainkit.testing.promise import require

IMPORT = """
import importlib, importlib.util, json, sys
name, path, sys.path = json.loads(sys.argv[1])
try:
    importlib.import_module(name)
except ModuleNotFoundError as error:
    if error.name is None or not name.startswith(error.name):
        raise
    spec = importlib.util.spec_from_file_location("module_under_check", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
sys.exit(3 if "torch" in sys.modules else 0)
"""


def is_a_frozen_dataclass(kind: str, part: Any) -> None:
    """A part is a frozen dataclass, so that no fitted state can hide in it."""
    what = type(part).__name__
    require(dataclasses.is_dataclass(part), f"{what} is no dataclass; add @dataclass(frozen=True)")
    frozen = type(part).__dataclass_params__.frozen
    require(frozen, f"{what} can be changed; write @dataclass(frozen=True)")


def has_a_name(kind: str, part: Any) -> None:
    """A part has a name that can be typed after `--use KIND=`."""
    name = getattr(part, "name", None)
    require(isinstance(name, str) and bool(name), f"the name is {name!r}, expected a word")
    bad = sorted({letter for letter in str(name) if letter.isspace() or letter in "=,'\""})
    require(not bad, f"the name {name!r} contains {bad}, which cannot be typed after --use")


def has_the_members_of_its_kind(kind: str, part: Any) -> None:
    """A part has every member of its protocol."""
    lacking = [member for member in MEMBERS[kind] if not hasattr(part, member)]
    lacking = [member for member in lacking if member != "name"]
    require(not lacking, f"a {kind} needs {lacking}; see brainkit.parts")


def options_have_help(kind: str, part: Any) -> None:
    """Every option is declared with `option`, which carries its help text."""
    for field in options(part):
        said = field.metadata.get("help")
        hint = f"{field.name} has no help text; declare it with brainkit.option(default, help)"
        require(bool(said), hint)


def options_lie_within_their_limits(kind: str, part: Any) -> None:
    """Every option's value has the annotated type and lies within the declared limits."""
    for field in options(part):
        try:
            validated(part, field.name, getattr(part, field.name), field.name)
        except BrainkitError as error:
            raise AssertionError(str(error)) from error


def options_are_values(kind: str, part: Any) -> None:
    """Options are numbers, texts, paths, words and tuples; lists, sets and tables could change."""
    for field in options(part):
        value = getattr(part, field.name)
        hint = "write a tuple, e.g. tuple[int, ...]"
        mutable = isinstance(value, list | set | dict)
        require(not mutable, f"{field.name} is a {type(value).__name__}; {hint}")
        declared = re.search(r"\b(list|set|dict|List|Set|Dict)\b", str(field.type))
        require(not declared, f"{field.name} is declared as {field.type}; {hint}")


def repr_is_the_same_everywhere(kind: str, part: Any) -> None:
    """`repr` holds no address in memory, with which every process would compute anew."""
    found = re.search(r"<.*? at 0x[0-9a-fA-F]+>", repr(part))
    require(
        not found,
        f"repr holds {found[0] if found else ''}, which is another in every process; make options "
        "of values that write themselves out",
    )


def repr_rebuilds_it(kind: str, part: Any) -> None:
    """`repr` tells everything, because stamps and reports are made of it."""
    cls = type(part)
    hidden = [field.name for field in options(part) if not field.repr]
    require(not hidden, f"repr hides {hidden}; take out repr=False")
    text = repr(part)
    try:
        rebuilt = eval(text, {cls.__name__: cls, "inf": float("inf")})
    except Exception as error:
        raise AssertionError(f"{text} cannot be evaluated: {error}") from error
    same = _values(rebuilt) == _values(part) and type(rebuilt) is cls
    require(same, f"{text} builds {_values(rebuilt)}, expected {_values(part)}")


def importing_it_loads_no_torch(kind: str, part: Any) -> None:
    """The module that defines the part imports torch only inside functions."""
    import_without_torch(type(part).__module__, inspect.getsourcefile(type(part)) or "")


def import_in_silence(name: str, path: str) -> None:
    """Import a module in a fresh process, by name or else by its file, and look at its output."""
    _, _, printed = _imported(name, path)
    require(
        not printed,
        f"importing {name} prints {printed!r:.60}, which lands amid what commands print; take it "
        "out, or warn",
    )


def import_without_torch(name: str, path: str) -> None:
    """Import a module in a fresh process, by name or else by its file, and look for torch."""
    code, said, _ = _imported(name, path)
    require(code in (0, 3), f"importing {name} fails in a fresh process: {said}")
    require(
        code == 0,
        f"importing {name} imports torch, which makes every listing slow; "
        "import it inside functions or under TYPE_CHECKING",
    )


@cache
def _imported(name: str, path: str) -> tuple[int, str, str]:
    import json

    facts = json.dumps([name, path, [entry for entry in sys.path if entry]])
    command = [sys.executable, "-c", IMPORT, facts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return done.returncode, last, done.stdout.strip()


def _values(part: Any) -> dict[str, Any]:
    return {field.name: getattr(part, field.name, None) for field in options(part)}


PROMISES = (
    is_a_frozen_dataclass,
    has_a_name,
    has_the_members_of_its_kind,
    options_have_help,
    options_are_values,
    options_lie_within_their_limits,
    repr_is_the_same_everywhere,
    repr_rebuilds_it,
    importing_it_loads_no_torch,
)
