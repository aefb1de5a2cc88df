"""NaN and infinity in weights: refused when they are converted, told when they are verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import floats, lists
from safetensors.torch import save_file

from brainkit.checkpoints.finite import BLOCK, count_unfinite, unfinite_tensors
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.fetch.inventory import state
from brainkit.weights.convert import ReleasedFiles, convert

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
INFINITE = (float("inf"), float("-inf"), float("nan"))


@pytest.mark.parametrize("dtype", DTYPES)
@given(numbers=lists(floats(width=16), max_size=20))
def test_numbers_are_counted_as_torch_counts_them(dtype: str, numbers: list[float]) -> None:
    tensor = torch.tensor(numbers, dtype=DTYPES[dtype])
    content = tensor.view(torch.uint8).numpy().tobytes()
    assert count_unfinite(content, dtype) == int((~tensor.isfinite()).sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_are_finite_and_nan_of_every_bit_pattern_is_not(dtype: str) -> None:
    limits = torch.finfo(DTYPES[dtype])
    largest = torch.tensor([limits.max, limits.tiny], dtype=DTYPES[dtype])
    content = largest.view(torch.uint8).numpy().tobytes()
    assert count_unfinite(content, dtype) == 0
    # All bits set is a negative NaN with a payload.
    assert count_unfinite(b"\xff" * 8, dtype) == 8 // (len(content) // 2)


def test_other_kinds_of_numbers_have_neither() -> None:
    assert count_unfinite(b"\xff" * 16, "I64") == 0


def test_tensors_of_several_blocks_are_looked_at_to_their_end(tmp_path: Path) -> None:
    long = torch.zeros(BLOCK // 2 + 10, dtype=torch.float16)
    long[0] = long[-1] = float("inf")
    save_file({"long": long, "whole": torch.ones(3), "none": torch.ones(0)}, tmp_path / "a")
    assert list(unfinite_tensors(tmp_path / "a")) == [("long", 2, len(long))]


def released(path: Path, value: float) -> Path:
    """Save a file of the toy network with two numbers of one tensor exchanged."""
    tensors = {n: torch.ones(6, 4) for n in ("net.w", "net.qkv")}
    tensors |= {"net.b": torch.ones(6), "net.head": torch.ones(2, 3)}
    tensors["net.w"][2, 1] = tensors["net.w"][5, 3] = value
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("value", INFINITE)
def test_a_conversion_names_the_tensor_and_keeps_nothing(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "toys"))
    path = released(tmp_path / "net.pth", value)
    with pytest.raises(CheckpointError, match=r"has 2 numbers of 24 in tensor w of toy-net that"):
        convert(["toy_released:NET"], ReleasedFiles((path,)), tmp_path / "store")
    assert not (tmp_path / "store/toy-net").exists()
    assert not (tmp_path / "store/toy-net.part").exists()
    convert(["toy_released:NET"], ReleasedFiles((released(path, 2.0),)), tmp_path / "store")


@pytest.mark.parametrize("value", INFINITE)
def test_verification_tells_what_the_store_has_of_it(value: float, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({}))
    names = {f"w{i}\x1b[2J": torch.tensor([1.0, value]) for i in range(7)}
    save_file(names, folder / "model.safetensors")
    assert state(Checkpoint("toy"), tmp_path).there
    found = state(Checkpoint("toy"), tmp_path, verify=True)
    assert found.word == "damaged"
    assert "model.safetensors has numbers that are NaN or infinite" in found.why
    assert "'w0\\x1b[2J' has 1 of 2" in found.why
    assert "and 2 more" in found.why
    assert found.why.isprintable()
