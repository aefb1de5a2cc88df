"""Results say which plugins made them, and what to install when these are gone."""

from __future__ import annotations

import json
import tomllib

import pytest

from brainkit.errors import UsageError
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig, configured
from brainkit.run.finished import opened, rewritten
from brainkit.run.folder import Folder


@pytest.fixture
def done(toy, nsd, tmp_path):
    """The folder of a finished run of a plugin in version 1.4."""
    registry = Registry([Source("toy", "brainkit-toy 1.4.2", lambda: toy, "brainkit_toy")])
    config = RunConfig("toy", nsd=nsd, work=tmp_path, images=3, ceiling=False)
    return Folder(run(prepare(config, registry, lambda line: None)).parent)


def test_the_run_file_the_scores_and_the_report_name_them_with_their_versions(done):
    from brainkit import __version__

    recorded = tomllib.loads(done.run_file.read_text(encoding="utf-8"))["plugins"]
    assert recorded == {"brainkit": __version__, "brainkit-toy": "1.4.2"}
    metrics = json.loads(done.metrics.read_text(encoding="utf-8"))
    assert metrics["versions"]["brainkit-toy"] == "1.4.2"
    assert "1.4.2" in done.report.read_text(encoding="utf-8")


def test_a_run_file_with_them_makes_the_same_run_again(done):
    settings = configured("toy", {}, file=done.run_file)
    assert settings.method == "toy"
    assert settings.images == 3


def test_without_its_plugin_a_report_stays_and_what_to_install_is_told(done):
    said: list[str] = []
    assert rewritten([done], Registry([]), said.append) == [done.report]
    (line,) = said
    assert "no plugin registers the method 'toy'; install brainkit-toy 1.4.2, with which" in line


def test_without_its_plugin_a_run_cannot_be_mapped_and_what_to_install_is_told(done):
    with pytest.raises(UsageError, match=r"install brainkit-toy 1\.4\.2, with which it was"):
        opened(done, Registry([]), lambda line: None)
