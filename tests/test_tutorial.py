import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

FINISHED = Path(__file__).parent.parent / "docs" / "plugins" / "brainkit-mean"


def said(*words: object, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True,
        text=True,
        env=env,
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
    said("pip", "install", *offline, "--target", target, source, env={**os.environ}, cwd=source)
    return target


@pytest.fixture
def environment(installed: Path, toy_environment: dict[str, str]) -> dict[str, str]:
    paths = os.pathsep.join([str(installed), toy_environment["PYTHONPATH"]])
    return {**toy_environment, "PYTHONPATH": paths, "BRAINKIT_PLUGINS": "mean,toy,unibrain"}


def test_the_wheel_holds_the_module_and_nothing_else(installed):
    found = {path.name for path in installed.iterdir()} - {"__pycache__"}
    assert found == {"brainkit_mean.py", "brainkit_mean-0.1.0.dist-info"}


def test_the_plugin_is_listed(environment, tmp_path):
    listed = json.loads(said("brainkit", "list-plugins", "--json", env=environment, cwd=tmp_path))
    (mean,) = [plugin for plugin in listed if plugin["name"] == "mean"]
    assert mean == {
        "name": "mean",
        "distribution": "brainkit-mean 0.1.0",
        "broken": None,
        "offers": [
            {
                "kind": "regressor",
                "name": "mean",
                "summary": "The mean of the training feature, whatever the brain did.",
            }
        ],
    }


def test_its_own_tests_pass_where_it_is_installed(environment, tmp_path):
    tests = shutil.copytree(FINISHED / "tests", tmp_path / "tests")
    shutil.copy(FINISHED / "pyproject.toml", tmp_path)
    words = ["pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tests]
    assert " passed" in said(*words, env=environment, cwd=tmp_path)


def test_it_replaces_every_regressor_of_unibrain(environment, tmp_path):
    pytest.importorskip("brainkit_unibrain")
    words = ["show", "unibrain", "--use", "regressor=mean", "-o", "regressor.clip_text.shrink=0.5"]
    shown = said("brainkit", *words, env=environment, cwd=tmp_path)
    regressors = [line for line in shown.splitlines() if line.startswith("regressor.")]
    assert len(regressors) == 4
    assert all(line.endswith(" = mean") for line in regressors)
    assert "regressor.clip_text.shrink = 0.5" in shown
    assert "regressor.clip_image.shrink = 0.0" in shown


def test_a_run_with_it_predicts_the_training_mean_for_every_image(environment, tmp_path, nsd):
    words = ["run", "toy", "--use", "regressor=mean", "--nsd", nsd, "--work", "work", "--images", 2]
    said("brainkit", *words, env=environment, cwd=tmp_path)
    (features,) = tmp_path.rglob("features/picture-*.safetensors")
    (decoded,) = tmp_path.rglob("decoded/picture.safetensors")
    predicted = load_file(decoded)["decoded"].astype("f4")
    mean = load_file(features)["train"].astype("f8").mean(0)
    assert len(predicted) == 10
    assert abs(predicted - mean).max() < 1e-3  # float16 on disk
