from __future__ import annotations

import tomllib
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


def test_options_are_the_annotated_fields_in_order():
    assert [each.name for each in options(Part())] == [
        "steps", "alpha", "mode", "layers", "shift", "log",
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
        ("log", True, True), ("steps", 1e2, 100),
    ],
)  # fmt: skip
def test_valid_values_are_kept_with_the_annotated_type(name, value, kept):
    checked = validated(Part(), name, value, f"sampler.{name}")
    assert checked == kept
    assert type(checked) is type(kept)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("steps", 0, "greater than or equal to 1"), ("steps", 1000, "less than 1000"),
        ("steps", 2.5, "valid integer"), ("steps", "many", "valid integer"),
        ("alpha", 0, "greater than 0"), ("alpha", -1.0, "greater than 0"),
        ("alpha", float("nan"), "greater than 0"), ("mode", "slow", "'fast' or 'exact'"),
        ("layers", ["a"], "valid integer"), ("shift", 4, "less than or equal to 3"),
        ("log", "perhaps", "valid boolean"),
    ],
)  # fmt: skip
def test_wrong_values_name_the_address_the_value_and_the_expectation(name, value, said):
    with pytest.raises(UsageError) as caught:
        validated(Part(), name, value, f"sampler.{name}")
    message = str(caught.value)
    assert message.startswith(f"sampler.{name} is {value!r}: ")
    assert said in message
    assert "\n" not in message


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
