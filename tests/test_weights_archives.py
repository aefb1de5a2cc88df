"""Archives with anything that torch does not write are refused, and told what it is."""

from __future__ import annotations

import io
import re
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from forged_pickles import (
    Members,
    archived,
    call,
    pickled,
    refused,
    saved,
    table,
    tensor,
    text,
)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs, if at all."""
    monkeypatch.chdir(tmp_path)


TOUCH = text("touch pwned")


def member(path: str, *, mode: int = 0, packed: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """Return a member with unusual facts."""
    made = zipfile.ZipInfo("x")
    made.filename = path
    made.compress_type, made.external_attr, made.create_system = packed, mode << 16, 3
    return made


GOOD = pickled(table(a=tensor()))

SLIPS = [
    *("../evil.py", "archive/../../evil.py", "/etc/evil", "archive//evil", "archive/./evil"),
    *("..\\evil.py", "archive\\data.pkl", "C:\\evil.py", "C:/evil.py", "c:evil", "\\\\host\\evil"),
    *(
        "archive/..",
        "..",
        ".",
        "archive/data/..",
        "archive/e\nvil",
        "archive/\x1b[31m",
        "archive/\x7f",
    ),
]

EXTRA = [
    *("archive/evil.py", "evil.py", "archive/data.pkl.bak", "archive/DATA.PKL", "archive/data/x"),
    *("archive/data/0.py", "archive/data/", "archive/", "archive/data/1/2", "archive/.data/x"),
    *("archive/.data/extern_modules", "archive/__main__.py", "archive/setup.py", "archive/pickle"),
    *("archive/data/-1", "archive/data/٣", "archive/data/" + "1" * 21, "archive/.ſ", "data.pkl"),
    *("archive/archive/data.pkl", "archive", "other/data.pkl.py"),
]

PROGRAMS = [
    *("archive/code/__torch__.py", "archive/constants.pkl", "archive/constants/0"),
    *("archive/attributes.pkl", "archive/model.json", "archive/bytecode.pkl"),
]


@pytest.mark.parametrize("path", SLIPS, ids=ascii)
def test_members_that_lead_out_of_the_archive_are_refused(path: str) -> None:
    said = refused(archived(GOOD, {member(path): b"x"}))
    assert f"holds the member {path!a}, whose name leads elsewhere" in said


def test_a_name_with_a_nul_is_refused() -> None:
    content = archived(GOOD, {"archive/data/1#.py": b"x"}).replace(b"data/1#.py", b"data/1\0.py")
    assert "the member 'archive/data/1\\x00.py', whose name leads elsewhere" in refused(content)


@pytest.mark.parametrize("path", EXTRA, ids=lambda path: ascii(path)[1:40])
def test_members_that_torch_does_not_write_are_refused_by_name(path: str) -> None:
    said = refused(archived(GOOD, {member(path): b"x"}))
    assert f"holds the member {ascii(path)[:40].rstrip(chr(39))}" in said
    assert "which torch does not write" in said


@pytest.mark.parametrize("path", PROGRAMS)
def test_programs_are_told_as_such(path: str) -> None:
    said = refused(archived(GOOD, {member(path): b"x"}))
    assert (
        f"holds a program (TorchScript, as OpenAI's own files of CLIP are; its member {path!r})"
        in said
    )
    assert "give the .safetensors file" in said


def test_torchscript_that_torch_wrote_is_told_as_such() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "a.pt")  # type: ignore[no-untyped-call]
    assert "holds a program (TorchScript" in refused(Path("a.pt").read_bytes())


MEMBERS: dict[str, tuple[Members, str]] = {
    "link": ({member("archive/data/1", mode=0o120777): b"/etc/passwd"}, "a link or no file"),
    "device": ({member("archive/data/1", mode=0o020666): b""}, "a link or no file"),
    "folder of another": ({member("other/data/1"): b""}, "members in several folders"),
    "packed": (
        {member("archive/data/1", packed=zipfile.ZIP_DEFLATED): bytes(9)},
        "torch packs nothing",
    ),
    "bomb": (
        {member("archive/data/1", packed=zipfile.ZIP_DEFLATED): bytes(10**7)},
        "packed from 10000000 into",
    ),
    "packed otherwise": (
        {member("archive/data/1", packed=zipfile.ZIP_LZMA): bytes(9)},
        "packs nothing",
    ),
    "long note": ({member("archive/.format_version"): bytes(10**5)}, "at most 4096 are usual"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_members_of_unusual_kinds_are_refused(case: str) -> None:
    more, words = MEMBERS[case]
    said = refused(archived(GOOD, more))
    assert words in said
    assert case == "folder of another" or "'archive/" in said


def test_a_member_twice_is_refused() -> None:
    for path in ("archive/data.pkl", "archive/data/0"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = archived(GOOD, {path: pickled(call("os", "system", TOUCH))})
        assert f"holds the member '{path}' twice" in refused(content)


def test_a_packed_pickle_is_refused() -> None:
    content = archived(GOOD, compress_type=zipfile.ZIP_DEFLATED)
    assert "the member 'archive/data.pkl' packed from" in refused(content)


def test_an_encrypted_member_is_refused() -> None:
    content = bytearray(archived(GOOD))
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    assert "the member 'archive/data.pkl', which is encrypted" in refused(bytes(content))


def test_two_names_of_one_member_are_refused() -> None:
    content = archived(GOOD)
    first = content.index(b"archive/byteorder")
    forged = content[:first] + b"archive/data/1234" + content[first + 17 :]
    said = refused(forged)
    assert "the member 'archive/byteorder' that is 'archive/data/1234' where it lies" in said


def test_bytes_around_the_archive_are_refused() -> None:
    content = archived(GOOD)
    assert "not a whole checkpoint" in refused(b"#!/bin/sh\n" + content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/hidden", b"x")
        archive.filelist.clear()
        archive.writestr("archive/data.pkl", GOOD)
    assert "holds 45 bytes before its archive" in refused(buffer.getvalue())
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(18)
    assert "holds two tables of members" in refused(buffer.getvalue())
    with zipfile.ZipFile(buffer := io.BytesIO(content), "a") as archive:
        archive.comment = b"hello"
    assert "the comment b'hello' behind its archive" in refused(buffer.getvalue())
    assert "not a whole checkpoint" in refused(content + bytes(100_000))


def test_members_that_overlap_are_refused() -> None:
    content = bytearray(archived(GOOD))
    places = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
    size = struct.unpack_from("<L", content, places[0] + 24)[0]
    struct.pack_into("<LL", content, places[0] + 20, size + 60, size + 60)
    assert "ends at byte" in refused(bytes(content))
    content = bytearray(archived(GOOD))
    struct.pack_into(
        "<L", content, places[3] + 42, struct.unpack_from("<L", content, places[2] + 42)[0]
    )
    assert "holds the member 'archive/version' that is 'archive/data/0'" in refused(bytes(content))


def test_sizes_beyond_the_file_are_refused() -> None:
    for size in (2**31, 2**32 - 2):
        content = bytearray(archived(GOOD))
        places = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
        struct.pack_into("<LL", content, places[2] + 20, size, size)
        assert "its archive is damaged" in refused(bytes(content))


def test_a_pickle_of_many_megabytes_is_refused() -> None:
    assert "'archive/data.pkl' with 67108865 bytes" in refused(archived(bytes((1 << 26) + 1)))


def test_a_pickle_with_another_checksum_is_refused() -> None:
    content = archived(GOOD).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3", 1)
    assert "Bad CRC-32" in refused(content)


def test_an_archive_without_a_pickle_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/version", b"3")
    assert "its archive has no data.pkl" in refused(buffer.getvalue())
    np.savez("a.npz", a=np.ones(3))
    assert "the member 'a.npy', which torch does not write" in refused(Path("a.npz").read_bytes())
    with zipfile.ZipFile("none.zip", "w"):
        pass
    assert "is not a whole checkpoint" in refused(Path("none.zip").read_bytes())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_archives_and_old_files_that_are_cut_off_are_told_so(share: float) -> None:
    for archive in (True, False):
        content = saved(Path("a.pth"), {"a": torch.ones(100)}, archive=archive).read_bytes()
        assert "is not a whole checkpoint" in refused(content[: int(share * len(content))])


def test_tar_archives_are_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in ("storages", "tensors", "pickle"):
            made = tarfile.TarInfo(path)
            made.size = 3
            archive.addfile(made, io.BytesIO(b"cos"))
    assert "holds a tar archive, as torch wrote before 2017" in refused(buffer.getvalue(), ".tar")
