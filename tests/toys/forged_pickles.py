"""Forge files of torch's: the opcodes of pickles, the archives around them, and the old form."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from brainkit.errors import CheckpointError
from brainkit.weights.open import open_weights

MAGIC = 0x1950A86A20F9469CFC6C
Members = Mapping[str | zipfile.ZipInfo, bytes]


def text(value: str) -> bytes:
    """Return the opcode of a text, of any letters."""
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    """Return the opcode of a whole number of any size."""
    content = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def many(*values: bytes) -> bytes:
    """Return the opcodes of a tuple."""
    return b"(" + b"".join(values) + b"t"


def name(module: str, word: str) -> bytes:
    """Return the opcode that asks for a class or function, as torch writes it."""
    return f"c{module}\n{word}\n".encode()


def call(module: str, word: str, *values: bytes) -> bytes:
    """Return the opcodes of a call of what is named."""
    return name(module, word) + many(*values) + b"R"


def table(**values: bytes) -> bytes:
    """Return the opcodes of a dictionary."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def storage(
    key: str = "0", count: int = 4, kind: str = "FloatStorage", where: str = "cpu"
) -> bytes:
    """Return the opcodes of a storage, which lies beside the pickle."""
    return many(text("storage"), name("torch", kind), text(key), text(where), number(count)) + b"Q"


def tensor(
    held: bytes | None = None,
    shape: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    at: int = 0,
) -> bytes:
    """Return the opcodes of a tensor."""
    empty = call("collections", "OrderedDict")
    sizes = many(*map(number, shape)), many(*map(number, stride))
    held = storage() if held is None else held
    return call("torch._utils", "_rebuild_tensor_v2", held, number(at), *sizes, b"\x89", empty)


def pickled(value: bytes, protocol: int = 2) -> bytes:
    """Return a whole pickle of one value."""
    return bytes([0x80, protocol]) + value + b"."


def archived(pickle: bytes, more: Members | None = None, **settings: int) -> bytes:
    """Return an archive as torch writes it, with one storage of four single numbers, and more."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle, **settings)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", struct.pack("<4f", 1, 2, 3, 4))
        archive.writestr("archive/version", b"3\n")
        for member, content in (more or {}).items():
            archive.writestr(member, content)
    return buffer.getvalue()


def old(pickle: bytes, keys: bytes = b"]", storages: bytes = b"") -> bytes:
    """Return a file of torch's from before it wrote archives."""
    first = pickled(number(MAGIC)) + pickled(number(1001)) + pickled(table(little_endian=b"\x88"))
    return first + pickle + pickled(keys) + storages


def refused(content: bytes, suffix: str = ".pth") -> str:
    """Open in vain; return the sentence after checking that it is one, and that nothing was run."""
    path = Path(f"forged{suffix}")
    path.write_bytes(content)
    before = sorted(Path.cwd().iterdir())
    with pytest.raises(CheckpointError) as caught, open_weights(path):
        pass
    said = str(caught.value)
    assert sorted(Path.cwd().iterdir()) == before
    assert not Path("pwned").exists()
    assert str(path) in said
    assert said.isprintable()
    assert len(said) < 500
    return said


def saved(path: Path, value: object, *, archive: bool = True) -> Path:
    """Have torch write a file and give its path."""
    torch.save(value, path, _use_new_zipfile_serialization=archive)
    return path
