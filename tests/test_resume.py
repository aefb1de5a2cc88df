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
    first = cli.process(*words, env={"TOY_SECONDS": "0.6"})
    wait_for("features/.locks/picture-*.lock-owner.json", tmp_path, first, 1)
    second = cli(*words)
    assert f"features/picture is in use by process {first.pid} on " in second.stderr
    assert "features/picture: made by another process meanwhile" in second.stderr
    _, lines = first.communicate(timeout=120)
    assert first.returncode == 0, lines


def test_two_processes_work_on_different_images_of_one_run_at_once(cli, nsd, tmp_path):
    from brainkit.nsd import load_design

    design = load_design(nsd, 1)
    shared = sorted({*design.image_ids[design.is_shared].tolist()})
    halves = [",".join(map(str, ids)) for ids in (shared[:5], shared[5:])]
    words = ("run", "toy", "--nsd", nsd, "--no-ceiling")
    for work in ("one", "other"):
        cli(*words, "--images", 1, "--work", work)
    slow = {"TOY_SECONDS": "0.5"}
    processes = [cli.process(*words, "--images", h, "--work", "one", env=slow) for h in halves]
    ended = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    # Neither waited for the other's latents, pictures or captions, but for the report alone.
    waited = [line for _, err in ended for line in err.splitlines() if "is in use by" in line]
    assert all(line.startswith(("the report of ", "captions.jsonl ")) for line in waited), waited
    for half in halves:
        cli(*words, "--images", half, "--work", "other")
    (one,), (other,) = (
        list((tmp_path / work).glob("*/subj01/runs/*")) for work in ("one", "other")
    )
    assert (one / "captions.jsonl").read_bytes() == (other / "captions.jsonl").read_bytes()
    assert tree(one / "images") == tree(other / "images")
    assert len(tree(one / "images")) == 10


def test_two_methods_of_one_subject_work_at_once_and_share_what_is_equal(cli, nsd, tmp_path):
    words = ("run", "toy", "--nsd", nsd, "--work", "work", "--no-ceiling", "--images", 4)
    kinds = [(), ("-o", "sampler.steps=3")]
    processes = [cli.process(*words, *kind, env={"TOY_SECONDS": "0.1"}) for kind in kinds]
    ended = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    made = [
        line.split(":")[0] for _, err in ended for line in err.splitlines() if ": done in" in line
    ]
    once = ("trials", "factor", "features/picture", "weights/length", "decoded/length")
    assert [made.count(step) for step in once] == [1] * len(once)
    assert len(list((tmp_path / "work").glob("*/subj01/runs/*/report.html"))) == 2


def test_what_a_living_process_writes_is_not_taken_for_left_over(tmp_path):
    from brainkit.locks import held_at_once
    from brainkit.run.folder import lock_of
    from brainkit.run.orphans import remove_orphans

    picture = tmp_path / "images" / "nsd00001.png"
    aside = picture.with_name(f"{picture.name}.77.part")
    with held_at_once([lock_of(picture)]) as taken:
        assert taken is None
        aside.write_bytes(b"half")
        assert remove_orphans(tmp_path) == 0
    assert aside.exists()
    assert remove_orphans(tmp_path) == 1
