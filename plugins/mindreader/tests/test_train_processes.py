"""Two processes on the CPU train one generator."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_worker
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("train_worker.py")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run_processes(folder: Path, processes: int) -> None:
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(free_port()), "ACCELERATE_USE_CPU": "true"}
    folder.mkdir()
    begun = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in begun:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """What one and two processes wrote."""
    root = tmp_path_factory.mktemp("processes")
    run_processes(root / "2", 2)
    (root / "1").mkdir()
    train_worker.main(root / "1")
    return root


def test_processes_keep_the_same_networks_though_they_began_with_others(states):
    for name in ("supervised", "contrastive"):
        one, other = (load_file(states / f"2/{name}-{rank}.safetensors") for rank in range(2))
        assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_two_processes_of_half_a_batch_train_as_one_of_the_whole(states):
    # Float64, because Adam turns rounding of gradients that are 0 into steps.
    whole, halves = (load_file(states / f"{n}/supervised-0.safetensors") for n in (1, 2))
    assert len([key for key in whole if key.startswith("generator/")]) > 10
    for key, expected in whole.items():
        torch.testing.assert_close(halves[key], expected, rtol=1e-5, atol=1e-6, msg=key)


def test_contrastive_terms_compare_the_pictures_of_one_process(states):
    whole, halves = (load_file(states / f"{n}/contrastive-0.safetensors") for n in (1, 2))
    name = "generator/synthesis.b16.conv1.weight"
    assert not torch.allclose(whole[name], halves[name], rtol=1e-5, atol=1e-6)
