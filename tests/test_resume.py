"""Kills and crowds: what SIGKILL leaves, and two runs on one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "brainkit", "run", "toy", "--batch-size", "2"]


def tree(folder: Path) -> dict[str, bytes]:
    files = (each for each in folder.rglob("*") if each.is_file() and ".lock" not in each.name)
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def started(words: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*RUN, *words], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(words: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        [*RUN, *words], env=env, text=True, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def whole(nsd, toy_environment, tmp_path_factory) -> dict[str, bytes]:
    """Files of a run that nobody disturbed."""
    work = tmp_path_factory.mktemp("whole")
    finish(["--nsd", str(nsd), "--work", str(work)], toy_environment)
    return tree(work)


def wait_for(pattern: str, work: Path, process: subprocess.Popen[str], count: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if len(list(work.rglob(pattern))) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{pattern} did not appear {count} times: {process.communicate()[1]}")


# Each kill lands in another step: encoding rows, between steps, sampling, decoding.
KILLS = [("*.safetensors.rows", 1), ("nsd*.safetensors", 3), ("nsd*.png", 1), ("metrics.json*", 1)]


def test_killed_runs_resume_to_the_same_bytes(nsd, toy_environment, tmp_path, whole):
    env = {**toy_environment, "TOY_SECONDS": "0.05"}
    words = ["--nsd", str(nsd), "--work", str(tmp_path)]
    for pattern, count in KILLS:
        process = started(words, env)
        try:
            wait_for(pattern, tmp_path, process, count)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    said = finish(words, toy_environment)
    assert "kept" in said
    found = tree(tmp_path)
    assert set(found) == set(whole)
    assert [name for name in whole if found[name] != whole[name]] == []


def test_a_killed_run_loses_at_most_the_batch_in_flight(nsd, toy_environment, tmp_path):
    env = {**toy_environment, "TOY_SECONDS": "0.2"}
    words = ["--nsd", str(nsd), "--work", str(tmp_path)]
    process = started(words, env)
    wait_for("toy/latents/image/nsd*.safetensors", tmp_path, process, 4)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    made = len(list(tmp_path.rglob("toy/latents/caption/nsd*.safetensors")))
    said = finish(words, toy_environment)
    # Two images a batch: those with both latents stay, at most two begin again.
    line = next(each for each in said.splitlines() if each.startswith("latents/brain"))
    assert f"computing {10 - made} of 10" in line
    assert made >= 2


def test_a_second_run_on_the_same_folder_says_who_holds_it_and_waits(
    nsd, toy_environment, tmp_path
):
    words = ["--nsd", str(nsd), "--work", str(tmp_path)]
    first = started(words, {**toy_environment, "TOY_SECONDS": "0.2"})
    wait_for("*.lock-owner.json", tmp_path, first, 1)
    second = finish(words, toy_environment)
    assert f"in use by process {first.pid}" in second
    _, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    assert "0 steps computed" in second
