"""Disks that are full, read-only or in the way: one sentence, nothing half-written, all resumes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runs import Ended, Reference, Tally, do, do_limited, prepare


def disks(method: str, folder: Path, *, n: int, seed: int) -> Tally:
    """Try the first n cases; those of disks of their own need the right to mount."""
    reference, tally = Reference.of(method, folder), Tally()
    place = folder / "disk"
    for name, case in list(_cases(reference, place).items())[:n]:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        failure = case()
        tally.count(f"{method}, {name}: {failure}" if failure else "")
    shutil.rmtree(place, ignore_errors=True)
    return tally


def _cases(reference: Reference, place: Path) -> dict[str, Callable[[], str]]:
    cases = {
        "the folder is a file": lambda: _refused(reference, _file(place / "work")),
        "the folder is below a file": lambda: _refused(reference, _file(place / "work") / "deeper"),
        "a name of 300 characters": lambda: _refused(reference, place / ("n" * 300)),
        "a name that is not UTF-8": lambda: _refused(reference, Path(f"{place}/\udcff")),
        "a dangling link": lambda: _refused(reference, _link(place / "work")),
    }
    for more in (1, 4, 8):
        cases[f"{more} more open files"] = lambda more=more: _limited(
            reference, place / "work", resource.RLIMIT_NOFILE, _open_files() + more
        )
    for size in (0, 100, 3_000, 30_000, 300_000):
        cases[f"files of at most {size} bytes"] = lambda size=size: _limited(
            reference, place / "work", resource.RLIMIT_FSIZE, size
        )
    if _mounts(place):
        cases |= {
            f"a disk of {size} kB": lambda size=size: _full(reference, place, f"size={size}k")
            for size in (4, 64, 400, 700, 1000, 1300)
        }
        cases |= {
            f"a disk of {files} files": lambda files=files: _full(
                reference, place, f"size=1g,nr_inodes={files}"
            )
            for files in (2, 8, 20, 30, 40)
        }
        cases["read-only and current"] = lambda: _current(reference, place)
        cases["read-only and empty"] = lambda: _read_only(reference, place)
    else:
        print("  disks of their own are left out: mounting needs root")
    return cases


def _file(path: Path) -> Path:
    path.write_text("in the way")
    return path


def _link(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere" / "deeper")
    return path


def _told(ended: Ended) -> str:
    """Say what is wrong with a refusal: it is exit 1 or 2 and sentences alone."""
    if ended.plain and ended.code in (1, 2) and ended.said.strip():
        return ""
    return f"exit {ended.code}: {ended.said[-2000:]}"


def _refused(reference: Reference, work: Path) -> str:
    return _told(do(reference.command(work), reference.log))


def _half_written(work: Path) -> str:
    """Say which files are neither whole nor to be gone on from; `verify` reads all others."""
    left = [path.name for path in work.rglob("*.[0-9]*.part")]
    return f"half-written: {left}" if left else ""


def _open_files() -> int:
    """Return the number above that of every file this process has open."""
    return max(int(each) for each in os.listdir("/dev/fd")) + 1


def _limited(reference: Reference, work: Path, what: int, limit: int) -> str:
    """Run under a limit, which is one sentence unless it was enough, and then without it."""
    prepare(reference.work, work)

    def under() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(what, (limit, resource.getrlimit(what)[1]))

    ended = do_limited(reference.command(work), under)
    if ended.code not in (0, 1) or not ended.plain:
        return f"exit {ended.code}: {ended.said[-2000:]}"
    return _half_written(work) or reference.made_good(work)


def _mounts(place: Path) -> bool:
    place.mkdir(exist_ok=True)
    with _mounted(place, "size=4k") as done:
        return done


@contextmanager
def _mounted(place: Path, options: str) -> Iterator[bool]:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    done = shutil.which("mount") and not subprocess.run(words, capture_output=True).returncode
    try:
        yield bool(done)
    finally:
        if done:
            subprocess.run(["umount", str(place)], check=True)


def _full(reference: Reference, place: Path, options: str) -> str:
    """Run on a disk that is too small, make room, and go on."""
    with _mounted(place, options):
        ended = do(reference.command(place / "work"), reference.log)
        if ended.code not in (0, 1) or not ended.plain:
            return f"exit {ended.code}: {ended.said[-2000:]}"
        if failure := _half_written(place):
            return failure
        room = ["mount", "-o", "remount,size=1g,nr_inodes=100000", str(place)]
        subprocess.run(room, check=True)
        return reference.made_good(place / "work")


def _current(reference: Reference, place: Path) -> str:
    """Run, report and verify on a finished run that may only be read."""
    with _mounted(place, "size=1g"):
        shutil.copytree(reference.work, place / "work")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        for words in (reference.command(place / "work"), ("verify", place / "work")):
            ended = do(words, reference.log)
            if ended.code or not ended.plain:
                return f"{words[0]} ended with {ended.code}: {ended.said[-2000:]}"
        return reference.differs(place / "work")


def _read_only(reference: Reference, place: Path) -> str:
    with _mounted(place, "ro,size=1g"):
        return _refused(reference, place / "work")
