"""Torch's files give the bytes that torch's own reader, told to run nothing, gives.

This is the one module in which `torch.load` may stand: as what the reader here is compared with.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter, OrderedDict
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_pickles import (
    call,
    many,
    name,
    number,
    old,
    pickled,
    refused,
    saved,
)
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans, data, integers, lists, permutations, sampled_from

from brainkit.errors import CheckpointError
from brainkit.weights.open import open_weights

ONE_FOLDER = [HealthCheck.function_scoped_fixture]
"""All examples of a test may share its folder."""


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs, if at all."""
    monkeypatch.chdir(tmp_path)


def whole() -> dict[str, Any]:
    """Return all that training programs put beside tensors, and tensors of many kinds."""
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    return {
        "plain": base.clone(),
        "turned": base.T,
        "part": base[1:3, 2:5],
        "half": base.half(),
        "brain": base.to(torch.bfloat16),
        "double": base.double(),
        "whole": torch.arange(5),
        "truth": base > 0,
        "complex": torch.complex(base, base),
        "none": torch.zeros(0, 3),
        "single": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(base.clone()),
        "nested": network.state_dict(),
        "epoch": 3,
        "loss": 0.5,
        "note": "a text",
        "bytes": b"some",
        "flags": {1, 2},
        "counts": Counter("abca"),
        "ordered": OrderedDict(a=1),
        "shape": base.shape,
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "list": [1, (2, None, True)],
        "large": 10**30,
        "optimizer": torch.optim.Adam(network.parameters()).state_dict(),
    }


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "net"])
@pytest.mark.parametrize("archive", [True, False])
def test_genuine_files_give_the_bytes_of_their_tensors(archive: bool, wrapper: str) -> None:
    values = whole()
    content = {wrapper: values, "epoch": 1} if wrapper else values
    tensors = {n: each for n, each in values.items() if isinstance(each, torch.Tensor)}
    with open_weights(saved(Path("a.pth"), content, archive=archive)) as opened:
        assert opened.entries.keys() == tensors.keys()
        for key, each in tensors.items():
            assert opened.entries[key].shape == tuple(each.shape)
            flat = each.detach().contiguous().reshape(-1)
            assert opened.read(key) == flat.view(torch.uint8).numpy().tobytes()
        assert opened.entries["brain"].dtype == "BF16"
        assert opened.entries["truth"].dtype == "torch.bool"


def test_the_table_of_tensors_wins_over_tensors_beside_it() -> None:
    content = {"state_dict": {"module.a": torch.ones(2)}, "b": torch.ones(3)}
    with open_weights(saved(Path("a.tar"), content)) as opened:
        assert set(opened.entries) == {"module.a"}
    content = {"model": {"a": torch.ones(2)}, "b": torch.ones(3)}
    with open_weights(saved(Path("a.pt"), content)) as opened:
        assert set(opened.entries) == {"b"}


def test_tensors_of_other_kinds_are_named_as_such() -> None:
    values = {
        "a": torch.zeros(4).to_sparse(),
        "b": torch.zeros(4, device="meta"),
        "c": torch.ones(1),
    }
    with open_weights(saved(Path("a.pth"), values)) as opened:
        assert opened.entries["c"] == ("F32", (1,))
        assert opened.entries["a"].dtype == "torch.sparse_coo tensor"
        assert opened.entries["b"].dtype == "meta tensor"


def test_a_file_without_named_tensors_is_told_so() -> None:
    content = saved(Path("a.pth"), [torch.ones(2)]).read_bytes()
    assert "it holds a list in place of named tensors" in refused(content)


def test_files_as_python_2_wrote_them_are_read() -> None:
    """Short texts, tensors of four arguments, and a table made of the list of its pairs."""
    key = b"U\x01a"
    kind, numbers = name("torch", "FloatStorage"), struct.pack("<Q4f", 4, 1, 2, 3, 4)
    mine = many(b"U\x07storage", kind, b"U\x01k", b"U\x03cpu", number(4), b"N") + b"Q"
    sizes = many(number(2), number(2)), many(number(1), number(2))
    made = call("torch._utils", "_rebuild_tensor", mine, number(0), *sizes)
    pairs = call("collections", "OrderedDict", b"]](" + key + made + b"ea")
    path = Path("a.pth")
    path.write_bytes(old(pickled(pairs), b"]U\x01ka", numbers))
    with open_weights(path) as opened:
        assert opened.entries == {"a": ("F32", (2, 2))}
        assert opened.read("a") == struct.pack("<4f", 1, 3, 2, 4)


DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32),
    *(torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128),
)


def bits(tensor: torch.Tensor) -> bytes:
    """Return a tensor's bytes, row-major."""
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype)
    flat.view(tensor.shape).copy_(tensor.detach())
    content: bytes = flat.view(torch.uint8).numpy().tobytes()
    return content


