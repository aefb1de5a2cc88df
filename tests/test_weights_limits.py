"""What asks for more time or memory than weights need is refused by name, before it is made."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from pickle import dumps

import pytest
import torch
from forged_pickles import archived, call, name, old, pickled, refused, saved, table, tensor, text

from brainkit.checkpoints import CheckpointStore
from brainkit.checkpoints.limits import LARGE
from brainkit.checkpoints.safetensors import MAX_HEADER, MAX_TENSORS, check_header
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.fetch.command import Asked
from brainkit.fetch.inventory import state
from brainkit.weights import opcodes, pickle
from brainkit.weights.archive_end import END, END64, LOCATOR
from brainkit.weights.convert import ReleasedFiles, convert
from brainkit.weights.open import open_weights


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs, if at all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "toys"))


def headed(header: bytes, size: int = 0) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(size)


EMPTY = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


def empties(count: int) -> bytes:
    return headed(b"{" + b",".join(b'"%d":%s' % (i, EMPTY) for i in range(count)) + b"}")


def laden(nesting: bytes) -> bytes:
    return headed(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":' + nesting + b"}}")


HEADERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty tensors": (lambda: empties(MAX_TENSORS + 3), f"more than {MAX_TENSORS} tensors"),
    "lists": (lambda: laden(b"[" + b"[],".rstrip() * 10**6 + b"[]]"), "more than 200000 lists"),
    "numbers": (lambda: laden(b"[" + b"0," * 2 * 10**6 + b"0]"), "more than 1200000 values"),
    "depth": (lambda: laden(b"[" * 150_000 + b"]" * 150_000), "nested too deeply"),
    "axes": (
        lambda: headed(EMPTY.replace(b"[0]", b"[" + b"1," * 64 + b"0]").join([b'{"a":', b"}"])),
        "tensor 'a' has 65 axes, at most 64 are allowed",
    ),
    "length": (lambda: struct.pack("<Q", MAX_HEADER + 1) + bytes(9), f"at most {MAX_HEADER}"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_with_too_much_are_refused(case: str) -> None:
    made, words = HEADERS[case]
    said = refused(made(), ".safetensors")
    assert words in said


def test_as_many_tensors_as_networks_have_are_read() -> None:
    Path("a.safetensors").write_bytes(empties(10_000))
    assert len(check_header(Path("a.safetensors"))) == 10_000


DEEP = "[" * 100_000 + "]" * 100_000


def test_deep_configurations_are_told_wherever_they_are_read() -> None:
    folder = Path("store/toy-net")
    folder.mkdir(parents=True)
    toy = Checkpoint("toy-net")
    for content, words in (
        ('{"a":' + DEEP + "}", "nested too deeply"),
        (" " * 10_000_001 + "{}", "it has 10000003 bytes"),
    ):
        (folder / "config.json").write_text(content)
        (folder / "model.safetensors").write_bytes(empties(1))
        with pytest.raises(CheckpointError, match=f"is not a network configuration.*{words}"):
            CheckpointStore(Path("store")).config(toy)
        assert words in state(toy, Path("store")).why
        (folder / "source.json").write_text(content)
        assert words in state(toy, Path("store")).why
        (folder / "source.json").unlink()
        tensors = {n: torch.ones(6, 4) for n in ("net.w", "net.qkv")}
        tensors |= {"net.b": torch.ones(6), "net.head": torch.ones(2, 3)}
        Path("given").mkdir(exist_ok=True)
        saved(Path("given/net.pth"), tensors)
        Path("given/config.json").write_text(content)
        with pytest.raises(CheckpointError, match=words):
            convert(["toy_released:NET"], ReleasedFiles((Path("given"),)), Path("other"))
    assert Asked("toy-net").check()


def test_a_configuration_that_is_no_table_is_told() -> None:
    folder = Path("store/toy")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("[1]")
    (folder / "model.safetensors").write_bytes(empties(1))
    with pytest.raises(CheckpointError, match="is not a network configuration but a list"):
        CheckpointStore(Path("store")).config(Checkpoint("toy"))


def holes(path: Path, count: int) -> Path:
    """Write a whole safetensors file of so many numbers, all of them in a hole."""
    facts = {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}
    content = headed(json.dumps({"net.w": facts}).encode())
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(len(content) + 4 * count)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="files have no blocks there")
def test_files_that_are_mostly_holes_are_refused_unread() -> None:
    path, begun = holes(Path("net.safetensors"), 75 * 10**9), time.process_time()
    for reading in (
        lambda: convert(["toy_released:NET"], ReleasedFiles((path,)), Path("store")),
        lambda: CheckpointStore(Path()).load(Checkpoint("placed")),
    ):
        Path("placed").mkdir(exist_ok=True)
        if not Path("placed/model.safetensors").exists():
            holes(Path("placed/model.safetensors"), 75 * 10**9)
        with pytest.raises(CheckpointError, match=r"is not whole: it has 3000000000\d\d bytes, of"):
            reading()
    assert "of which the disk holds" in state(Checkpoint("placed"), Path(), verify=True).why
    assert time.process_time() - begun < 5  # of this process: other load does not count


def test_small_files_and_whole_ones_are_not_asked_for_holes() -> None:
    path = holes(Path("small.safetensors"), LARGE // 8)
    with open_weights(path) as opened:
        assert opened.entries["net.w"].shape == (LARGE // 8,)


def nested(levels: int) -> bytes:
    """Return the opcodes of a tuple that has itself twice, so many levels deep."""
    return b")" + b"q\x00h\x00\x86" * levels


def test_a_nesting_that_doubles_with_every_level_is_never_written_out() -> None:
    begun = time.process_time()
    for content in (
        archived(pickled(table(a=tensor(), x=nested(60)))),
        old(pickled(table(a=nested(60))), b"]" + nested(60) + b"a"),
        *(
            archived(pickled(nested(60) + b"Q")),
            archived(pickled(call("torch", "Size", nested(60)))),
        ),
        archived(pickled(name("torch", "Size") + nested(60) + b"R")),
    ):
        Path("a.pth").write_bytes(content)
        try:
            with open_weights(Path("a.pth")):
                pass
        except CheckpointError as error:
            assert len(str(error)) < 1000  # noqa: PT017 (it may also be read)
    assert time.process_time() - begun < 5


def test_keys_that_are_no_texts_are_no_keys() -> None:
    assert "its storages are not those of its tensors" in refused(
        old(pickled(b"}"), b"]" + nested(60) + b"a")
    )


def test_one_list_given_to_many_calls_is_counted() -> None:
    pairs = b"](" + b"".join(text(f"{i}") + b"N\x86" for i in range(1000)) + b"eq\x01"
    made = b"](" + (name("collections", "OrderedDict") + b"h\x01\x85R") * 21_000 + b"e"
    begun = time.process_time()
    said = refused(archived(pickled(b"(" + pairs + made + b"t")))
    assert f"calls with more than {pickle.MAX_ARGUMENTS} values" in said
    assert time.process_time() - begun < 20


def test_odd_things_without_end_are_not_followed_to_the_end() -> None:
    assert "the opcode DUP" in refused(archived(pickled(b"N" + b"2" * 5000 + name("os", "system"))))


def test_opcodes_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle, "MAX_OPCODES", 1000)
    assert "more than 1000 opcodes" in refused(archived(pickled(b"]" * 2000)))


@pytest.mark.parametrize("opcode", [b"X", b"T", b"\x8b", b"\x8d", b"\x8c"])
def test_texts_that_are_longer_than_all_of_a_pickle_are_not_read(
    opcode: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opcodes, "MAX_TEXT", 100)
    width = {b"\x8d": 8, b"\x8c": 1}.get(opcode, 4)
    each = opcode + (60).to_bytes(width, "little") + bytes(60)
    assert "more than 100 bytes of texts in its pickle" in refused(archived(pickled(each * 2)))


def test_a_line_without_end_is_not_read() -> None:
    with open("a.pth", "wb") as file:
        file.write(b"\x80\x02c")
        file.truncate(LARGE - 1)
    begun = time.process_time()
    with pytest.raises(CheckpointError), open_weights(Path("a.pth")):
        pass
    assert time.process_time() - begun < 2


def two_tables(*, before: bool) -> bytes:
    """Return an archive whose ZIP64 locator tells of another table than its end does."""
    mine = archived(pickled(table(a=tensor())))
    theirs = archived(pickled(call("os", "system", text("touch pwned"))))
    with zipfile.ZipFile(io.BytesIO(theirs)) as opened:
        begin, count = opened.start_dir, len(opened.infolist())
    size, place = len(theirs) - END.size - begin, len(theirs) - END.size
    record = END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, begin)
    content = theirs[:place] + record + mine[: -END.size]
    at = place if before else len(content)
    return content + LOCATOR.pack(b"PK\x06\x07", 0, at, 1) + mine[-END.size :]


@pytest.mark.parametrize("before", [True, False])
def test_archives_with_two_tables_of_members_are_refused(before: bool) -> None:
    assert "two tables of members" in refused(two_tables(before=before))


def test_an_end_that_points_elsewhere_is_refused() -> None:
    content = archived(pickled(table(a=tensor())))
    *facts, count, size, begin, comment = END.unpack(content[-END.size :])
    for wrong in ((count, size, begin - 1), (count, size - 1, begin), (count, size + 1, begin)):
        end = END.pack(*facts, *wrong, comment)
        assert "two tables of members" in refused(content[: -END.size] + end)
    many = END.pack(*facts[:-1], 9, 9, size, begin, comment)
    assert "two tables of members" in refused(content[: -END.size] + many)


def test_a_table_of_a_million_members_is_not_read() -> None:
    begin = b"PK\x03\x04" + bytes(30_000_000)
    end = END.pack(b"PK\x05\x06", 0, 0, 65535, 65535, 30_000_000, 4, 0)
    said = refused(begin + end)
    assert "members with a table of 30000000 bytes, at most" in said


def test_archives_that_need_zip64_are_read_as_before() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in (("data.pkl", pickled(table(a=tensor()))), ("version", b"3\n")):
            with archive.open(f"archive/{member}", "w", force_zip64=True) as file:
                file.write(data)
        archive.writestr("archive/data/0", struct.pack("<4f", 1, 2, 3, 4))
    content = buffer.getvalue()
    *_, count, size, begin, _ = END.unpack(content[-END.size :])
    at = len(content) - END.size
    record = END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, begin)
    short = END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    wide = content[:at] + record + LOCATOR.pack(b"PK\x06\x07", 0, at, 1) + short
    Path("a.pth").write_bytes(wide)
    with open_weights(Path("a.pth")) as opened:
        assert opened.read("a") == struct.pack("<4f", 1, 2, 3, 4)


WALLED = """
import resource, sys
from pathlib import Path
from brainkit.errors import CheckpointError
from brainkit.weights.convert import ReleasedFiles, convert
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
try:
    convert(["toy_released:NET"], ReleasedFiles((Path(sys.argv[1]),)), Path("store"))
