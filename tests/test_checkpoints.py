"""The weight store: where weights lie, in which dtype they come, and how much memory they take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError

TOY = Checkpoint("toy", source="somewhere")
FETCHED = Checkpoint("toy", source="somewhere", release="toys:TOY")
TENSORS = {
    "net.weight": torch.tensor([[1.0, -2.5], [0.125, 3.0]]).bfloat16(),
    "net.places": torch.arange(3),
    "other": torch.tensor([1.0009765625]),
}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    folder = tmp_path / "toy"
    folder.mkdir()
    save_file(TENSORS, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"side": 2}))
    return CheckpointStore(tmp_path)


def test_floating_point_tensors_come_as_float32_unless_asked_otherwise(store):
    loaded = store.load(TOY)
    assert {n: t.dtype for n, t in loaded.items()} == {
        "net.weight": torch.float32, "net.places": torch.int64, "other": torch.float32
    }  # fmt: skip
    assert loaded["net.weight"].tolist() == [[1.0, -2.5], [0.125, 3.0]]


def test_tensors_come_in_the_dtype_asked_for_without_their_prefix(store):
    loaded = store.load(TOY, "net.", torch.bfloat16)
    assert set(loaded) == {"weight", "places"}
    assert loaded["weight"].dtype == torch.bfloat16
    assert loaded["places"].tolist() == [0, 1, 2]
    # bfloat16 has 8 bits of precision: 1 + 2**-10 rounds to 1.
    assert store.load(TOY, "other", torch.bfloat16)[""].tolist() == [1.0]


def test_changing_a_loaded_tensor_leaves_the_file_as_it_is(store):
    store.load(TOY, "net.", torch.bfloat16)["weight"].zero_()
    assert store.load(TOY)["net.weight"].tolist() == [[1.0, -2.5], [0.125, 3.0]]


PROGRAM = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint

def private():  # pages of this process alone, in MB; those of mapped files are not among them
    fields = dict(l.split(":") for l in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024

root = Path(sys.argv[1])
if sys.argv[2] == "write":
    (root / "toy").mkdir()
    save_file({f"{i}.weight": torch.ones(4096, 1024, dtype=torch.bfloat16) for i in range(12)},
              root / "toy" / "model.safetensors")
else:
    with torch.device("meta"):
        network = torch.nn.ModuleList(
            torch.nn.Linear(1024, 4096, bias=False, dtype=torch.bfloat16) for _ in range(12))
    torch.ones(8, 1024, dtype=torch.bfloat16) @ torch.ones(1024, 8, dtype=torch.bfloat16)
    before = private()
    network.load_state_dict(CheckpointStore(root).load(Checkpoint("toy"), dtype=torch.bfloat16),
                            strict=True, assign=True)
    total = sum(each.weight.float().sum().item() for each in network)
    print(total, private() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="counts pages as Linux does")
def test_weights_in_the_dtype_of_the_file_are_not_held_in_memory_twice(tmp_path):
    def run(what: str) -> str:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), what]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    run("write")
    total, grown = map(float, run("load").split())
    assert total == 12 * 4096 * 1024
    # 101 MB of weights; summing one as float32 takes 17 MB of its own for a moment.
    assert grown < 40


def test_missing_weights_say_how_to_fetch_or_place_them(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        CheckpointStore(tmp_path).load(FETCHED)
    said = str(caught.value)
    assert "run `brainkit fetch toy`" in said
    assert "docs/weights.md" in said
    assert str(tmp_path / "toy" / "model.safetensors") in said


def test_weights_that_cannot_be_fetched_say_where_they_are_placed(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        CheckpointStore(tmp_path).load(TOY)
    assert "brainkit fetch" not in str(caught.value)
    assert "somewhere" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_cut_off_file_is_one_clear_sentence(store, keep):
    path = store.root / "toy" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError) as caught:
        store.load(FETCHED)
    said = str(caught.value)
    assert str(path) in said
    assert "brainkit fetch toy" in said
    assert "\n" not in said


def test_a_damaged_configuration_is_named(store):
    (store.root / "toy" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is not a network configuration"):
        store.config(TOY)


def test_a_checkpoint_without_a_miniature_is_not_there_among_miniatures():
    store = CheckpointStore(Path(), miniature=True)
    assert not store.has(Checkpoint("large"))
    with pytest.raises(CheckpointError, match="'large' has no miniature; give --nsd"):
        store.folder(Checkpoint("large"))
