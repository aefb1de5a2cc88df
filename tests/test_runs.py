"""Runs by their names: which composition has which folder, how they are listed and removed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import pytest
from shared_files import shared

from brainkit.errors import UsageError
from brainkit.locks import BusyError
from brainkit.run import prepare
from brainkit.run.config import RunConfig, read_config
from brainkit.run.identity import run_name
from brainkit.run.listing import blocks, listed
from brainkit.run.presence import present, removing

NAMED = re.compile(r"toy(-[A-Za-z0-9._=+-]+)?-[0-9a-f]{8}")


@pytest.fixture
def name(nsd, registry, tmp_path):
    """Return a function from settings to the name that a run of them would have."""

    def naming(**settings) -> str:
        settings = {"nsd": nsd, "work": tmp_path / "nothing", **settings}
        return prepare(RunConfig("toy", **settings), registry, list, dry=True).name

    return naming


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"options": {"sampler.steps": 3}}, "-quick-"),
        ({"options": {"regressor.alpha": 1e4}}, "-regressor.alpha=10000-"),
        ({"options": {"regressor.length.alpha": 3.0}}, "-regressor.length.alpha=3-"),
        ({"use": {"regressor.length": "toy-halving"}}, "-regressor.length=toy-halving-"),
        ({"options": {"selection.sessions": [1, 2]}}, "-selection.sessions=1+2-"),
        ({"seed": 1}, "-seed=1-"),
        ({"samples": 2}, "-samples=2-"),
        ({"dtype": "bfloat16"}, "-dtype=bfloat16-"),
    ],
)
def test_each_composition_has_a_name_that_says_what_differs(name, settings, word):
    assert re.fullmatch(r"toy-[0-9a-f]{8}", name())
    assert NAMED.fullmatch(name(**settings))
    assert word in name(**settings)
    assert name(**settings)[-8:] != name()[-8:]


@pytest.mark.parametrize(
    "settings",
    [
        {"images": 2},
        {"batch_size": 3},
        {"ceiling": False},
        {"scores": ("fid",)},
        {"device": "cpu"},
        {"options": {"sampler.steps": 6}},
        {"use": {"sampler": "ddim"}, "options": {"sampler.steps": 6}},
        {"dtype": "float32"},
    ],
)
def test_what_does_not_bear_on_results_changes_no_name(name, settings):
    assert name(**settings) == name()


def test_it_does_not_matter_how_a_composition_is_written(name):
    quick = name(preset="quick")
    assert quick == name(options={"sampler.steps": 3})
    each = {"regressor.length.alpha": 5.0, "regressor.picture.alpha": 5.0}
    assert name(options=each) == name(options={"regressor.alpha": 5.0})


def test_data_are_told_by_content_and_not_by_where_they_lie(nsd, registry, tmp_path):
    from brainkit.miniature import miniature
    from brainkit.miniature.brain import Difficulty

    def prepared(root: Path):
        return prepare(RunConfig("toy", nsd=root, work=tmp_path / "w"), registry, list, dry=True)

    moved = tmp_path / "elsewhere" / "NSD of mine"
    shutil.copytree(nsd, moved)
    one, same = prepared(nsd), prepared(moved)
    assert one.digest == same.digest
    assert same.folder.subject.parent.name.startswith("NSD_of_mine-")
    one.folder.root.mkdir(parents=True)
    assert prepared(moved).folder == one.folder
    session = sorted(moved.rglob("betas_session*.hdf5"))[-1]
    session.unlink()
    assert prepared(moved).folder == one.folder
    small = Difficulty(voxels=40, train_images=30, test_images=10)
    other = prepared(miniature(tmp_path / "other", difficulty=small, seed=1).nsd)
    assert other.folder.subject.parent != one.folder.subject.parent


def test_long_names_are_cut_and_say_so():
    words = tuple(f"encoder.feature{number}.option=some value" for number in range(9))
    short = run_name("method", words, "0123456789abcdef")
    assert len(short) < 90
    assert short.endswith("-+8-01234567")
    assert " " not in short


# --- on disk --------------------------------------------------------------------------------------


@pytest.fixture
def cli(cli_with, tmp_path):
    """The command with the toy plugin, in the home that all runs here have."""
    shared_one = cli_with("toy")
    return type(shared_one)(shared_one.environment, tmp_path)


@pytest.fixture(scope="module")
def made(nsd, cli_with, tmp_path_factory):
    """A work folder with three runs, not to be changed; and the lines that each of them said."""
    work, brainkit = tmp_path_factory.mktemp("runs"), cli_with("toy")
    kinds = {
        "default": (),
        "alpha": ("-o", "regressor.picture.alpha=3"),
        "steps": ("-o", "sampler.steps=3"),
    }
    words = ("run", "toy", "--nsd", nsd, "--work", work, "--images", 4)
    said = {kind: brainkit(*words, *more).stderr.splitlines() for kind, more in kinds.items()}
    return work, said


@pytest.fixture
def work(made, tmp_path) -> Path:
    copy = tmp_path / "work"
    shutil.copytree(made[0], copy)
    return copy


def roots(work: Path) -> dict[str, Path]:
    """Return the runs' folders by what differs: "", "quick" or "alpha"."""
    found = sorted(work.glob("*/subj01/runs/*"))
    return {next((w for w in ("alpha", "quick") if w in path.name), ""): path for path in found}


