"""The benchmark of released sizes runs, and both of its drivers do the same work."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "benchmarks" / "released_sizes.py"
PACKAGES = {
    "unibrain": "brainkit_unibrain",
    "minddiffuser": "brainkit_minddiffuser",
    "mindreader": "brainkit_mindreader",
}


@pytest.mark.parametrize("method", PACKAGES)
def test_brainkit_and_the_plain_loop_come_to_the_same_latents(
    method, tmp_path, monkeypatch, capsys
):
    pytest.importorskip(PACKAGES[method])
    monkeypatch.setenv("BRAINKIT_PLUGINS", method)
    path = tmp_path / "rows.json"
    words = ("--small", "--batches", "1,2", "--steps", "3", "--methods", method)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words, "--json", str(path)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = json.loads(path.read_text())
    compared = [row for row in rows if row["difference"] is not None]
    assert compared
    # Latents of a few units in size; float32 through other orders of the same sums.
    assert all(row["difference"] < 2e-3 for row in compared), compared
    assert {row["batch"] for row in rows if row["driver"] == "brainkit"} == {1, 2}
    assert all(row["per_second"] > 0 and row["gigabytes"] > 0 for row in rows)
    assert "the miniature's sizes" in capsys.readouterr().out
