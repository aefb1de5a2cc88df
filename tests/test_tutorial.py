"""The tutorial is followed from its own text: written, installed, tested and run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file

GUIDE = Path(__file__).parent.parent / "docs" / "plugins" / "tutorial.md"
HEADING = re.compile(r"(?m)^## \d\. (.+)$")


def printed(*words: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def blocks(language: str, *headings: str) -> list[str]:
    """Return the blocks of a language in some sections of the tutorial, in order."""
    pieces = HEADING.split(GUIDE.read_text(encoding="utf-8"))[1:]
    sections = dict(zip(pieces[::2], pieces[1::2], strict=True))
    assert not set(headings) - set(sections), f"the tutorial has {list(sections)}"
    text = "".join(sections[heading] for heading in headings)
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def commands() -> list[list[str]]:
    """Return every command of brainkit that the tutorial shows, in words."""
    lines = [line for each in blocks("text", *SECTIONS) for line in each.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("$ brainkit ")]


SECTIONS = ("Install and look", "Use it in a method", "Test the promises", "Publish")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the tutorial lets its reader write, block by block."""
    folder = tmp_path_factory.mktemp("source") / "brainkit-mean"
    (folder / "tests").mkdir(parents=True)
    first = "A folder with three files"
    module = blocks("python", "The part", "The hook")
    # The section of the hook shows the imports last, and says that they stand at the top.
    (imports,) = [block for block in module if block.startswith("from __future__")]
    rest = [block for block in module if block != imports]
    # Methods follow their class, indented as they are shown.
    code = re.sub(r"\n{3,}(?= {4})", "\n\n", "\n\n".join([imports, *rest]))
    texts = {
        "pyproject.toml": "\n".join(blocks("toml", first)),
        "README.md": "".join(blocks("markdown", first)),
        "brainkit_mean.py": code,
        "tests/test_mean.py": "\n\n".join(blocks("python", "Test the promises")),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (listing,) = blocks("text", first)
    named = {line.strip() for line in listing.splitlines()[1:]}
    assert named == {path.name for path in folder.iterdir() if path.is_file()}
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install the folder as it is after the third step, without a connection."""
    target = tmp_path_factory.mktemp("site")
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    printed("pip", "install", *offline, "--target", target, source, cwd=source)
    return target


@pytest.fixture
def brainkit(cli, installed, monkeypatch):
    """The command where the tutorial's plugin is installed, among others."""
    monkeypatch.syspath_prepend(str(installed))
    return replace(cli, environment={**cli.environment, "BRAINKIT_PLUGINS": "mean,toy,unibrain"})


def test_the_wheel_holds_the_module_and_nothing_else(installed):
    found = {path.name for path in installed.iterdir()} - {"__pycache__"}
    assert found == {"brainkit_mean.py", "brainkit_mean-0.1.0.dist-info"}


def test_the_plugin_is_listed(brainkit):
    listed = json.loads(brainkit("list-plugins", "--json").stdout)
    (mean,) = [plugin for plugin in listed if plugin["name"] == "mean"]
    assert mean == {
        "name": "mean",
        "distribution": "brainkit-mean 0.1.0",
        "broken": None,
        "disputed": [],
        "slow": None,
        "offers": [
            {
                "kind": "regressor",
                "name": "shrunken-mean",
                "summary": "The mean of the training feature, whatever the brain did.",
            }
        ],
    }


def test_its_own_tests_pass_where_it_is_installed(source, installed, tmp_path):
    tests = shutil.copytree(source / "tests", tmp_path / "tests")
    words = ["pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tests]
    paths = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH", "")]))
    env = {"PYTHONPATH": paths, "BRAINKIT_PLUGINS": "mean", "OMP_NUM_THREADS": "1"}
    assert " passed" in printed(*words, cwd=tmp_path, env=env)


def test_it_keeps_its_promises_on_the_command_line_too(brainkit):
    ended = brainkit("check-plugin", "mean", "--json", code=1)
    broken = [each for each in json.loads(ended.stdout)["checks"] if each["outcome"] == "broken"]
    assert [each["check"] for each in broken] == ["a_planted_linear_map_is_found"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_it_shows_works(brainkit, words):
    pytest.importorskip("brainkit_unibrain")
    assert words[0] in ("list-plugins", "show", "run")
    # A run of the whole miniature takes minutes; what would be done is checked as thoroughly.
    dry = ["--dry-run"] if words[0] == "run" else []
    assert "mean" in brainkit(*words, *dry).stdout


def test_it_replaces_every_regressor_of_unibrain(brainkit):
    pytest.importorskip("brainkit_unibrain")
    words = [
        "show",
        "unibrain",
        "--use",
        "regressor=shrunken-mean",
        "-o",
        "regressor.clip_text.shrink=0.5",
    ]
    parts = json.loads(brainkit(*words, "--json").stdout)["parts"]
    regressors = [part for part in parts if part["address"].startswith("regressor.")]
    assert [part["name"] for part in regressors] == ["shrunken-mean"] * 4
    values = {each["address"]: each["value"] for part in regressors for each in part["options"]}
    assert values["regressor.clip_text.shrink"] == 0.5
    assert values["regressor.clip_image.shrink"] == 0.0


def test_a_run_with_it_predicts_the_training_mean_for_every_image(brainkit, tmp_path, nsd):
    brainkit(
        "run",
        "toy",
        "--use",
        "regressor=shrunken-mean",
        "--nsd",
        nsd,
        "--work",
        "work",
        "--images",
        2,
    )
    (features,) = tmp_path.rglob("features/picture-*.safetensors")
    (decoded,) = tmp_path.rglob("decoded/picture-*.safetensors")
    predicted = load_file(decoded)["decoded"].astype("f4")
    mean = load_file(features)["train"].astype("f8").mean(0)
    assert len(predicted) == 10
    assert abs(predicted - mean).max() < 1e-3  # float16 on disk
