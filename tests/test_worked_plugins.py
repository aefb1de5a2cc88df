"""The worked plugins of the docs install, and their own tests pass where they are installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from installing import OFFLINE, ended

GUIDES = Path(__file__).parents[1] / "docs" / "plugins"
WORKED = ("dinov2", "heun", "retrieval")


def test_those_that_are_installed_here_are_all_that_there_are():
    there = {path.parent.name for path in GUIDES.glob("*/pyproject.toml")}
    assert there == {f"brainkit-{name}" for name in (*WORKED, "mean")}


@pytest.mark.timeout(900)
def test_their_own_tests_pass_where_they_are_installed(tmp_path):
    sources, target = tmp_path / "sources", tmp_path / "site"
    folders = [
        shutil.copytree(GUIDES / f"brainkit-{name}", sources / f"brainkit-{name}")
        for name in WORKED
    ]
    ended("pip", "install", *OFFLINE, "--target", target, *folders, cwd=sources)
    words = ("pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir")
    paths = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH", "")]))
    env = {"PYTHONPATH": paths, "BRAINKIT_PLUGINS": ",".join(WORKED), "OMP_NUM_THREADS": "1"}
    tests = [folder / "tests" for folder in folders]
    assert " passed" in ended(*words, sources, *tests, cwd=tmp_path, **env)
