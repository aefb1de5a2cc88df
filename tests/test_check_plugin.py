"""`check-plugin` tells broken promises; `--plugin` loads a file while it is written."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from brainkit.errors import UsageError
from brainkit.plugins import Registry, Source
from brainkit.testing import checks
from brainkit.testing.survey import survey
from brainkit.testing.toys import LeastSquares

TOYS = Path(__file__).parent / "toys"
BROKEN = {
    ("plugin", "importing_it_prints_nothing"): "prints 'loading'",
    ("plugin", "importing_it_loads_no_torch"): "imports torch",
    ("regressor.changing", "is_a_frozen_dataclass"): "can be changed",
    ("regressor.changing", "options_have_help"): "width has no help text",
    ("regressor.changing", "options_are_values"): "lengths is a list; write a tuple",
    ("regressor.changing", "repr_is_the_same_everywhere"): "Scale object at 0x",
    ("regressor.changing", "a_planted_linear_map_is_found"): "expected over 0.8",
    ("regressor.changing", "fit_refuses_other_trials"): "were accepted, expected a DataError",
    ("checkpoint.weighty", "its_miniature_is_there"): "name package:folder",
    ("checkpoint.renamed", "its_release_is_there"): "is of 'clip-vit-l14', expected 'renamed'",
    ("checkpoint.kl-f8", "no_other_checkpoint_has_its_name"): "would share a folder",
    ("checkpoint.lost", "its_release_is_there"): "cannot be imported",
    ("checkpoint.lost", "it_can_be_named_and_found"): "source is empty",
}


@pytest.fixture
def careless(cli):
    yield shutil.copy(TOYS / "careless_file.py", cli.folder / "careless_copy.py")
    sys.modules.pop("careless_copy", None)


def test_each_promise_that_is_broken_is_told_with_what_to_do(cli, careless):
    ended = cli("check-plugin", "careless_copy.py", "--json", code=1)
    checked = json.loads(ended.stdout)
    found = {(each["subject"], each["check"]): each for each in checked["checks"]}
    for key, said in BROKEN.items():
        assert found[key]["outcome"] == "broken", key
        assert said in found[key]["why"]
    assert checked["broken"] >= len(BROKEN)
    assert found["plugin", "an_entry_point_names_it"]["outcome"] == "excused"
    (lacking,) = [each for each in checked["checks"] if each["outcome"] == "left out"]
    assert lacking["subject"] == "encoder.weighty"
    assert lacking["why"].startswith("there is no miniature of weighty, renamed, kl-f8, lost")


def test_a_good_plugin_breaks_none_and_its_method_makes_a_run(toy, tmp_path):
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy, "brainkit_toy")])
    verdicts = list(survey(registry.plugins[-1], registry, tmp_path))
    of_method = {each.check: each.outcome for each in verdicts if each.subject == "method.toy"}
    assert of_method["a_run_is_made_once"] == "kept"
    assert len({each.subject for each in verdicts}) > 4


def test_a_file_is_listed_shown_and_run_while_it_is_written(cli, careless, nsd):
    file = ("--plugin", "careless_copy.py")
    listed = json.loads(cli("list-plugins", "--json", *file).stdout)
    sys.modules.pop("careless_copy")
    (mine,) = [each for each in listed if each["name"] == "careless_copy"]
    assert mine["distribution"] == "careless_copy.py"
    refused = cli("show", "toy", "--use", "regressor=changing", *file, code=2).stderr
    assert "regressor.picture.scale is of type Scale, which no run file can hold" in refused
    careless.write_text(careless.read_text().replace("option(Scale(),", "option(3,"))
    sys.modules.pop("careless_copy")
    shown = cli("show", "toy", "--use", "regressor=changing", *file).stdout
    sys.modules.pop("careless_copy")
    assert "regressor.picture = changing" in " ".join(shown.split())
    words = ("run", "toy", "--use", "regressor.picture=changing", "--nsd", nsd, "--images", 1)
    assert cli(*words, "--no-ceiling", *file).stdout
    sys.modules.pop("careless_copy")
    text = careless.read_text().replace("feature.mean(0)", "feature.float().mean(0)")
    careless.write_text(text)
    again = cli(*words, "--no-ceiling", *file).stderr
    assert "the code of careless_copy.py changed" in " ".join(again.split())


@pytest.mark.parametrize("name", ["nothing.py", "not-a-name.py", "text.txt", "json.py"])
def test_a_file_that_cannot_be_a_plugin_is_wrong_usage(cli, name):
    if name != "nothing.py":
        (cli.folder / name).write_text("")
    ended = cli("list-plugins", "--plugin", name, code=2)
    assert ended.stderr.startswith(f"Error: --plugin is {name}, ")


def test_a_file_that_raises_is_listed_as_broken(cli):
    (cli.folder / "raises_early.py").write_text("1 / 0")
    ended = cli("check-plugin", "raises_early.py", code=1)
    assert "ZeroDivisionError: division by zero" in ended.stdout
    assert "raises_early" not in sys.modules


def test_an_unknown_plugin_gets_a_hint(cli):
    ended = cli("check-plugin", "tyo", code=2)
    assert "no plugin is named 'tyo'. Did you mean 'toy'?" in ended.stderr


def test_an_excuse_needs_a_reason():
    with pytest.raises(UsageError, match="no reason why 'fit_refuses_other_trials' cannot be"):
        checks.for_regressor(LeastSquares(), expected_failures={"fit_refuses_other_trials": " "})


def test_an_excuse_is_of_something_that_is_offered(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "EXPECTED_FAILURES", {"sampler.nobody": {}}, raising=False)
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy, "brainkit_toy")])
    with pytest.raises(UsageError, match=r"EXPECTED_FAILURES of brainkit_toy names 'sampler\.nobo"):
        list(survey(registry.plugins[-1], registry, tmp_path))
