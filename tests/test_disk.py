"""Disks that are full, read-only or not there, and paths that cannot be: one sentence each."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from trees import tree

from brainkit.disk import UnwritableError, refusal, require_utf8, writing
from brainkit.run.artefact import Recipe, write_tensors, write_text

RUN = ("run", "toy", "--images", 2, "--no-ceiling", "--work", "work")
CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.link": 1}
"""What changes a folder, and which argument is the path."""


class Disk:
    """What Python asks of the files below a folder, and what is refused of it."""

    def __init__(self) -> None:
        self.root, self.number, self.allowed = "", 0, 0
        sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: tuple[object, ...]) -> None:
        """Refuse what changes something; hooks cannot be taken away, so mostly do nothing."""
        if not self.root:
            return
        path: object = None
        if event == "open":
            flags = arguments[2]
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
            path = arguments[0] if isinstance(flags, int) and flags & writes else None
        elif event in CHANGES:
            path = arguments[CHANGES[event]]
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(
            self.root
        ):
            return
        if self.allowed > 0:
            self.allowed -= 1
            return
        # As the system does of what is not there, or is there already.
        if self.number != errno.ENOSPC and event in ("os.remove", "os.rmdir", "os.rename"):
            source = arguments[0]
            if isinstance(source, str | os.PathLike) and not os.path.lexists(source):
                return
        if event == "os.mkdir" and os.path.isdir(path):
            return
        if self.number == errno.ENOSPC and event in ("os.remove", "os.rmdir"):
            return
        raise OSError(self.number, os.strerror(self.number), os.fspath(path))


DISK = Disk()


@contextmanager
def refusing(root: Path, number: int, *, allowed: int = 0) -> Iterator[None]:
    """Refuse changes below a folder with an error, after as many as are allowed."""
    DISK.number, DISK.allowed, DISK.root = number, allowed, str(root)
    try:
        yield
    finally:
        DISK.root = ""


def one_line(errors: str) -> str:
    """Return the error that a command ended with."""
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert errors.strip().splitlines()[-1:] == lines
    return lines[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_the_sentence_has_path_reason_and_remedy(tmp_path, number):
    with pytest.raises(UnwritableError) as caught, writing(tmp_path / "x", "with --work"):
        raise OSError(number, os.strerror(number))
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'x'} cannot be written: {os.strerror(number)}; ")
    assert told.endswith(" with --work")


def test_other_errors_are_left_as_they_are(tmp_path):
    for error in (ValueError("no"), OSError("a library's own words"), KeyError("x")):
        with pytest.raises(type(error)) as caught, writing(tmp_path):
            raise error
        assert caught.value is error


def test_what_nobody_expected_is_told_with_its_path():
    told = refusal(OSError(errno.ENOSPC, "No space left on device", "/here"))
    assert told.startswith("/here cannot be read or written: No space left on device; make room")
    assert refusal(OSError("cut off")) == "cut off; --debug shows where"


def test_a_name_that_is_not_utf8_is_told(tmp_path):
    with pytest.raises(UnwritableError, match=r"^--work is .*\\xff, whose name is not UTF-8; name"):
        require_utf8(tmp_path / os.fsdecode(b"\xff"), "--work")
    require_utf8(tmp_path / "\u2713", "--work")


def test_what_becomes_too_large_is_told_and_nothing_half_written_stays(tmp_path):
    import torch

    path = tmp_path / "folder" / "file"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (
        lambda: write_text(path, 1000 * "text"),
        lambda: write_tensors(path, {"a": torch.ones(1000)}, Recipe("step")),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(UnwritableError, match=r"file cannot be written: File too large; m"):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert list(path.parent.iterdir()) == []


def test_a_disk_that_fills_at_any_step_is_one_sentence_and_the_run_goes_on_later(
    cli, nsd, tmp_path
):
    cli(*RUN[:-1], "whole", "--nsd", nsd)
    work, allowed, seen = tmp_path / "work", 0, set()
    while True:
        with refusing(work, errno.ENOSPC, allowed=allowed):
            ended = cli(*RUN, "--nsd", nsd, code=None)
        if ended.code == 0:
            break
        assert ended.code == 1, ended.stderr
        told = one_line(ended.stderr)
        assert "cannot be written: No space left on device; make room" in told
        seen.add(told.partition(" cannot")[0])
        allowed += 7
    assert len(seen) >= 5
    assert tree(work) == tree(tmp_path / "whole")


def test_a_folder_that_may_only_be_read_serves_when_it_is_current(cli, nsd, tmp_path):
    words = (*RUN, "--nsd", nsd, "-o", "regressor.alpha=1")
    first = cli(*RUN, "--nsd", nsd)
    before = tree(tmp_path)
    for number in (errno.EROFS, errno.EACCES):
        with refusing(tmp_path, number):
            again = cli(*RUN, "--nsd", nsd)
            assert again.stdout == first.stdout
            assert "0 steps computed" in again.stderr
            told = cli("report", "work").stdout.strip()
            assert Path(told) == tmp_path / first.stdout.splitlines()[-1]
            cli("checkpoints")
            cli("doctor")
            told = one_line(cli(*words, code=1).stderr)
        assert f"cannot be written: {os.strerror(number)}; check the rights" in told
        assert tree(tmp_path) == before


def test_maps_that_are_current_are_told_of_a_folder_that_may_only_be_read(cli, nsd, tmp_path):
    words = (*RUN, "--nsd", nsd, "--use", "regressor=ridge")
    cli(*words)
    with refusing(tmp_path, errno.EROFS):
        assert "cannot be written: Read-only" in one_line(cli("map", "work", code=1).stderr)
    first = cli("map", "work").stdout
    with refusing(tmp_path, errno.EROFS):
        assert cli("map", "work").stdout == first


def test_a_report_that_cannot_be_written_again_stays(cli, nsd, tmp_path):
    cli(*RUN, "--nsd", nsd)
    before = tree(tmp_path)
    for allowed in range(2, 12):
        with refusing(tmp_path / "work", errno.ENOSPC, allowed=allowed):
            ended = cli("report", "work", code=None)
        assert ended.code == 0 or "No space left" in one_line(ended.stderr)
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda at: at.touch(), "work"),
        (lambda at: at.touch(), "work/below"),
        (lambda at: at.symlink_to("nowhere"), "work"),
        (lambda at: at.mkdir(), "work/" + 300 * "x"),
        (lambda at: at.mkdir(), "work/" + 3000 * "x/"),
        (lambda at: at.mkdir(), os.fsdecode(b"work/\xff")),
    ],
    ids=["file", "below a file", "dangling", "long name", "long path", "no UTF-8"],
)
def test_a_work_folder_that_cannot_be_is_one_sentence(cli, nsd, tmp_path, make, name):
    make(tmp_path / "work")
    before = sorted(tmp_path.rglob("*"))
    ended = cli(*RUN[:-1], name, "--nsd", nsd, code=1)
    assert "work" in one_line(ended.stderr)
    assert ended.stdout == ""
    after = sorted(tmp_path.rglob("*"))
    assert [each for each in after if each.relative_to(tmp_path).parts[0] != "home"] == before


def test_a_home_that_cannot_be_written_is_one_sentence(cli, tmp_path):
    for number in (errno.EROFS, errno.ENOSPC, errno.EACCES):
        with refusing(tmp_path / "home", number):
            told = one_line(cli(*RUN, code=1).stderr)
        assert os.strerror(number) in told
        assert told.endswith("with BRAINKIT_HOME, where 100 MB are free")


def test_an_error_of_the_system_that_comes_unexpected_is_one_sentence(cli, monkeypatch):
    from brainkit.cli import doctor

    def refuse(registry):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere")

    monkeypatch.setattr(doctor, "diagnosis", refuse)
    told = one_line(cli("doctor", code=1).stderr)
    assert told.startswith("Error: /somewhere cannot be read or written: Input/output error; ")
    with pytest.raises(OSError, match="Input/output"):
        cli("--debug", "doctor")
