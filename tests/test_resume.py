"""Kills and crowds: what SIGKILL leaves, and two runs on one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from trees import tree

RUN = ("run", "toy", "--batch-size", 2)


def wait_for(pattern: str, work: Path, process: subprocess.Popen[str], count: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if len(list(work.rglob(pattern))) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{pattern} did not appear {count} times: {process.communicate()[1]}")


# Each kill lands in another step: encoding rows, between steps, sampling, decoding.
KILLS = [("*.safetensors.rows", 1), ("nsd*.safetensors", 3), ("nsd*.png", 1), ("metrics.json*", 1)]


def test_killed_runs_resume_to_the_same_bytes(cli, nsd, tmp_path):
    cli(*RUN, "--nsd", nsd, "--work", tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    words = (*RUN, "--nsd", nsd, "--work", tmp_path / "work")
    for pattern, count in KILLS:
        process = cli.process(*words, env={"TOY_SECONDS": "0.05"})
        try:
            wait_for(pattern, tmp_path / "work", process, count)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    assert "kept" in cli(*words).stderr
    resumed = tree(tmp_path / "work")
    assert set(resumed) == set(whole)
    assert [name for name in whole if resumed[name] != whole[name]] == []


def test_a_killed_run_loses_at_most_the_batch_in_flight(cli, nsd, tmp_path):
    words = (*RUN, "--nsd", nsd, "--work", tmp_path / "work")
    process = cli.process(*words, env={"TOY_SECONDS": "0.2"})
    wait_for("latents/image-*/nsd*.safetensors", tmp_path, process, 4)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    made = len(list(tmp_path.rglob("latents/caption-*/nsd*.safetensors")))
    lines = cli(*words).stderr.splitlines()
    # Two images a batch: one that is whole stays, one that is not begins again.
    line = next(line for line in lines if line.startswith("latents/brain"))
    assert f"computing {10 - made // 2 * 2} of 10" in line
    assert made >= 2


def test_a_second_run_on_the_same_folder_says_who_holds_it_and_waits(cli, nsd, tmp_path):
    words = (*RUN, "--nsd", nsd, "--work", tmp_path / "work")
    first = cli.process(*words, env={"TOY_SECONDS": "0.02"})
    wait_for("*.lock-owner.json", tmp_path, first, 1)
    second = cli(*words)
    assert f"in use by process {first.pid}" in second.stderr
    _, lines = first.communicate(timeout=120)
    assert first.returncode == 0, lines
    assert "0 steps computed" in second.stderr
