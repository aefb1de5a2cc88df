"""Damage every kind of file of a finished run: it is made good to the byte, or told."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from random import Random

from damaging import EVERYWHERE, Damage, dangling, flipped
from runs import Reference, Tally, do

VARYING = re.compile(r"[0-9a-f]{8,16}|nsd\d+|\d+")
"""What differs between files of one kind."""


def swapped(path: Path) -> None:
    beside = sorted(each for each in path.parent.iterdir() if each.is_file() and each != path)
    alike = [each for each in beside if each.suffix == path.suffix] or [path]
    mine, other = path.read_bytes(), alike[0].read_bytes()
    path.write_bytes(other)
    alike[0].write_bytes(mine)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Damage] = {
    **EVERYWHERE,
    "JSON of another shape": lambda path: path.write_text("[[1, 2], 3]\n"),
    "JSON too deep": lambda path: path.write_text("[" * 100_000),
    "swapped": swapped,
    "a dangling link": dangling,
    "a folder": folder,
    "gone": Path.unlink,
}


def kinds(work: Path) -> dict[str, list[Path]]:
    """Return the files of a finished run by kind; locks are none."""
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        if ".lock" not in path.name:
            kind = VARYING.sub("#", path.relative_to(work).as_posix())
            found.setdefault(kind, []).append(path.relative_to(work))
    return found


def damages(method: str, folder: Path, *, n: int, seed: int) -> Tally:
    """Do each damage to a file of each kind, in a random order; the first n of these."""
    reference, tally = Reference.of(method, folder), Tally()
    random = Random(f"{seed} {method}")
    cases = [(kind, name) for kind in kinds(reference.work) for name in (*DAMAGES, SILENT)]
    random.shuffle(cases)
    work = folder / "damaged"
    for kind, name in cases[:n]:
        if not work.is_dir():
            shutil.copytree(reference.work, work)
        path = work / random.choice(kinds(reference.work)[kind])
        failure = (_silent if name == SILENT else _loud)(reference, work, path, name)
        tally.count(f"{method}, {path.relative_to(work)}, {name}: {failure}" if failure else "")
        if failure:
            shutil.rmtree(work)
    shutil.rmtree(work, ignore_errors=True)
    return tally


def _loud(reference: Reference, work: Path, path: Path, name: str) -> str:
    """Damage a file and run: all is made good, or one sentence says what to do."""
    DAMAGES[name](path)
    ended = do(reference.command(work), reference.log)
    if not ended.plain or ended.code not in (0, 1, 2):
        return f"exit {ended.code}: {ended.said[-2000:]}"
    if ended.code:
        # Told: what is in the way is moved, as the sentence says.
        path.rmdir() if path.is_dir() else path.unlink()
        return reference.made_good(work)
    return reference.differs(work)


SILENT = "flipped, with its time restored"


def _silent(reference: Reference, work: Path, path: Path, name: str) -> str:
    """Flip a bit as a failing disk does: `verify` finds it, and a run mends it once it is gone."""
    status = path.stat()
    flipped(0.5)(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    records = path.parent / ".records.jsonl"
    recorded = records.is_file() and f'"{path.name}"'.encode() in records.read_bytes()
    ended = do(("verify", work), reference.log)
    if not ended.plain or (recorded and (ended.code != 1 or path.name not in ended.said)):
        return f"verify ended with {ended.code}: {ended.said[-1000:]}"
    path.unlink()
    return reference.made_good(work)