def test_a_changed_option_makes_a_second_run_and_takes_up_what_it_can(made):
    work, said = made
    assert set(roots(work)) == {"", "alpha", "quick"}
    kept = {kind: {line[:-6] for line in said[kind] if line.endswith(": kept")} for kind in said}
    assert not kept["default"]
    assert {"trials", "features/picture", "features/length"} <= kept["alpha"]
    assert {"weights/length", "decoded/length"} <= kept["alpha"]
    assert "latents/true: kept (4 images)" in said["alpha"]
    assert {"weights/picture", "decoded/picture"} <= kept["steps"]
    for root in roots(work).values():
        assert len(list((root / "images").glob("nsd*.png"))) == 4
        assert json.loads((root / "metrics.json").read_text())["n_test"] == 4


def test_runs_are_listed_with_what_differs_and_their_scores(work, cli):
    shown = cli("runs", work).stdout
    for root in roots(work).values():
        assert root.name in shown.replace("\n", "")
    told = {each["name"]: each for each in json.loads(cli("runs", work, "--json").stdout)}
    alpha = told[roots(work)["alpha"].name]
    assert alpha["differs"] == ["regressor.picture.alpha=3"]
    assert (alpha["method"], alpha["subject"], alpha["images"]) == ("toy", "subj01", 4)
    metrics = json.loads((roots(work)["alpha"] / "metrics.json").read_text())
    assert alpha["scores"] == {each["name"]: each["value"] for each in metrics["scores"]}
    assert alpha["date"] == metrics["date"]
    assert alpha["test_images"] == metrics["test_images"]
    assert f"Test images: {metrics['test_images']}." in cli("runs", work).stdout.replace("\n", " ")
    metrics["test_images"] = "others"
    (roots(work)["alpha"] / "metrics.json").write_text(json.dumps(metrics))
    told = blocks(*listed(work), work)
    assert "Scores compare among runs of the same test images only." in told
    assert f"others: {roots(work)['alpha'].name}." in told
    assert cli("runs", work / "nothing").stdout.startswith(f"{work / 'nothing'} holds no runs"[:20])


@pytest.mark.parametrize("file", ["metrics.json", "identity.json", "run.toml"])
@pytest.mark.parametrize("text", ["", "[]", "{", '{"layout": 2, "scores": 5}', "\0\xff"])
def test_damaged_folders_are_listed_too(work, file, text):
    (roots(work)["alpha"] / file).write_text(text, encoding="latin-1")
    found, old = listed(work)
    assert (len(found), old) == (3, [])
    assert [each.cells() for each in found]


def test_only_what_no_run_reaches_is_pruned(work, cli):
    assert "nothing to remove" in cli("runs", work, "--prune", "--yes").stdout
    alpha = roots(work)["alpha"]
    before = {path for path in work.rglob("*") if path.is_file() and ".locks" not in path.parts}
    cli("runs", work, "--remove", alpha.name, "--yes")
    assert not alpha.exists()
    refused = cli("runs", work, "--prune", code=2)
    assert "weights/picture-" in refused.stdout
    assert "give --yes" in refused.stderr.replace("\n  ", " ")
    cli("runs", work, "--prune", "--yes")
    gone = {
        path.relative_to(alpha.parents[1]).parts[0]
        for path in before
        if not path.exists() and alpha not in path.parents
    }
    assert gone == {"weights", "decoded", "latents"}
    for root in roots(work).values():
        done = cli("run", "--config", root / "run.toml")
        assert "0 steps computed" in done.stderr


