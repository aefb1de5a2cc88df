"""Fixtures of core's tests: a tiny NSD download, and a toy plugin in and out of process."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from brainkit.plugins import Registry, Source

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(autouse=True)
def _no_installed_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    monkeypatch.setenv("BRAINKIT_PLUGINS", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A download of 40 voxels, 30 training and 10 test images; read only."""
    from brainkit.miniature import miniature
    from brainkit.miniature.brain import Difficulty

    small = Difficulty(voxels=40, train_images=30, test_images=10)
    return miniature(tmp_path_factory.mktemp("nsd"), difficulty=small).nsd


@pytest.fixture(scope="session")
def toy():
    """The toy plugin's module."""
    spec = importlib.util.spec_from_file_location("brainkit_toy", TOYS / "brainkit_toy.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["brainkit_toy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def registry(toy) -> Registry:
    return Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])


@pytest.fixture(scope="session")
def toy_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a child process in which the toy plugin is installed."""
    site = tmp_path_factory.mktemp("site")
    about = site / "brainkit_toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brainkit-toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[brainkit]\ntoy = brainkit_toy\n")
    paths = [str(site), str(TOYS), os.environ.get("PYTHONPATH", "")]
    home = tmp_path_factory.mktemp("home")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "BRAINKIT_PLUGINS": "toy",
        "BRAINKIT_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
