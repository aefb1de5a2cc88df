"""The settings of a run: every wrong value of every one is a sentence, wherever it was written."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import tomli_w

from brainkit.errors import UsageError
from brainkit.run import RunConfig, configured
from brainkit.run.config import SETTINGS, about, flag, read_config, to_toml
from brainkit.run.line import made_miniature

# One value of every type that TOML has, and what each setting takes of them.
VALUES = {
    "text": "no",
    "whole": 3,
    "fraction": 1.5,
    "truth": True,
    "list": ["no"],
    "numbers": [3, 5],
    "table": {"a": "b"},
}
TAKEN = {
    "method": {"text"},
    "subject": {"whole", "text"},
    "nsd": {"text"},
    "work": {"text"},
    "checkpoints": {"text"},
    "weights": set(),
    "images": {"whole", "numbers"},
    "batch_size": {"whole"},
    "device": set(),
    "dtype": set(),
    "seed": {"whole"},
    "ceiling": {"truth"},
    "null": {"truth"},
    "samples": {"whole"},
    "scores": set(),
    "controls": set(),
    "preset": {"text"},
    "name": {"text"},
    "use": {"table"},
    "options": {"table"},
    "composition": {"table"},
}


def written(folder: Path, **values: object) -> Path:
    path = folder / "run.toml"
    path.write_text(tomli_w.dumps(values))
    return path


def test_every_setting_is_tried():
    assert tuple(TAKEN) == SETTINGS
    assert {each.name for each in fields(RunConfig)} == {*SETTINGS, "origins"}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", TAKEN)
def test_a_run_file_takes_the_very_type_and_tells_any_other_in_a_sentence(name, kind, tmp_path):
    path = written(tmp_path, **{name: VALUES[kind]})
    if kind in TAKEN[name]:
        value = read_config(path)[name]
        plain = list(value) if isinstance(value, tuple) else value
        # Paths are relative to the file.
        told = VALUES[kind] if not isinstance(value, Path) else tmp_path / str(VALUES[kind])
        assert plain == told
        return
    with pytest.raises(UsageError) as caught:
        read_config(path)
    message = str(caught.value)
    assert message.startswith(f"{name} in run file {path} ")
    assert ", expected " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('ceiling = "no"', "ceiling in run file {} is 'no', expected true or false; correct it or "
         "leave it out"),
        ("seed = 1.5", "seed in run file {} is 1.5, expected a whole number from 0 to "
         "9223372036854775807; correct it or leave it out"),
        ("batch_size = 2.5", "batch_size in run file {} is 2.5, expected a whole number of 1 or "
         "more; correct it or leave it out"),
        ("subject = true", "subject in run file {} is true, expected 1 to 8, or in data of your "
         "own a name; correct it or leave it out"),
        ("subject = 9", "subject in run file {} is 9, expected 1 to 8, or in data of your own a "
         "name; correct it or leave it out"),
        ('subject = "../x"', "subject in run file {} is '../x', expected 1 to 8, or in data of "
         "your own a name; correct it or leave it out"),
        ("device = 3", "device in run file {} is 3, expected auto, cpu, cuda or cuda:n; correct it "
         "or leave it out"),
        ("nsd = 5", "nsd in run file {} is 5, expected a path; correct it or leave it out"),
        ("preset = 3", "preset in run file {} is 3, expected a text; correct it or leave it out"),
        ("method = 3", "method in run file {} is 3, expected a text; correct it"),
        ("options = 3", "options in run file {} is 3, expected a table of values; correct it or "
         "leave it out"),
        ("use.regressor = 3", "use in run file {} is {{'regressor': 3}}, expected a table of "
         "texts; correct it or leave it out"),
        ('dtype = "float23"', "dtype in run file {} is 'float23', expected 'auto', 'float32', "
         "'bfloat16' or 'float16'; correct it or leave it out. Did you mean 'float32'?"),
        ("images = []", "images in run file {} has the ids [], expected one or more ids from 0; "
         "correct it or leave it out"),
        ("images = [1.5]", "images in run file {} is [1.5], expected a whole number of 1 or more "
         "or a list of whole numbers; correct it or leave it out"),
        ("seed = 1979-05-27", "seed in run file {} is datetime.date(1979, 5, 27), expected a whole "
         "number from 0 to 9223372036854775807; correct it or leave it out"),
    ],
)  # fmt: skip
def test_the_sentence_of_a_wrong_value(line, sentence, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(line)
    with pytest.raises(UsageError) as caught:
        configured("toy", {}, file=path)
    assert str(caught.value) == sentence.format(path)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", [name for name in TAKEN if name not in ("use", "options")])
def test_what_was_typed_is_told_by_its_flag(name, kind):
    value = tuple(VALUES[kind]) if isinstance(VALUES[kind], list) else VALUES[kind]
    if kind in TAKEN[name] or name == "method":
        return
    with pytest.raises(UsageError) as caught:
        configured("toy", {name: value})
    assert str(caught.value).startswith(f"{flag(name)} ")
    assert ", expected " in str(caught.value)


def test_settings_made_in_python_are_checked_too():
    with pytest.raises(UsageError, match=r"^--seed is 1.5, expected a whole number"):
        RunConfig("toy", seed=1.5).check()
    with pytest.raises(UsageError, match=r"^--scores has 'mindeye', expected one of"):
        RunConfig("toy", scores=("mindeye",)).check()
    assert RunConfig("toy").check() == RunConfig("toy")


@pytest.mark.parametrize(
    ("text", "images"),
    [("10", 10), ("3,17,52", (3, 17, 52)), ("3,", (3,)), ("0,", (0,)), ("all", None)],
)
def test_images_are_read_from_text(text, images):
    assert configured("toy", {"images": text}).images == images


@pytest.mark.parametrize("text", ["ten", "1.5", "-1", "3,-1", ",", "0x3"])
def test_other_texts_are_no_images(text):
    with pytest.raises(UsageError, match="--images is "):
        configured("toy", {"images": text})


def test_what_was_typed_wins_over_the_file_and_joins_its_tables(tmp_path):
    path = written(
        tmp_path, method="toy", seed=3, scores=["fid"], use={"regressor": {"look": "mean"}},
        options={"sampler": {"steps": 5, "eta": 0.5}},
    )  # fmt: skip
    typed = {"seed": 4, "scores": [], "subject": None, "dry_run": True, "config": "elsewhere",
             "use": ["sampler=ddim"], "option": ["sampler.steps=9"]}  # fmt: skip
    config = configured("toy", typed, file=path)
    assert config == RunConfig(
        "toy", seed=4, scores=("fid",), use={"regressor.look": "mean", "sampler": "ddim"},
        options={"sampler.steps": 9, "sampler.eta": 0.5},
    )  # fmt: skip


WRONG = {
    "sampler.steps": ("many", "sampler.steps is 'many', expected a whole number of 1 or more; .*"),
    "sampler.nosuch": (1, "ddim has no option 'nosuch' .*"),
    "nosuch.steps": (1, "toy has no part 'nosuch' .*"),
    "steps": (1, "option 'steps' has no part; .*"),
}


@pytest.mark.parametrize("address", WRONG)
def test_a_wrong_option_of_a_run_file_is_told_with_the_file(address, tmp_path, registry):
    value, sentence = WRONG[address]
    path = written(tmp_path, method="toy", options={address: value})
    with pytest.raises(UsageError, match=f"^run file {path}: {sentence}$"):
        configured(None, {}, file=path).composed(registry.get)
    # What was typed over it is not the file's.
    typed = {"option": [f"{address}={value}"]}
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        configured(None, typed, file=path).composed(registry.get)


def test_a_part_and_a_difficulty_of_a_run_file_are_told_with_the_file(tmp_path, registry):
    path = written(tmp_path, method="toy", use={"sampler": "nosuch"})
    with pytest.raises(UsageError, match=f"^run file {path}: .*'nosuch'"):
        configured(None, {}, file=path).composed(registry.get)
    path = written(tmp_path, method="toy", options={"miniature": {"voxels": "few"}})
    with pytest.raises(UsageError, match=f"^run file {path}: miniature.voxels is 'few', expected"):
        made_miniature(configured(None, {}, file=path), lambda line: None)


@pytest.mark.parametrize("name", ["work", "nsd", "checkpoints"])
def test_a_tilde_in_a_path_is_the_home(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = written(tmp_path, **{name: "~/there"})
    assert read_config(path)[name] == tmp_path / "there"
    assert getattr(configured("toy", {name: Path("~/there")}), name) == tmp_path / "there"
    with pytest.raises(UsageError, match=f"^{name} in run file .* no zero byte; take it out$"):
        read_config(written(tmp_path, **{name: "a\0b"}))


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbfimages = 2\n")
    assert configured("toy", {}, file=path).images == 2


def test_a_run_file_of_another_method_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is of method 'other', but 'toy' was asked for"):
        configured("toy", {}, file=written(tmp_path, method="other"))


def test_a_run_file_with_an_unknown_key_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"has the key 'metod'.*Did you mean 'method'\?$"):
        read_config(written(tmp_path, metod="toy"))


def test_a_file_that_is_written_is_read_back(tmp_path):
    config = RunConfig(
        "toy", subject=2, nsd=Path("/nsd"), weights="random", images=(3, 5), batch_size=2, seed=7,
        device="cuda:1", dtype="float16", ceiling=False, samples=3, scores=("fid",), preset="x",
        use={"regressor.look": "mean"}, options={"sampler.steps": 5, "a.b": (1, 2)},
    )  # fmt: skip
    path = tmp_path / "run.toml"
    path.write_text(to_toml(config, "brainkit run toy"))
    again = RunConfig(**read_config(path))
    assert again.options == {"sampler.steps": 5, "a.b": [1, 2]}
    both = ({**vars(each), "options": None, "work": None} for each in (config, again))
    assert json.dumps(next(both), default=str) == json.dumps(next(both), default=str)


@pytest.mark.parametrize("name", [each.name for each in fields(RunConfig) if each.metadata])
def test_help_tells_the_default(name):
    default = next(each.default for each in fields(RunConfig) if each.name == name)
    assert default is not MISSING
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    assert about(name).endswith(f"[default: {shown}]") is (default is not None)


def test_use_says_which_options_of_the_method_are_lost(toy):
    from brainkit.plugins import Registry, Source

    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])
    config = RunConfig("toy", use={"sampler": "single-pass", "regressor.length": "fold-ridge"})
    assert config.lost(registry.get) == [
        "regressor.length: fold-ridge replaces ridge, and with it alpha=10.0; set options of "
        "fold-ridge with -o regressor.length.NAME=VALUE",
        "sampler: single-pass replaces ddim, and with it steps=6; set options of single-pass with "
        "-o sampler.NAME=VALUE",
    ]
    assert RunConfig("toy").lost(registry.get) == []