def test_nothing_is_removed_where_what_a_run_needs_cannot_be_told(work, cli):
    quick = roots(work)["quick"]
    text = (quick / "run.toml").read_text()
    (quick / "run.toml").write_text(text.replace('method = "toy"', 'method = "gone"'))
    shutil.rmtree(roots(work)["alpha"])
    told = cli("runs", work, "--prune", "--yes").stdout.replace("\n", " ")
    assert quick.name in told
    assert "nothing to remove" in told


def test_nothing_is_removed_while_a_process_is_at_work(tmp_path):
    with (
        present(tmp_path, pytest.fail),
        pytest.raises(BusyError, match="is in use by process"),
        removing(tmp_path, pytest.fail),
    ):
        pass
    with removing(tmp_path, pytest.fail):
        pass


def test_a_name_of_another_composition_is_refused_in_a_sentence(work, nsd, registry, cli):
    words = ("--nsd", nsd, "--images", 4, "--work", work, "--name", "mine")
    root = cli.run("toy", *words)
    assert root.name == "mine"
    assert "0 steps computed" in cli("run", "toy", *words).stderr
    config = RunConfig("toy", nsd=nsd, work=work, seed=1, name="mine")
    with pytest.raises(UsageError) as caught:
        prepare(config, registry, list, dry=True)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{root} holds another run, toy with no changes; give another --name" in message
    command = shlex.split(re.search("`(brainkit .*?)`", message)[1])
    cli(*command[1:], "--yes")
    assert not root.exists()


@pytest.mark.parametrize("bad", ["", "../x", "a/b", ".hidden", "a b", "x" * 99])
def test_a_name_is_a_word(bad, nsd):
    with pytest.raises(UsageError, match=r"^--name is .*, expected name of the run's folder"):
        RunConfig("toy", nsd=nsd, name=bad).check()


def test_fewer_images_are_the_same_run_partly_scored(work, cli, nsd):
    root = roots(work)[""]
    before = {path: path.read_bytes() for path in (root / "images").glob("nsd*.png")}
    again = cli.run("toy", "--nsd", nsd, "--images", 3, "--work", work)
    assert again == root
    assert {path: path.read_bytes() for path in (root / "images").glob("nsd*.png")} == before
    metrics = json.loads((root / "metrics.json").read_text())
    assert (metrics["n_test"], len(metrics["images"])) == (3, 3)
    (note,) = [note for note in metrics["footnotes"] if note.startswith("Partly scored")]
    assert "of 1 more image," in note
    assert note in unescape((root / "report.html").read_text(encoding="utf-8"))
    told = {each["name"]: each for each in json.loads(cli("runs", work, "--json").stdout)}
    assert (told[root.name]["images"], told[root.name]["more_images"]) == (3, 1)
    assert " 3 of 4 " in cli("runs", work, env={"COLUMNS": "300"}).stdout
    cli.run("toy", "--nsd", nsd, "--images", 4, "--work", work)
    assert "Partly scored" not in (root / "report.html").read_text(encoding="utf-8")
    (root / "metrics.json").unlink()
    (lost,) = [each for each in listed(work)[0] if each.folder.root == root]
    assert (lost.images, lost.more_images, lost.problem) == (0, 4, "not finished")


# --- every command that is printed ----------------------------------------------------------------


def commands(text: str) -> set[str]:
    """Return the commands of brainkit in a text, as one would copy them."""
    plain = text.replace("&#39;", "'").replace("&quot;", '"')
    found = re.findall(r"`(brainkit [^`\n]+)`|<code>(brainkit [^<]+)</code>", plain)
    return {one or other for one, other in found}