def named(loaded: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {str(n): each for n, each in loaded.items() if isinstance(each, torch.Tensor)}


def assert_same(path: Path) -> None:
    """Compare what is read with what torch reads."""
    theirs = named(torch.load(path, weights_only=True))
    with open_weights(path) as ours:
        assert ours.entries.keys() == theirs.keys()
        for key, tensor in theirs.items():
            assert ours.entries[key].shape == tuple(tensor.shape)
            assert ours.read(key) == bits(tensor), key


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_view_is_read_as_torch_reads_it(archive: bool, dtype: torch.dtype) -> None:
    drawn = torch.randint(0, 100, (6, 5), generator=torch.Generator().manual_seed(0))
    whole = (drawn / 7).to(dtype) if dtype.is_floating_point else drawn.to(dtype)
    views = {
        "whole": whole,
        "turned": whole.T,
        "part": whole[2:5:2, 1:4],
        "column": whole[:, 3],
        "row": whole[4],
        "flat": whole.reshape(-1)[7:],
        "spread": whole[:1, :1].expand(3, 4),
        "repeated": whole[:1].expand(6, 5),
        "single": whole[3, 3],
        "none": whole[:0],
        "none of a column": whole[2:2, 1],
        "one by one": whole[2:3, 2:3],
        "deep": whole.reshape(2, 3, 5).permute(2, 0, 1),
        "last of a few": whole[:, None, ::2],
    }
    if dtype.is_floating_point:
        views["parameter"] = torch.nn.Parameter(whole.clone())
    assert_same(saved(Path("a.pth"), views, archive=archive))


@given(
    shape=lists(integers(0, 5), max_size=4),
    data=data(),
    archive=booleans(),
    dtype=sampled_from(DTYPES),
)
@settings(max_examples=150, deadline=None, suppress_health_check=ONE_FOLDER)
def test_any_view_of_a_storage_is_read_as_torch_reads_it(
    shape: list[int], data: Any, archive: bool, dtype: torch.dtype
) -> None:
    view = torch.arange(prod(shape)).to(dtype).reshape(shape)
    view = view.permute(data.draw(permutations(range(len(shape)))))
    for axis in range(view.ndim):
        start = data.draw(integers(0, 2))
        view = view[(slice(None),) * axis + (slice(start, None, data.draw(integers(1, 3))),)]
    assert_same(saved(Path("a.pth"), {"a": view, "b": view.clone()}, archive=archive))


@pytest.mark.parametrize("archive", [True, False])
def test_storages_that_share_a_file_are_read_as_torch_reads_them(archive: bool) -> None:
    torch.manual_seed(0)
    base = torch.randn(40)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    tied = {"a": base, "b": base[10:], "c": base.view(5, 8).T, **network.state_dict()}
    assert_same(saved(Path("a.pth"), tied, archive=archive))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.complex64])
def test_big_endian_archives_are_read_as_torch_reads_them(dtype: torch.dtype) -> None:
    content = saved(Path("a.pth"), {"a": torch.arange(6).to(dtype).reshape(2, 3).T}).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(each.filename, archive.read(each)) for each in archive.infolist()]
    with zipfile.ZipFile("b.pth", "w") as archive:
        for member, data in members:
            archive.writestr(member, b"big" if member.endswith("/byteorder") else data)
    assert_same(Path("b.pth"))
    with open_weights(Path("a.pth")) as plain, open_weights(Path("b.pth")) as swapped:
        assert (plain.read("a") == swapped.read("a")) is (dtype is torch.int8)


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_cut_off_while_it_is_open_is_an_error(archive: bool) -> None:
    tensors = {"a": torch.ones(100_000), "b": torch.ones(300, 300).T}
    path = saved(Path("a.pth"), tensors, archive=archive)
    with open_weights(path) as opened, open(path, "r+b") as file:
        file.truncate(2000)
        for key in opened.entries:
            with pytest.raises(CheckpointError, match="was cut off while it was read"):
                opened.read(key)


def test_reading_leaves_the_numbers_in_the_file() -> None:
    for archive in (True, False):
        path = saved(Path("a.pth"), {n: torch.ones(10**6) for n in "abc"}, archive=archive)
        tracemalloc.start()
        with open_weights(path) as opened:
            assert len(opened.entries) == 3
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert path.stat().st_size > 12e6
        assert peak < 1e6


def test_reading_needs_no_torch() -> None:
    saved(Path("a.pth"), {"a": torch.arange(6.0).reshape(2, 3).T})
    script = (
        "import sys; from pathlib import Path; from brainkit.weights.open import open_weights\n"
        "with open_weights(Path('a.pth')) as opened: assert len(opened.read('a')) == 24\n"
        "print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "False\n", ended.stderr
