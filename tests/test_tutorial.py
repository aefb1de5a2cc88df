"""The tutorial's plugin is what its reader gets: it installs, passes its tests and runs."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file

FINISHED = Path(__file__).parent.parent / "docs" / "plugins" / "brainkit-mean"


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


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install the tutorial's plugin from a copy of its folder, as its reader would."""
    source = tmp_path_factory.mktemp("source") / "brainkit-mean"
    shutil.copytree(FINISHED, source)
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
        "offers": [
            {
                "kind": "regressor",
                "name": "mean",
                "summary": "The mean of the training feature, whatever the brain did.",
            }
        ],
    }


def test_its_own_tests_pass_where_it_is_installed(installed, tmp_path):
    tests = shutil.copytree(FINISHED / "tests", tmp_path / "tests")
    shutil.copy(FINISHED / "pyproject.toml", tmp_path)
    words = ["pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tests]
    paths = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH", "")]))
    env = {"PYTHONPATH": paths, "BRAINKIT_PLUGINS": "mean", "OMP_NUM_THREADS": "1"}
    assert " passed" in printed(*words, cwd=tmp_path, env=env)


def test_it_replaces_every_regressor_of_unibrain(brainkit):
    pytest.importorskip("brainkit_unibrain")
    words = ["show", "unibrain", "--use", "regressor=mean", "-o", "regressor.clip_text.shrink=0.5"]
    shown = brainkit(*words).stdout
    regressors = [line for line in shown.splitlines() if line.startswith("regressor.")]
    assert len(regressors) == 4
    assert all(line.endswith(" = mean") for line in regressors)
    assert "regressor.clip_text.shrink = 0.5" in shown
    assert "regressor.clip_image.shrink = 0.0" in shown


def test_a_run_with_it_predicts_the_training_mean_for_every_image(brainkit, tmp_path, nsd):
    brainkit("run", "toy", "--use", "regressor=mean", "--nsd", nsd, "--work", "work", "--images", 2)
    (features,) = tmp_path.rglob("features/picture-*.safetensors")
    (decoded,) = tmp_path.rglob("decoded/picture-*.safetensors")
    predicted = load_file(decoded)["decoded"].astype("f4")
    mean = load_file(features)["train"].astype("f8").mean(0)
    assert len(predicted) == 10
    assert abs(predicted - mean).max() < 1e-3  # float16 on disk
