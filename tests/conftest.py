"""Fixtures of core's tests: a tiny NSD download, and a toy plugin in and out of process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from brainkit.plugins import Registry, Source

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(autouse=True)
def _no_installed_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    monkeypatch.setenv("BRAINKIT_PLUGINS", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for caches that all processes of a test session share; only read, never changed.

    Of several processes each has a folder of its own in one that they share.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-home"
    home.mkdir(exist_ok=True)
    return home


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


@dataclass(frozen=True)
class Brainkit:
    """The command, with one plugin and a home of its own."""

    environment: Mapping[str, str]

    def __call__(self, *words: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Run it; it has to succeed, or to fail with an error of one line."""
        command = [sys.executable, "-m", "brainkit", *words]
        done = subprocess.run(
            command, env=self.environment, text=True, capture_output=True, timeout=3000, check=False
        )
        assert (done.returncode != 0) is fails, done.stderr
        return done

    def folder(self, *words: str) -> Path:
        """Do a run and give the folder of its report."""
        return Path(self("run", *words).stdout.splitlines()[-1]).parent


@pytest.fixture(scope="session")
def brainkit_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Brainkit]:
    """Give the command for a plugin; skips where that is not installed."""

    def command(plugin: str) -> Brainkit:
        pytest.importorskip(f"brainkit_{plugin}", reason="the plugin is not installed here")
        home = str(tmp_path_factory.mktemp("home"))
        wanted = {"BRAINKIT_PLUGINS": plugin, "BRAINKIT_HOME": home, "HF_HUB_OFFLINE": "1"}
        return Brainkit({**os.environ, **wanted})

    return command
