"""How a program ends: one line, and nothing behind it."""

from __future__ import annotations

import gc
from contextlib import suppress

import pytest

from brainkit.ending import AGAIN, ended


class HalfMade:
    """Complains when it is dropped before its beginning is over, as tqdm's bars do."""

    def __init__(self):
        if not hasattr(self, "whole"):
            raise KeyboardInterrupt
        self.whole = True

    def __del__(self):
        _ = self.whole


def test_what_was_half_made_does_not_complain_behind_the_last_line(monkeypatch):
    lines, complaints = [], []
    monkeypatch.setattr("sys.unraisablehook", complaints.append)
    with pytest.raises(SystemExit) as left, ended(say=lines.append):
        HalfMade()
    assert left.value.code == 130
    del left
    gc.collect()
    assert lines == [AGAIN]
    assert complaints == []


def test_it_would_complain_otherwise(monkeypatch):
    complaints = []
    monkeypatch.setattr("sys.unraisablehook", complaints.append)
    with suppress(KeyboardInterrupt):
        HalfMade()
    gc.collect()
    assert len(complaints) == 1
