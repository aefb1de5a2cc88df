"""Text clean-up against cases printed by the published demo."""

import json

import pytest
from golden_files import FOLDER

from brainkit_unibrain.sentences import clean, without_repeats

CASES = json.loads((FOLDER / "text_cases.json").read_text())["repeat_removal"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["input"] or "empty")
def test_repeats_are_removed_as_published(case: dict[str, str]) -> None:
    assert without_repeats(case["input"]) == case["ngram"]


def test_double_spaces_do_no_harm() -> None:
    assert without_repeats("a  man  a man  runs") == "a man runs"


@pytest.mark.parametrize(
    ("raw", "tidy"),
    [
        (
            " a man riding a wave on top of a surfboard .",
            "a man riding a wave on top of a surfboard.",
        ),
        (" it 's a bus , isn 't it ?", "it's a bus, isn 't it?"),
        (" two zebras stand in the grass", "two zebras stand in the grass"),
        ("they 're here and do n't move !", "they're here and don't move!"),
    ],
)
def test_spaces_of_tokenisation_are_undone(raw: str, tidy: str) -> None:
    assert clean(raw) == tidy
