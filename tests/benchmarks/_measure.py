"""Measure seconds, processor seconds and the peak of allocated memory of a block of code."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


def allocated() -> int:
    """Return the bytes of this process's memory that no file backs."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["RssAnon"].split()[0]) * 1024


@contextmanager
def watched(found: dict[str, float]) -> Iterator[None]:
    """Add seconds, processor seconds and the peak of allocated megabytes to `found`."""
    before = peak = allocated()
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, allocated())

    thread = threading.Thread(target=watch)
    thread.start()
    started, worked = time.perf_counter(), time.process_time()
    yield
    found["seconds"] = time.perf_counter() - started
    found["busy"] = time.process_time() - worked
    peak = max(peak, allocated())
    ended.set()
    thread.join()
    found["megabytes"] = (peak - before) / 1e6
