"""Whatever a snapshot asks for, nothing of it is run."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from snapshot_files import (
    GOLDEN,
    Call,
    everything,
    named,
    persistent,
    refused,
    tensors_in,
    text,
    written,
)

from brainkit.errors import CheckpointError
from brainkit_mindreader.snapshot import open_snapshot


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("file", ["malicious_marker.pkl", "malicious_nested_storage.pkl"])
def test_malicious_files_are_refused_with_the_name_they_ask_for(file):
    assert "holds io.open, which is no part of a LAFITE" in refused(GOLDEN / file)
    assert not Path("pwned").exists()


def test_embedded_source_is_never_run():
    assert everything(GOLDEN / "malicious_module_source.pkl") == {}
    assert not Path("pwned").exists()


HARMS = {
    "system": (Call(os.system, "touch pwned"), f"{os.name}.system"),
    "eval": (Call(eval, "open('pwned', 'w')"), ".eval"),
    "exec": (Call(exec, "open('pwned', 'w')"), ".exec"),
    "open": (Call(open, "pwned", "w"), "io.open"),
    "mkdir": (Call(os.mkdir, "pwned"), f"{os.name}.mkdir"),
    # Protocol 2 names its module as Python 2 did.
    "process": (Call(subprocess.Popen, ["touch", "pwned"]), ".Popen"),
    "import": (Call(__import__, "os"), ".__import__"),
    "load": (Call(torch.serialization.__dict__["load"], "other.pt"), "torch.serialization.load"),
}


@pytest.mark.parametrize("place", ["alone", "beside", "state", "tensor", "argument"])
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("harm", sorted(HARMS))
def test_code_is_refused_by_name_and_never_run(harm, protocol, place):
    thing, name = HARMS[harm]
    content: Any = {
        "alone": lambda: thing,
        "beside": lambda: {"G_ema": None, "x": [{"y": (thing,)}]},
        "state": lambda: {"G_ema": persistent(thing)},
        "tensor": lambda: {"G_ema": persistent({"_buffers": {"x": thing}})},
        "argument": lambda: {"G_ema": Call(named("torch._utils_", "f"), thing)},
    }[place]()
    said = refused(written(Path("harm.pkl"), content, protocol))
    asked = ("torch._utils_.f", "copy_reg._reconstructor", "copyreg._reconstructor")
    assert f"{name}, which is no part" in said or any(each in said for each in asked)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("harm", ["system", "eval", "exec", "open", "mkdir"])
def test_the_refused_calls_would_have_left_a_trace(harm):
    thing, _ = HARMS[harm]
    thing.function(*thing.arguments)
    assert Path("pwned").exists()


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("harm", ["system", "eval", "open", "process", "load"])
def test_code_within_the_bytes_of_a_storage_is_refused(harm, archive):
    buffer = io.BytesIO()
    torch.save(HARMS[harm][0], buffer, _use_new_zipfile_serialization=archive)
    load = Call(torch.storage._load_from_bytes, buffer.getvalue())  # type: ignore[no-untyped-call]
    said = refused(written(Path("harm.pkl"), {"G_ema": load}))
    assert archive or HARMS[harm][1] in said
    assert not Path("pwned").exists()


ASKED = [
    ("torch_utils.persistence", "_reconstruct_persistent_obj.__globals__"),
    ("torch_utils.persistence._reconstruct_persistent_obj", "__globals__"),
    ("collections", "OrderedDict.fromkeys"),
    ("collections", "OrderedDict.__init__.__globals__"),
    ("collections.OrderedDict", "fromkeys"),
    ("builtins", "set.__class__.__base__"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("__builtin__", "eval"),
    ("builtins", "SET"),
    ("builtins", "set "),
    ("builtins", "set\0"),
    ("builtins\n", "set"),
    ("bui1tins", "set"),
    ("collections", "OrderedDiсt"),  # a Cyrillic letter
    ("ｏｓ", "system"),  # letters that Python's parser would take for os
    ("os", "system"),
    ("", ""),
    ("\ud800", "\x1b[31m"),
    ("a" * 10_000, "b" * 10_000),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch", "FloatStorage"),
    ("torch.serialization", "load"),
    ("torch.nn.modules.container", "ModuleList"),
    ("torch.nn.modules.conv", "Conv1d.__init__"),
    ("numpy", "load"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("copyreg", "_reconstructor"),
    ("copyreg", "add_extension"),
    ("functools", "partial"),
    ("operator", "attrgetter"),
    ("dnnlib.util", "open_url"),
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda pair: ascii(".".join(pair))[1:40])
def test_names_are_allowed_only_exactly(asked):
    said = refused(b"\x80\x04" + text(asked[0]) + text(asked[1]) + b"\x93)R.")
    assert "which is no part of a LAFITE or Mind Reader snapshot" in said
    if not any("\n" in part for part in asked) and ascii("".join(asked))[1:-1] == "".join(asked):
        line = "\n".join(("c" + asked[0], asked[1], ")R."))
        assert "which is no part" in refused(b"\x80\x02" + line.encode())


@pytest.mark.parametrize(
    "opcodes",
    {
        "extension registry 1": b"\x82\x01.",
        "extension registry 2": b"\x83\x01\x00.",
        "extension registry 4": b"\x84\x01\x00\x00\x00.",
        "persistent id": b"Pos.system\n.",
        "binary persistent id": text("x") + b"Q.",
        "class by its name": b"(ios\nsystem\n.",
        "class on the stack": b"(cbuiltins\nset\no.",
        "new object with keywords": b"cbuiltins\nset\n)}\x92.",
        "byte array": b"\x96" + struct.pack("<Q", 1) + b"a.",
        "buffer beside": b"\x97.",
        "buffer to read": b"\x97\x98.",
        "frozen set": b"(\x91.",
        "twice": b"N2.",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_opcodes_that_no_snapshot_has_are_refused(opcodes):
    assert "which is no part of" in refused(b"\x80\x05" + opcodes[1])


def test_nothing_is_imported(monkeypatch):
    Path("spy_module.py").write_text("open('pwned', 'w').close()\nrun = print\n")
    monkeypatch.syspath_prepend(Path.cwd())
    for content in (b"cspy_module\nrun\n)R.", b"(ispy_module\nrun\n."):
        assert "which is no part" in refused(content)
    assert "spy_module" not in sys.modules
    assert not Path("pwned").exists()


def test_state_cannot_be_set_on_what_it_is_not_for():
    for victim in (b"cbuiltins\nset\n", b"\x8f", b"N", b"]", text("x"), b"ctorch._utils\n_r"):
        made = victim + (b"ebuild_parameter\n" if victim.endswith(b"_r") else b"")
        said = refused(b"\x80\x04" + made + b"}" + text("__class__") + text("a") + b"sb.")
        assert "holds a state for a " in said


def test_a_set_state_of_a_module_is_data():
    state = {"_buffers": {"x": torch.ones(2)}, "__setstate__": 1, "__class__": "os", "__dict__": {}}
    found = tensors_in(written(Path("a.pkl"), {"G": persistent(state)}))
    assert found["x"].tolist() == [1, 1]


def test_a_snapshot_that_is_mostly_a_hole_is_refused_unread(tmp_path):
    path = tmp_path / "net.pkl"
    with open(path, "wb") as file:
        file.write(b"\x80\x04X" + (2**32 - 1).to_bytes(4, "little"))
        file.truncate(300 * 10**9)
    with (
        pytest.raises(CheckpointError, match="is not whole: it has 300000000000 bytes, of which"),
        open_snapshot(path),
    ):
        pass
