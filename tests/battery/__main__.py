"""Kill, damage and starve runs of every method; print what was tried and what held.

    python tests/battery [kills|damages|disks ...] [--method NAME ...] [--n 100] [--seed 0]

Without a word all three are done: 100 kills of every method, mapper training too; every damage to
every kind of file; every case of a disk. Equal seeds kill and damage alike, but for kills by time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))

from damages import damages
from disks import disks
from kills import kills
from runs import METHODS, Tally, warm

PARTS = {"kills": kills, "damages": damages, "disks": disks}
USUAL = {
    "kills": (tuple(METHODS), 100),
    "damages": (("unibrain", "minddiffuser"), 10_000),
    "disks": (("unibrain",), 10_000),
}
"""Of each part the methods it is done to, and how many trials at most."""


def main() -> None:
    """Do what the command line asks for; exit with 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="battery", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--method", action="append", choices=METHODS, help="again for several")
    parser.add_argument("--n", type=int, help="trials of each part and method at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes that work at a time")
    parser.add_argument("--folder", type=Path, help="where runs lie; failed ones stay there")
    asked = parser.parse_args()
    if wrong := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="battery-"))).resolve()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    os.environ.setdefault("BRAINKIT_HOME", str(folder / "home"))
    warm()
    tasks = [
        (part, method, folder, asked.n or USUAL[part][1], asked.seed)
        for part in asked.parts or PARTS
        for method in asked.method or USUAL[part][0]
    ]
    with ProcessPoolExecutor(asked.jobs, multiprocessing.get_context("fork")) as pool:
        tallies = list(pool.map(_done, *zip(*tasks, strict=True)))
    for (part, method, *_), tally in zip(tasks, tallies, strict=True):
        print(f"{part} {method}: {_told(tally)}")
    failures = sum(len(tally.failures) for tally in tallies)
    tried = sum(tally.tried for tally in tallies)
    print(f"{tried - failures} of {tried} held; what did not lies in {folder}")
    sys.exit(bool(failures))


def _done(part: str, method: str, folder: Path, n: int, seed: int) -> Tally:
    """Do one part with one method, and tell."""
    began = time.monotonic()
    tally = PARTS[part](method, folder / part / method, n=n, seed=seed)
    seconds = time.monotonic() - began
    print(f"{part} {method}: {_told(tally)} ({seconds:.0f} s)", flush=True)
    return tally


def _told(tally: Tally) -> str:
    late = f", {tally.late} more came when all was done" if tally.late else ""
    return f"{tally.held} of {tally.tried} held{late}"


if __name__ == "__main__":
    main()
