"""Files with weights: safetensors and their indices, whole, odd and malformed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from brainkit.checkpoints.safetensors import check_header
from brainkit.errors import CheckpointError
from brainkit.weights import Naming, Piece, Release
from brainkit.weights.conversion import conversions
from brainkit.weights.open import open_weights


def test_a_file_cut_off_while_it_is_open_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(4)}, path)
    with open_weights(path) as opened:
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(CheckpointError, match="was cut off while it was read"):
            opened.read("a")


def test_a_missing_file_and_another_kind_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    for name, words in (("no.bin", "there is no file"), ("a.png", "is no file with weights")):
        with pytest.raises(CheckpointError, match=words), open_weights(tmp_path / name):
            pass
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        check_header(tmp_path / "no.safetensors")


def sharded(folder: Path, **extra: str) -> Path:
    """Write two shards and their index."""
    save_file({"a": torch.ones(2), "b": torch.zeros(3)}, folder / "m-1-of-2.safetensors")
    save_file({"c": torch.arange(4.0)}, folder / "m-2-of-2.safetensors")
    listed = {"a": "m-1-of-2.safetensors", "b": "m-1-of-2.safetensors", "c": "m-2-of-2.safetensors"}
    path = folder / "m.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": listed | extra}))
    return path


def test_shards_are_read_as_one_file(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    with open_weights(path) as opened:
        assert opened.path == path
        assert opened.entries == {n: ("F32", (k,)) for n, k in (("a", 2), ("b", 3), ("c", 4))}
        assert opened.read("c") == torch.arange(4.0).numpy().tobytes()
        assert [shard.name for shard in opened.shards] == [
            f"m-{n}-of-2.safetensors" for n in (1, 2)
        ]


def test_a_tensor_in_two_shards_is_taken_as_listed(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    save_file(
        {"c": torch.arange(4.0), "a": torch.full((2,), 7.0)}, tmp_path / "m-2-of-2.safetensors"
    )
    with open_weights(path) as opened:
        assert opened.read("a") == torch.ones(2).numpy().tobytes()


def test_tensors_that_no_index_lists_are_shown_too(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    save_file({"c": torch.arange(4.0), "d": torch.ones(1)}, tmp_path / "m-2-of-2.safetensors")
    with open_weights(path) as opened:
        assert opened.entries["d"] == ("F32", (1,))


def index_of(listed: object) -> Callable[[Path], object]:
    return lambda folder: (folder / "m.safetensors.index.json").write_text(json.dumps(listed))


SHARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (
        lambda folder: (folder / "m-2-of-2.safetensors").unlink(),
        "lists m-2-of-2.safetensors, which is not beside it",
    ),
    "absent tensor": (
        lambda folder: sharded(folder, x="m-2-of-2.safetensors"),
        "lists x in m-2-of-2.safetensors, but it is not there",
    ),
    "damaged shard": (
        lambda folder: (folder / "m-2-of-2.safetensors").write_bytes(b"12345678"),
        "m-2-of-2.safetensors is not a whole safetensors file",
    ),
    "no JSON": (lambda folder: (folder / "m.safetensors.index.json").write_text("{"), "not JSON"),
    "no map": (index_of({"metadata": {}}), "it has no weight_map"),
    "empty map": (index_of({"weight_map": {}}), "it has no weight_map"),
    "list for a map": (index_of([1]), "it has no weight_map"),
    "number for a file": (index_of({"weight_map": {"a": 1}}), "names the file 1, expected a text"),
    "deep nesting": (
        lambda folder: (folder / "m.safetensors.index.json").write_text("[" * 100_000),
        "not JSON",
    ),
}


@pytest.mark.parametrize("case", SHARDS)
def test_damaged_shards_are_named(case: str, tmp_path: Path) -> None:
    path = sharded(tmp_path)
    damage, words = SHARDS[case]
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=words) as caught, open_weights(path):
        pass
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        *("../m-1-of-2.safetensors", "/etc/x.safetensors", "a/m.safetensors", "..\\m.safetensors"),
        *("C:m.safetensors", "", ".", "..", "m\0.safetensors", "m\n.safetensors", "m.pkl"),
        *("m.safetensors.index.json", "./m-1-of-2.safetensors", "~/m|.safetensors"),
    ],
)
def test_names_of_shards_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = sharded(folder, a=name)
    save_file({"a": torch.ones(2)}, tmp_path / "m-1-of-2.safetensors")
    with pytest.raises(CheckpointError, match="names the file") as caught, open_weights(path):
        pass
    assert str(caught.value).isprintable()


def test_a_conversion_names_the_shards_it_is_made_of(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    layout = Naming("sharded", ((path.name,),), lambda _, names: {n: Piece(n) for n in names[0]})
    release = Release("net", (), {}, lambda _: {"a": (2,), "b": (3,), "c": (4,)}, (layout,))
    with ExitStack() as stack:
        (found,) = conversions([release], [tmp_path], None, stack)
        assert found.read("c") == torch.arange(4.0).numpy().tobytes()
    names = [path.name, "m-1-of-2.safetensors", "m-2-of-2.safetensors"]
    assert [file.name for file in found.files] == names


MEASURED = """
import sys
from pathlib import Path

import safetensors, torch

from brainkit.checkpoints.safetensors import write_safetensors
from brainkit.weights.open import open_weights

def resident(word):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(word))

torch.zeros(1).numpy()
before, source, target = resident("VmRSS:"), Path(sys.argv[1]), Path(sys.argv[2])
with open_weights(source) as opened:
    write_safetensors(target, opened.entries, opened.read)
print(resident("VmHWM:") - before)
"""

"""Resident bytes at most, beyond the interpreter with torch imported; mapped pages count."""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("form", ["archive", "old", "safetensors"])
@pytest.mark.parametrize("count", [1_000_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
def test_files_are_converted_within_a_quarter_of_their_size(
    count: int, form: str, tmp_path: Path
) -> None:
    source = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    target = tmp_path / "b.safetensors"
    tensors = {f"t{n}": torch.full((count,), float(n)) for n in range(14)}
    tensors["turned"] = torch.arange(float(count)).reshape(1000, -1).T
    if form == "safetensors":
        save_file({name: each.contiguous() for name, each in tensors.items()}, source)
    else:
        torch.save(tensors, source, _use_new_zipfile_serialization=form == "archive")
    size = source.stat().st_size
    assert size > 60 * count
    command = [sys.executable, "-c", MEASURED, str(source), str(target)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    source.unlink()
    with safe_open(target, framework="pt") as written:
        assert all(torch.equal(written.get_tensor(name), each) for name, each in tensors.items())
    target.unlink()
    peak = int(ended.stdout)
    # One tensor at a time is in memory, of 15, and once more when it has to be turned.
    assert peak < 0.25 * size, f"{peak / size:.2f} times the file"
