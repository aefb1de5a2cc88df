"""State dicts as training programs save them, and what is told where their tensors are unclear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forged_pickles import archived, call, many, name, pickled, refused, saved, table, tensor, text

from brainkit.errors import CheckpointError
from brainkit.weights.convert import ReleasedFiles, convert
from brainkit.weights.open import open_weights

TENSORS = {"net.w": torch.ones(6, 4), "net.b": torch.ones(6), "net.qkv": torch.ones(6, 4),
           "net.head": torch.ones(2, 3)}  # fmt: skip


def prefixed(before: str) -> dict[str, torch.Tensor]:
    return {f"{before}{name}": each for name, each in TENSORS.items()}


SAVED: dict[str, Any] = {
    "DataParallel": prefixed("module."),
    "torch.compile": prefixed("_orig_mod."),
    "both": prefixed("module._orig_mod."),
    "model_state_dict": {"model_state_dict": TENSORS, "epoch": 3},
    "DeepSpeed": {"module": TENSORS, "ds_version": "0.1"},
    "average alone": {"ema": TENSORS, "step": 3},
    "any key": {"generator_of_pictures": prefixed("module."), "epoch": 1},
    "model beside its average": {"ema": prefixed("average."), "model": TENSORS},
    "two levels": {"run": {"weights": TENSORS, "args": {"lr": 0.1}}, "epoch": 1},
    "with an optimiser": {
        "weights": TENSORS,
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{}]},
    },
    "with numbers of NumPy": {
        "state_dict": TENSORS,
        "loss": np.float64(0.1),
        "best": [np.float32(2), np.int64(3), np.bool_(True)],
    },
}


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("form", SAVED)
def test_state_dicts_as_people_save_them_are_read(
    form: str, archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "toys"))
    path = saved(tmp_path / "net.pth", SAVED[form], archive=archive)
    (done,) = convert(["toy_released:NET"], ReleasedFiles((path,)), tmp_path / "store")
    assert done.tensors == 6


UNCLEAR: dict[str, tuple[Any, str]] = {
    "other names": (
        {"a.w": torch.ones(2), "b\x1b[2J": torch.ones(2)},
        r"2 tensors, but none of toy-net \(its names are 'a\.w', 'b\\x1b\[2J'\);",
    ),
    "two tables": (
        {"one": prefixed("x."), "two": prefixed("y."), "epoch": 1},
        r"0 tensors, but none of toy-net \(no single table of tensors is under its keys 'one'",
    ),
    "no tensors": ({"epoch": 1}, "no single table of tensors is under its keys 'epoch'"),
    "nothing": ({}, "has 0 tensors, but none of toy-net; give"),
    "many names": (
        {f"w{i}": torch.ones(1) for i in range(9)},
        r"its names are 'w0', 'w1', 'w2', 'w3', 'w4' and 4 more\)",
    ),
}


@pytest.mark.parametrize("form", UNCLEAR)
def test_names_and_keys_are_told_where_tensors_are_not_found(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "toys"))
    content, words = UNCLEAR[form]
    path = saved(tmp_path / "net.pth", content)
    with pytest.raises(CheckpointError, match=words):
        convert(["toy_released:NET"], ReleasedFiles((path,)), tmp_path / "store")


def test_a_prefix_that_some_names_lack_stays(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"module.a": torch.ones(1), "b": torch.ones(2)})
    with open_weights(path) as opened:
        assert set(opened.unwrapped.entries) == {"module.a", "b"}


def test_without_the_prefix_the_same_numbers_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"module.a": torch.arange(3.0)})
    with open_weights(path) as opened:
        assert opened.unwrapped.read("a") == opened.read("module.a")


KIND = call("numpy", "dtype", text("f8"))
ODD_NUMBERS = {
    "objects": (call("numpy", "dtype", text("O8")), "a call of numpy.dtype with ('O8',)"),
    "of no dtype": (
        call("numpy.core.multiarray", "scalar", text("f8"), text("x")),
        "a call of numpy.core.multiarray.scalar with a str and a str",
    ),
    "of bytes elsewhere": (
        call("numpy._core.multiarray", "scalar", KIND, tensor()),
        "scalar with a numpy.dtype object and a Tensor",
    ),
    "with a state": (KIND + many(tensor()) + b"b", "a state for a numpy.dtype object"),
}


@pytest.mark.parametrize("case", ODD_NUMBERS)
def test_only_numbers_of_numpy_are_taken(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value, words = ODD_NUMBERS[case]
    assert words in refused(archived(pickled(table(a=tensor(), x=value))))


def test_arrays_of_numpy_stay_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = name("numpy.core.multiarray", "_reconstruct")
    assert "numpy.core.multiarray._reconstruct, code" in refused(archived(pickled(asked)))