except CheckpointError as error:
    print(error)
"""
WALLS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a million empty tensors": ("a.safetensors", lambda: empties(10**6), "header"),
    "a hundred thousand": ("a.safetensors", lambda: empties(MAX_TENSORS), "tensors, but none"),
    "two million sets": ("a.pth", lambda: archived(pickled(b"]" * 2_100_000)), "opcodes in its"),
    "a nesting": ("a.pth", lambda: archived(pickled(table(x=nested(10_000)))), "0 tensors"),
    "odd calls": (
        "a.pth",
        lambda: archived(pickled(nested(60) + b"q\x01" + b"h\x01Q" * 500_000)),
        "a persistent id",
    ),
    "a table of itself": (
        "a.pth",
        lambda: archived(
            pickled(b"}q\x01(" + b"".join(text(str(i)) + b"h\x01" for i in range(9**5)) + b"u")
        ),
        "0 tensors",
    ),
    "nested numbers": ("a.pth", lambda: dumps([[[0]] * 10**6] * 10), "not"),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.parametrize("case", WALLS)
def test_hostile_files_are_refused_within_ten_seconds_and_a_gigabyte(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, made, words = WALLS[case]
    Path(file).write_bytes(made())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    ended = subprocess.run([sys.executable, "-c", WALLED, file], capture_output=True, text=True,
                           check=False)  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-500:]
    assert file in ended.stdout
    assert words in ended.stdout
