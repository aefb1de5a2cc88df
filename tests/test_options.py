from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.options import limits, option, options, parsed, replaced, validated

if TYPE_CHECKING:
    from nowhere import Imaginary


@dataclass(frozen=True)
class Part:
    name = "part"
    kinds: ClassVar[tuple[Imaginary, ...]] = ()
    steps: int = option(20, "number of steps", ge=1, lt=1000)
    alpha: float | Literal["cv"] = option(1.0, "penalty", gt=0)
    mode: Literal["fast", "exact"] = option("fast", "how")
    layers: tuple[int, ...] = option((1, 2), "which layers")
    shift: float | None = option(None, "shift, or none", le=3)
    log: bool = option(False, "whether to log")
    shape: str = option("a1", "a letter and a digit", pattern=r"[a-z]\d")
    table: Mapping[str, str] | None = option(None, "texts by name")


def test_options_are_the_annotated_fields_in_order():
    assert [each.name for each in options(Part())] == [
        "steps", "alpha", "mode", "layers", "shift", "log", "shape", "table",
    ]  # fmt: skip
    assert options(object()) == ()


def test_limits_read_like_inequalities():
    texts = {each.name: limits(each) for each in options(Part())}
    assert texts["steps"] == ">= 1, < 1000"
    assert texts["alpha"] == "> 0"
    assert texts["mode"] == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20), ("1e4", 1e4), ("-0.5", -0.5), ("true", True), ("[1, 2]", [1, 2]),
        ("cv", "cv"), ('"quoted"', "quoted"), ("floc-faces:1", "floc-faces:1"), ("", ""),
        ("1 2", "1 2"), ("a = 1", "a = 1"),
    ],
)  # fmt: skip
def test_text_is_read_as_toml_and_else_as_a_word(text, value):
    assert parsed(text) == value
    assert type(parsed(text)) is type(value)


@settings(deadline=None)
@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False)))
def test_what_toml_writes_is_read_back(value):
    import tomli_w

    text = tomli_w.dumps({"value": value}).split("=", 1)[1].strip()
    assert parsed(text) == tomllib.loads(f"value = {text}")["value"] == value


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("steps", 7, 7), ("alpha", 3, 3.0), ("alpha", "cv", "cv"), ("mode", "exact", "exact"),
        ("layers", [3, 4], (3, 4)), ("shift", None, None), ("shift", -2.5, -2.5),
        ("log", True, True), ("steps", 1e2, 100), ("shape", "b2", "b2"),
        ("table", {"a": "b"}, {"a": "b"}),
    ],
)  # fmt: skip
def test_valid_values_are_kept_with_the_annotated_type(name, value, kept):
    checked = validated(Part(), name, value, f"sampler.{name}")
    assert checked == kept
    assert type(checked) is type(kept)


WHOLE = "expected a whole number of 1 or more and below 1000"
REFUSED = [
    ("steps", 0, WHOLE), ("steps", 1000, WHOLE), ("steps", 2.5, WHOLE), ("steps", "many", WHOLE),
    ("steps", True, WHOLE), ("alpha", 0, "expected 'cv' or a number above 0"),
    ("alpha", -1.0, "a number above 0"), ("alpha", float("nan"), "a number above 0"),
    ("mode", "slow", "expected 'fast' or 'exact'"), ("mode", True, "'fast' or 'exact'"),
    ("layers", ["a"], "expected a list of whole numbers"), ("layers", 3, "a list of whole numbers"),
    ("shift", 4, "expected a number of 3 or less"), ("log", "perhaps", "expected true or false"),
    ("shape", "round", "expected a letter and a digit"), ("shape", "a12", "a letter and a digit"),
    ("table", 3, "expected a table of texts"),
]  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("name", "value", "said"), REFUSED)
def test_wrong_values_name_the_address_the_value_and_the_expectation(name, value, said, strict):
    with pytest.raises(UsageError) as caught:
        validated(Part(), name, value, f"sampler.{name}", strict=strict)
    message = str(caught.value)
    written = "true" if value is True else repr(value)
    assert message.startswith(f"sampler.{name} is {written}, expected ")
    assert said in message
    assert message.endswith("; correct it or leave it out")
    assert "\n" not in message


def test_a_misspelt_word_gets_a_hint():
    with pytest.raises(UsageError, match=r"leave it out\. Did you mean 'exact'\?$"):
        validated(Part(), "mode", "exakt", "sampler.mode")


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 7.0), ("steps", "7"), ("log", "no"), ("log", 0), ("shape", 7)]
)
def test_strictly_only_the_very_type_is_taken(name, value):
    with pytest.raises(UsageError, match=rf"^{name} is {value!r}, expected "):
        validated(Part, name, value, name, strict=True)


def test_limits_of_whole_numbers_are_exact_beyond_what_floats_tell_apart():
    @dataclass(frozen=True)
    class Wide:
        seed: int = option(0, "any", ge=0, le=2**63 - 1)

    assert validated(Wide, "seed", 2**63 - 1, "--seed") == 2**63 - 1
    with pytest.raises(UsageError, match="from 0 to 9223372036854775807"):
        validated(Wide, "seed", 2**63, "--seed")


def test_replacing_makes_a_copy():
    part = Part()
    changed = replaced(part, {"steps": 5, "layers": [9]}, "sampler")
    assert (changed.steps, changed.layers) == (5, (9,))
    assert changed.mode == part.mode
    assert part == Part()


def test_an_unknown_option_gets_the_known_ones_and_a_hint():
    with pytest.raises(UsageError) as caught:
        replaced(Part(), {"stpes": 5}, "sampler")
    message = str(caught.value)
    assert message.startswith("part has no option 'stpes' (it has: steps, alpha,")
    assert message.endswith("Did you mean 'steps'?")


def test_a_part_without_options_says_so():
    @dataclass(frozen=True)
    class Bare:
        name = "bare"

    with pytest.raises(UsageError, match=r"bare has no option 'x' \(it has: none\)"):
        replaced(Bare(), {"x": 1}, "decoder.image")


def test_a_name_that_only_type_checkers_import_does_not_spoil_the_other_options():
    assert replaced(Part(), {"steps": 3}, "sampler").steps == 3


@pytest.mark.parametrize("sessions", ["available", 3, (1, 4)])
def test_the_selection_takes_each_form_of_sessions(sessions):
    assert replaced(Selection(), {"sessions": sessions}, "selection").sessions == sessions


@pytest.mark.parametrize("sessions", [0, "all", [1.5], -2])
def test_the_selection_refuses_other_sessions(sessions):
    with pytest.raises(UsageError, match=r"selection\.sessions"):
        replaced(Selection(), {"sessions": sessions}, "selection")