def test_every_command_that_is_printed_works_from_another_folder(work, cli, tmp_path, nsd):
    root = roots(work)["alpha"]
    (root / "captions.jsonl").unlink()
    unfinished = cli("report", root, code=1).stderr.replace("\n  ", " ")
    comment = (root / "run.toml").read_text().partition("\n\n")[0].removeprefix("# ")
    metrics = json.loads((root / "metrics.json").read_text())["command"]
    printed = {
        *commands(unfinished),
        *commands((root / "report.html").read_text()),
        *(line for line in comment.splitlines() if line.startswith("brainkit ")),
        metrics,
    }
    assert f"brainkit run --config {root / 'run.toml'}" in printed
    assert metrics.startswith("brainkit run toy --nsd ")
    assert "-o regressor.picture.alpha=3.0" in metrics
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    there = type(cli)(cli.environment, elsewhere)
    for command in sorted(printed):
        _, name, *words = shlex.split(command)
        # Weights cannot be had here; that they are known is looked at.
        more = ["--dry-run"] if name == "fetch" else []
        ended = there(name, *words, *more, code=None if more else 0)
        assert "there is no checkpoint" not in ended.stderr
    assert (root / "captions.jsonl").exists()
    (report,) = elsewhere.glob("brainkit-runs/*/subj01/runs/*/report.html")
    assert report.parent.name == root.name


def test_paths_in_a_run_file_are_absolute_or_relative_to_it(tmp_path, nsd):
    (tmp_path / "run.toml").write_text('method = "toy"\nnsd = "data/nsd"\nwork = "/w"\n')
    values = read_config(tmp_path / "run.toml")
    assert values["nsd"] == tmp_path / "data/nsd"
    assert values["work"] == Path("/w")


def test_a_run_file_needs_no_method_and_may_not_name_another(cli, work):
    path = roots(work)[""] / "run.toml"
    assert "is of method 'toy'" in cli("run", "other", "--config", path, code=2).stderr
    assert "no method is named" in cli("run", code=2).stderr
    assert "0 steps computed" in cli("run", "--config", path).stderr


@pytest.mark.parametrize("command", ["report", "verify"])
def test_results_are_named_by_work_subject_or_run_folder_or_by_name(work, cli, command):
    root = roots(work)["quick"]
    for words in ((root,), (work, root.name), (root.parents[1], root.name)):
        shown = cli(command, *words).stdout
        assert command == "verify" or shown.split() == [str(root / "report.html")]
    wrong = cli(command, work, "toy-quik", code=2).stderr
    assert "has no run 'toy-quik'" in wrong


def test_shared_files_are_those_of_the_recipe(work):
    quick = roots(work)["quick"]
    assert shared(quick, "decoded/length").is_file()


def test_the_command_of_a_run_gives_the_same_composition_again(nsd, registry, tmp_path):
    from brainkit.run import configured
    from brainkit.run.shared import reproduce_command

    asked = RunConfig(
        "toy", nsd=nsd, work=tmp_path, images=(nsd_image(nsd),), seed=3, ceiling=False, null=False,
        samples=2, scores=("fid",), use={"regressor.length": "toy-halving", "sampler": "ddim"},
        options={"sampler.steps": 4, "selection.sessions": [1, 2], "regressor.picture.alpha": 1e-3},
    )  # fmt: skip
    first = prepare(asked, registry, list, dry=True)
    words = shlex.split(reproduce_command(first))
    assert words[:3] == ["brainkit", "run", "toy"]
    typed: dict[str, object] = {"work": tmp_path, "use": [], "option": [], "scores": []}
    rest = iter(words[3:])
    for word in rest:
        if word in ("--no-ceiling", "--no-null"):
            typed[word.removeprefix("--no-")] = False
        elif word in ("--use", "-o", "--scores"):
            typed[{"-o": "option"}.get(word, word[2:])].append(next(rest))
        else:
            value = next(rest)
            typed[word[2:]] = int(value) if word in ("--seed", "--samples") else value
    typed["nsd"] = Path(str(typed["nsd"]))
    again = prepare(configured("toy", typed), registry, list, dry=True)
    assert (again.name, again.digest, again.chosen) == (first.name, first.digest, first.chosen)
    assert reproduce_command(again) == reproduce_command(first)


def nsd_image(nsd: Path) -> int:
    from brainkit.nsd import load_design

    design = load_design(nsd, 1)
    return int(design.image_ids[design.is_shared].min())
