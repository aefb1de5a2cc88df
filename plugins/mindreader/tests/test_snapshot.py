"""Snapshots are read to the bit; damaged ones are refused, and take no more than they give."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from snapshot_files import (
    GENUINE,
    GOLDEN,
    Call,
    everything,
    module,
    named,
    network,
    persistent,
    refused,
    tensors_in,
    text,
    written,
)
from torch import Tensor
from torch.nn import Parameter

from brainkit.errors import CheckpointError
from brainkit_mindreader.snapshot import MAX_MODULE_DEPTH, open_snapshot


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs."""
    monkeypatch.chdir(tmp_path)


def same(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors are the same bits of the same dtype and shape."""
    bits = [each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*bits)


# Genuine files.


@pytest.mark.parametrize("file", GENUINE)
def test_genuine_files_are_read_to_the_bit(file):
    wanted = load_file(
        GOLDEN / f"{file.removesuffix('.pkl').removesuffix('_proto3')}_expected.safetensors"
    )
    found = everything(GOLDEN / file)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not same(found[name], wanted[name])] == []


def test_the_mappers_of_a_snapshot_keep_their_double_precision():
    found = tensors_in(GOLDEN / "mindreader_two_head_tiny.pkl", "fmri_vec")
    assert {tensor.dtype for tensor in found.values()} == {torch.float64}


def test_the_arguments_of_a_network_are_known():
    with open_snapshot(GOLDEN / "lafite_single_head_tiny.pkl") as snapshot:
        found = snapshot.network("G_ema")
    assert found.class_name == "Generator"
    assert found.arguments["img_resolution"] == 16
    assert found.arguments["synthesis_kwargs"]["f_dim"] == 8


def test_a_network_that_is_not_there_is_named_with_those_that_are():
    assert "holds no network 'E' but D, G, G_ema" in refused(
        GOLDEN / "lafite_single_head_tiny.pkl", "E"
    )


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype_and_view_is_read_as_torch_wrote_it(protocol):
    drawn = torch.randint(0, 100, (6, 5), generator=torch.Generator().manual_seed(0))
    tensors = {}
    for dtype in DTYPES:
        whole = drawn.to(dtype) / 7 if dtype.is_floating_point else drawn.to(dtype)
        name = str(dtype).removeprefix("torch.")
        tensors |= {
            f"{name}.whole": whole,
            f"{name}.turned": whole.T,
            f"{name}.part": whole[2:5:2, 1:4],
            f"{name}.spread": whole[:1, :1].expand(3, 4),
            f"{name}.single": whole[3, 3],
        }
    tensors["weight"] = Parameter(torch.tensor([float("nan"), -0.0, float("inf")]))
    path = written(Path("views.pkl"), {"G": network(tensors)}, protocol)
    found = tensors_in(path)
    assert found.keys() == tensors.keys()
    assert [name for name in tensors if not same(found[name], tensors[name].detach())] == []


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_storage_is_read_as_torch_wrote_it():
    tensor = torch.randn(7, generator=torch.Generator().manual_seed(0))
    path = written(Path("one.pkl"), {"G": network({"x": tensor})})
    assert tensors_in(path)["x"].tolist() == tensor.tolist()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_reading_leaves_the_numbers_in_the_file(protocol):
    tensors = {name: torch.rand(10**6) for name in ("a", "b.c", "b.d")}
    path = written(Path("large.pkl"), {"G": network(tensors)}, protocol)
    tracemalloc.start()
    try:
        with open_snapshot(path) as snapshot:
            assert len(snapshot.network("G").tensors) == 3
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 12e6
    assert peak < 1e6
    found = tensors_in(path)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_file_cut_off_while_it_is_open_is_an_error():
    path = written(Path("a.pkl"), {"G": network({"x": torch.arange(5000.0)})})
    with open_snapshot(path) as snapshot, open(path, "r+b") as file:
        found = snapshot.network("G")
        file.truncate(1000)
        with pytest.raises(EOFError, match="was cut off while it was read"):
            found.tensors["x"].read()


def test_buffers_that_are_not_kept_are_left_out():
    content = module(
        {"kept": torch.ones(2), "passing": torch.ones(2)}, _non_persistent_buffers_set={"passing"}
    )
    assert list(tensors_in(written(Path("a.pkl"), {"G": content}))) == ["kept"]


def test_easy_dicts_and_other_tables_are_read():
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    named("dnnlib.util", "EasyDict")
    sys.modules["dnnlib.util"].EasyDict = easy  # type: ignore[attr-defined]
    arguments = easy(img_resolution=64, deeper=OrderedDict(a=1.5, b=None, c="d"), skipped=[1])
    content = module({"x": torch.ones(1)}, _init_kwargs=arguments)
    for protocol in (2, 3, 4, 5):
        path = written(Path("a.pkl"), {"G": content, "args": easy(a=1)}, protocol)
        with open_snapshot(path) as snapshot:
            assert list(snapshot.records) == ["G"]
            found = snapshot.network("G")
        assert found.arguments == {
            "img_resolution": 64,
            "deeper": {"a": 1.5, "b": None, "c": "d"},
        }


# Damaged files, and files that take more than they give.


@pytest.mark.parametrize(
    "opcodes",
    {
        "bytes": b"\x8e" + struct.pack("<Q", 1 << 62) + b"a",
        "bytes of 4 GB": b"B\xff\xff\xff\xff" + b"a",
        "text": b"\x8d" + struct.pack("<Q", 1 << 62) + b"a",
        "text of 4 GB": b"X\xff\xff\xff\xffa",
        "number": b"\x8b\xff\xff\xff\x7f1",
        "number below zero": b"\x8b\xff\xff\xff\xff1",
        "frame": b"\x95" + struct.pack("<Q", 1 << 63) + b"N.",
        "byte array": b"\x96" + struct.pack("<Q", 1 << 62) + b"a",
        "place in the memo": b"Nr\xff\xff\xff\xff.",
        "recalled place": b"j\xff\xff\xff\xff.",
        "digits": b"I" + b"9" * 100_000 + b"\n.",
        "recalled digits": b"g" + b"9" * 4_000 + b"\n.",
        "digits of a long": b"L" + b"9" * 100_000 + b"L\n.",
        "negative place": b"g-1\n.",
        "missing value": b"0.",
        "missing mark": b"t.",
        "missing dictionary": b"NNs.",
        "odd dictionary": b"(Nd.",
        "no arguments": b"R.",
        "arguments that are no tuple": b"cbuiltins\nset\nNR.",
        "a call of a call": b"cbuiltins\nset\n)R)R.",
        "a name that is no text": b"NN\x93.",
        "unknown opcode": b"\xff.",
        "text that is no text": b"X\x01\x00\x00\x00\xff.",
        "number that is no number": b"Iabc\n.",
        "quotes": b"S'abc\n.",
        "a long text of Python 2": b"T" + struct.pack("<i", 9999) + b"a" * 9999 + b".",
        "a line without end": b"c" + b"a" * 99_999,
        "only a mark": b"(.",
        "nothing": b".",
        "end": b"N",
        "no networks": b"N.",
        "a list": b"].",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_malformed_opcodes_take_neither_memory_nor_a_traceback(opcodes):
    tracemalloc.start()
    try:
        refused(b"\x80\x04" + opcodes[1])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize(
    "content",
    {
        "marks": b"(" * 50_000 + b".",
        "lists": b"(l" * 50_000 + b".",
        "tuples": b"N" + b"\x85" * 50_000 + b".",
        "tuples as a name": b"}" + b")" + b"\x85" * 50_000 + b"Ns.",
        "lists within lists": b"]" * 50_000 + b"a" * 49_999 + b".",
        "calls": b"\x80\x04" + b"ccollections\nOrderedDict\n)" * 50_000 + b"R" * 50_000 + b".",
        "too many": b"N0" * 250_001 + b"N.",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_deep_and_endless_pickles_are_refused(content):
    refused(content[1])


def test_values_nested_in_themselves_are_read_and_let_go():
    for looped in (b"]q\x00h\x00a", b"}q\x00" + text("a") + b"h\x00s"):
        said = refused(b"\x80\x02}" + text("G_ema") + looped + b"s.")
        assert "holds no network 'G_ema' but none" in said


def chain(depth: int, twice: bool) -> Call:
    below = module({"x": torch.ones(1)})
    for _ in range(depth):
        below = module({"a": below, "b": below} if twice else {"a": below})
    return below


def test_modules_nested_within_each_other_have_a_limit():
    path = written(Path("a.pkl"), {"G_ema": chain(MAX_MODULE_DEPTH, twice=False)})
    assert len(tensors_in(path, "G_ema")) == 1
    said = refused(written(Path("b.pkl"), {"G_ema": chain(MAX_MODULE_DEPTH + 1, twice=False)}))
    assert "within each other" in said


def test_modules_that_recall_each_other_without_end_are_refused():
    assert "more than 10000 modules" in refused(
        written(Path("bomb.pkl"), {"G_ema": chain(30, twice=True)})
    )
    state: dict[str, Any] = {"_modules": {}}
    looped = persistent(state)
    state["_modules"]["again"] = looped
    content = (
        b"\x80\x02}q\x00" + text("_modules") + b"}q\x01s"  # h0 = {"_modules": h1 = {}}
        b"0}" + text("G_ema") + b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}("
        + text("type") + text("class") + text("class_name") + text("x") + text("state") + b"h\x00u"
        b"\x85Rq\x02h\x01" + text("again") + b"h\x02s0s."
    )  # fmt: skip
    assert "within each other" in refused(content)


def rebuilt(storage: object, offset: object, shape: object, strides: object) -> Call:
    function = torch._utils._rebuild_tensor_v2  # type: ignore[attr-defined]
    return Call(function, storage, offset, shape, strides, False, OrderedDict())


def holding(*tensors: Call) -> Call:
    return persistent({"_buffers": {f"x{i}": tensor for i, tensor in enumerate(tensors)}})


@pytest.mark.parametrize(
    "view",
    {
        "beyond": (1, (4,), (1,)),
        "far beyond": (1 << 40, (4,), (1,)),
        "before": (-1, (4,), (1,)),
        "backwards": (3, (4,), (-1,)),
        "by a long stride": (0, (2,), (4,)),
        "enormous": (0, (1 << 40,), (0,)),
        "enormous in all": (0, (1 << 20, 1 << 20, 1 << 20), (0, 0, 0)),
        "beyond all numbers": (0, (1 << 70,), (0,)),
        "without numbers": (0, (0, 1 << 40), (1, 1)),
        "of many axes": (0, (1,) * 100, (1,) * 100),
        "of another number of strides": (0, (2, 2), (1,)),
        "of a fraction": (0, (2.0,), (1,)),
        "of a truth value": (False, (2,), (1,)),
        "of texts": (0, ("2",), (1,)),
        "of a list": (0, [2], [1]),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_views_have_to_lie_within_their_storage_and_be_no_larger_than_the_file(view):
    storage = torch.arange(4.0).storage()
    said = refused(written(Path("a.pkl"), {"G_ema": holding(rebuilt(storage, *view[1]))}))
    assert "holds a call of torch._utils._rebuild_tensor_v2 with" in said


def test_many_views_of_one_storage_may_not_outgrow_the_file():
    storage = torch.arange(100_000.0).storage()
    views = [rebuilt(storage, 0, (100_000,), (1,)) for _ in range(100)]
    few = written(Path("few.pkl"), {"G_ema": holding(*views[:3])})
    assert len(tensors_in(few, "G_ema")) == 3
    many = written(Path("many.pkl"), {"G_ema": holding(*views)})
    assert many.stat().st_size < 1e6
    assert "take more than the whole file" in refused(many)


@pytest.mark.parametrize(
    "content",
    {
        "no bytes": ("text",),
        "nothing": (b"",),
        "two arguments": (b"", b""),
        "another magic": (b"\x80\x02K\x01.\x80\x02K\x01.N.N.N.",),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_bytes_that_are_no_storage_are_refused(content):
    load = Call(torch.storage._load_from_bytes, *content[1])  # type: ignore[no-untyped-call]
    assert "is not a whole LAFITE" in refused(written(Path("a.pkl"), {"G_ema": load}))


def forged_storage(**changed: bytes) -> bytes:
    """Return a storage of two numbers, parts of its bytes changed."""
    parts = {
        "magic": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        "protocol": b"\x80\x02M\xe9\x03.",
        "system": b"\x80\x02}" + text("little_endian") + b"\x88s.",
        "described": b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
        + text("cpu") + b"K\x02NtQ.",
        "keys": b"\x80\x02]" + text("0") + b"a.",
        "count": struct.pack("<q", 2),
        "numbers": struct.pack("<ff", 1, 2),
    }  # fmt: skip
    return b"".join((parts | changed).values())


def test_a_storage_may_not_differ_from_what_it_says():
    load = torch.storage._load_from_bytes  # type: ignore[attr-defined]

    def path(**changed: bytes) -> Path:
        made = rebuilt(Call(load, forged_storage(**changed)), 0, (2,), (1,))
        return written(Path("a.pkl"), {"G_ema": holding(made)})

    assert tensors_in(path(), "G_ema")["x0"].tolist() == [1, 2]
    assert "big-endian" in refused(path(system=b"\x80\x02}" + text("little_endian") + b"\x89s."))
    assert "has 1099511627776 numbers, expected 2" in refused(
        path(count=struct.pack("<q", 1 << 40))
    )
    assert "8 bytes are announced where 7 follow" in refused(path(numbers=b"1234567"))
    assert "8 bytes follow its last storage" in refused(path(numbers=b"12345678" * 2))
    many = b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    many += b"J\xff\xff\xff\x7fNtQ."
    count = struct.pack("<q", (1 << 31) - 1)
    assert "8589934588 bytes are announced where 8 follow" in refused(
        path(described=many, count=count)
    )
    asked = forged_storage().replace(b"FloatStorage", b"QInt8Storage")
    other = written(Path("a.pkl"), {"G_ema": holding(rebuilt(Call(load, asked), 0, (2,), (1,)))})
    assert "torch.QInt8Storage" in refused(other)


def test_truncated_files_are_refused():
    whole = (GOLDEN / "lafite_single_head_tiny.pkl").read_bytes()
    for length in [*range(1, 200), *range(200, len(whole), len(whole) // 40), len(whole) - 1]:
        assert "is not a whole LAFITE" in refused(whole[:length])


@pytest.mark.parametrize("file", ["lafite_single_head_tiny.pkl", "malicious_marker.pkl"])
def test_files_with_changed_bytes_are_read_or_refused_in_a_sentence(file):
    whole = (GOLDEN / file).read_bytes()
    drawn = torch.Generator().manual_seed(0)
    for _ in range(100):
        changed = bytearray(whole)
        for place in torch.randint(len(whole), (3,), generator=drawn).tolist():
            changed[place] = int(torch.randint(256, (), generator=drawn))
        Path("changed.pkl").write_bytes(changed)
        try:
            everything(Path("changed.pkl"))
        except CheckpointError as error:
            assert str(error).isprintable()  # noqa: PT017 (it may also be read)
    assert not Path("pwned").exists()


def test_random_bytes_are_refused_in_a_sentence():
    drawn = torch.Generator().manual_seed(0)
    for length in range(1, 400):
        content = torch.randint(256, (length,), generator=drawn, dtype=torch.uint8)
        refused(b"\x80\x04" + content.numpy().tobytes())


def test_what_is_no_file_of_a_snapshot_is_said():
    assert "there is no file" in refused(Path("absent.pkl"))
    Path("folder.pkl").mkdir()
    assert "there is no file" in refused(Path("folder.pkl"))
    assert "it is empty" in refused(b"")
    torch.save({"x": torch.ones(1)}, "archive.pkl")
    assert "an archive, as torch.save writes" in refused(Path("archive.pkl"))
    assert "it is a web page" in refused(b"<!DOCTYPE html><html>Google Drive - Quota exceeded")
    assert "holds a list" in refused(b"].")
