"""The process in which released files are read: confined, and gone with all it was tricked into.

    python -m brainkit.weights.child < JOB

The job and every answer is a line of JSON. After the plan it waits for the names to write, one a
line, and ends when there are no more. `brainkit.weights.convert` is the other end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from brainkit.errors import BrainkitError
from brainkit.weights import Release, release
from brainkit.weights.confined import confine, leave_network
from brainkit.weights.conversion import Conversion, conversions, write

STEP = 1 << 26
"""Bytes after which progress is told."""


def main() -> None:
    """Do one job."""
    leave_network()  # what is loaded next has threads, which would stay outside
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        job = json.loads(sys.stdin.readline())
        releases = [release(reference) for reference in job["releases"]]
        _warm(releases)
        confine(Path(job["store"]))
        with ExitStack() as stack:
            found = conversions(
                releases,
                [Path(place) for place in job["places"]],
                job["config"],
                stack,
                {path: [Path(each) for each in places] for path, places in job["beside"].items()},
            )
            found = _remarked(found, releases, Path(job["store"]), stack)
            licences = {each.name: _licence(each) for each in releases}
            _say(answers, plan=[_summary(each, licences[each.checkpoint]) for each in found])
            for _ in _written(found, answers):
                pass
    except BrainkitError as error:
        _say(answers, error=str(error), kind=type(error).__name__)
    except MemoryError:
        _say(answers, error="reading it took more memory than there is", kind="CheckpointError")


def _remarked(
    found: list[Conversion], releases: list[Release], store: Path, stack: ExitStack
) -> list[Conversion]:
    """Add to each conversion's notes what its release remarks on it."""
    remarks = {each.name: each.remarks for each in releases if each.remarks}
    return [
        replace(each, notes=(*each.notes, *remark(each, store, stack)))
        if (remark := remarks.get(each.checkpoint))
        else each
        for each in found
    ]


def _warm(releases: Sequence[Release]) -> None:
    """Load libraries, and build the networks without weights, while all is still allowed."""
    import numpy
    import safetensors.torch
    import torch

    torch.zeros(1).numpy()
    for each in releases:
        each.shapes(each.config)  # loads what the network is made of, and torch's "meta" with it
    _ = numpy, safetensors


def _licence(release: Release) -> str:
    """Give the licences under which a network is published, for files of the user's own."""
    return " or ".join(dict.fromkeys(origin.licence for origin in release.origins))


def _summary(conversion: Conversion, licence: str) -> Mapping[str, Any]:
    return {
        "checkpoint": conversion.checkpoint,
        "licence": licence,
        "layout": conversion.layout,
        "tensors": len(conversion.entries),
        "size": conversion.size,
        "files": [str(path) for path in conversion.files],
        "notes": conversion.notes,
        "companions": sorted(conversion.companions),
        "lacks": conversion.lacks,
    }


def _written(found: list[Conversion], answers: IO[str]) -> Iterator[None]:
    """Write the checkpoints that are asked for, each into the folder named with it."""
    by_name = {each.checkpoint: each for each in found}
    for line in sys.stdin:
        asked = json.loads(line)
        done, told = 0, 0

        def progress(size: int) -> None:
            nonlocal done, told
            done += size
            if done - told >= STEP:
                told = done
                _say(answers, done=done)

        try:
            write(by_name[asked["checkpoint"]], Path(asked["aside"]), progress)
        except OSError as error:
            _say(answers, error=f"{asked['aside']} cannot be written ({error.strerror or error})")
            return
        _say(answers, written=asked["checkpoint"])
        yield


def _say(answers: IO[str], **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
