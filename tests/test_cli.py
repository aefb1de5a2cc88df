"""The commands as a user types them: output, exit codes, one-sentence errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "brainkit"]


@pytest.fixture
def brainkit(toy_environment, tmp_path):
    def running(*words: object, env: dict[str, str] | None = None, code: int = 0):
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**toy_environment, **(env or {})},
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return running


def test_list_plugins_names_parts_and_methods(brainkit):
    listed = brainkit("list-plugins").stdout
    assert "toy  (brainkit-toy 1.0)" in listed
    assert "method       toy" in listed
    entries = json.loads(brainkit("list-plugins", "--json").stdout)
    offers = {(o["kind"], o["name"]) for entry in entries for o in entry["offers"]}
    assert {("regressor", "ridge"), ("sampler", "ddim"), ("method", "toy")} <= offers


def test_a_broken_plugin_is_listed_with_its_reason_and_breaks_nothing(brainkit, tmp_path):
    site = tmp_path / "site"
    about = site / "brainkit_broken-0.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brainkit-broken\nVersion: 0.2\n")
    (about / "entry_points.txt").write_text("[brainkit]\nbroken = brainkit_broken\n")
    (site / "brainkit_broken.py").write_text("import nothing_of_that_name\n")
    import os

    paths = os.pathsep.join([str(site), str(Path(__file__).parent / "toys")])
    env = {"PYTHONPATH": paths, "BRAINKIT_PLUGINS": "broken"}
    listed = brainkit("list-plugins", env=env).stdout
    assert "broken  (brainkit-broken 0.2)" in listed
    assert "No module named 'nothing_of_that_name'" in listed
    failed = brainkit("show", "toy", env=env, code=2).stderr
    assert "no method named 'toy'" in failed
    assert "brainkit-broken 0.2" in failed
    assert "Traceback" not in failed


def test_show_prints_every_option_with_its_address_and_limits(brainkit):
    shown = brainkit("show", "toy", "-o", "sampler.steps=7", "--use", "regressor=ridge").stdout
    assert "sampler.steps = 7" in shown
    assert ">= 1" in shown
    assert "regressor.picture.alpha" in shown


def test_run_prints_scores_and_the_report_on_stdout_and_progress_on_stderr(brainkit, nsd):
    done = brainkit("run", "toy", "--nsd", nsd, "--images", "4", "--work", "w")
    assert done.stdout.splitlines()[-1].endswith("report.html")
    assert "pixel correlation" in done.stdout
    assert "features/picture: computing" in done.stderr
    again = brainkit("run", "toy", "--nsd", nsd, "--images", "4", "--work", "w")
    assert "0 steps computed" in again.stderr
    assert again.stdout == done.stdout


def test_report_writes_the_page_again(brainkit, nsd, tmp_path):
    brainkit("run", "toy", "--nsd", nsd, "--images", "4", "--work", "w")
    page = next(tmp_path.rglob("report.html"))
    before = page.read_text()
    page.unlink()
    printed = brainkit("report", "w").stdout.strip()
    assert (tmp_path / printed).samefile(page)
    assert page.read_text() == before


def test_dry_run_prints_a_plan_and_writes_nothing(brainkit, nsd, tmp_path):
    plan = brainkit("run", "toy", "--nsd", nsd, "--dry-run", "--work", "w").stdout
    assert "30 training images, 10 test images" in plan
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "tpy"), "Did you mean 'toy'?"),
        (("run", "toy", "-o", "sampler.steps"), "expected ADDRESS=VALUE"),
        (("run", "toy", "-o", "sampler.steps=many"), "sampler.steps is 'many'"),
        (("run", "toy", "--images", "ten"), "--images is 'ten'"),
        (("run", "toy", "--config", "absent.toml"), "absent.toml"),
        (("report", "absent"), "no finished run"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_line(brainkit, words, said):
    failed = brainkit(*words, code=2)
    assert said in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
    assert failed.stdout == ""


def test_missing_data_exits_with_1(brainkit, tmp_path):
    failed = brainkit("run", "toy", "--nsd", tmp_path / "absent", code=1)
    assert str(tmp_path / "absent") in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_run_file_with_an_unknown_key_is_refused(brainkit, tmp_path):
    (tmp_path / "run.toml").write_text('metod = "toy"\n')
    failed = brainkit("run", "toy", "--config", "run.toml", code=2)
    assert "'metod'" in failed.stderr
    assert "Did you mean 'method'?" in failed.stderr


def test_check_data_says_what_is_there_and_what_is_not(brainkit, nsd, tmp_path):
    assert "has" in brainkit("check-data", nsd).stdout
    brainkit("check-data", tmp_path, code=1)


def test_doctor_prints_versions_devices_and_weights(brainkit):
    told = brainkit("doctor").stdout
    for word in ("python", "torch", "cpu", "brainkit-toy 1.0: works", "home"):
        assert word in told


def test_version_and_completion(brainkit):
    assert brainkit("--version").stdout.startswith("brainkit ")
    assert "--install-completion" in brainkit("--help").stdout
