"""Kill runs at random points, go on, and compare every file with an uninterrupted run."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from random import Random

from runs import Ended, Operations, Reference, Tally, do, kill_after, prepare, thin


def kills(method: str, folder: Path, *, n: int, seed: int) -> Tally:
    """Kill runs of a method until n kills hit; each folder is killed one to three times.

    Half of the kills come after a random time, half before a random rename, removal or flush.
    """
    reference, tally = Reference.of(method, folder), Tally()
    trial = 0
    while tally.tried < n and trial < 4 * n:
        random = Random(f"{seed} {method} {trial}")
        work = folder / f"trial-{trial}"
        hits = _killed(reference, work, random, tally)
        failure = reference.made_good(work) if hits else ""
        verified = do(("verify", work), reference.log) if hits and not failure else None
        if verified and verified.code:
            failure = f"verify: {verified.said[-1000:]}"
        for _ in range(min(hits, n - tally.tried)):
            tally.count(f"{method}, trial {trial}: {failure}" if failure else "")
        if not failure:
            shutil.rmtree(work)
        trial += 1
    return tally


def _killed(reference: Reference, work: Path, random: Random, tally: Tally) -> int:
    """Begin somewhere on the way and kill; return how many kills hit."""
    start = random.choice(["nothing", *["prepared"] * 4, *["thinned"] * 5])
    if start == "prepared":
        prepare(reference.work, work)
    elif start == "thinned":
        thin(reference.work, work, random)
    hits = 0
    for _ in range(random.randint(1, 3)):
        hit = _kill(reference, work, random).code == -signal.SIGKILL
        hits += hit
        tally.late += not hit
        if not hit:
            break
    return hits


def _kill(reference: Reference, work: Path, random: Random) -> Ended:
    words = reference.command(work)
    if random.random() < 0.5:
        return kill_after(words, reference.log, random.uniform(0.1, 1) * reference.seconds)
    last = int(random.random() ** 1.5 * reference.operations)
    return do(words, reference.log, Operations(last))
