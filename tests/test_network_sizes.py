"""Sizes in a checkpoint's config.json that no network has are refused, and not built."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from brainkit.checkpoints import CheckpointStore
from brainkit.checkpoints.limits import LARGEST_SIZE
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.networks.assemble import SLACK, assemble
from brainkit.networks.autokl import KL_F8
from brainkit.networks.autokl.network import load_autokl
from brainkit.networks.clip import CLIP_L14
from brainkit.networks.clip.network import load_network

GIGABYTE = 1 << 30
Loading = Callable[[CheckpointStore], object]
NETWORKS: dict[str, tuple[Checkpoint, Loading]] = {
    "vision": (CLIP_L14, lambda store: load_network(store, CLIP_L14, "vision")),
    "text": (CLIP_L14, lambda store: load_network(store, CLIP_L14, "text")),
    "autokl": (KL_F8, load_autokl),
}
SIZES = [
    ("vision", "vision_config.num_hidden_layers", 10**6),
    ("vision", "vision_config.num_hidden_layers", 10**12),
    ("vision", "vision_config.hidden_size", 2 * 10**9),
    ("vision", "vision_config.intermediate_size", 10**9),
    ("vision", "vision_config.image_size", 2 * 10**9),
    ("vision", "vision_config.patch_size", 0),
    ("vision", "projection_dim", 10**9),
    ("text", "text_config.num_hidden_layers", 10**6),
    ("text", "text_config.vocab_size", 2 * 10**9),
    ("text", "text_config.max_position_embeddings", 2 * 10**9),
    ("text", "text_config.max_position_embeddings", 10**30),
    ("autokl", "layers_per_block", 10**6),
    ("autokl", "block_out_channels", [24] * 10**5),
    ("autokl", "block_out_channels", [24, 48, 2 * 10**9]),
    ("autokl", "latent_channels", 10**9),
    ("autokl", "norm_num_groups", 10**9),
]


@contextmanager
def walled() -> Iterator[None]:
    """Allow ten seconds of this process and a gigabyte beyond what it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + GIGABYTE, before[1]))
    began = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - began < 10


def altered(folder: Path, checkpoint: Checkpoint, key: str, value: Any) -> CheckpointStore:
    """Return a store with a checkpoint of the miniature, one size of which is another."""
    package, _, path = checkpoint.miniature.partition(":")
    shutil.copytree(Path(str(files(package).joinpath(path))), folder / checkpoint.name)
    place = folder / checkpoint.name / "config.json"
    config = json.loads(place.read_text())
    *way, last = key.split(".")
    table = config
    for name in way:
        table = table[name]
    assert last in table
    table[last] = value
    place.write_text(json.dumps(config))
    return CheckpointStore(folder)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory are Linux's")
@pytest.mark.parametrize(("network", "key", "value"), SIZES)
def test_absurd_sizes_are_refused_in_ten_seconds_and_a_gigabyte(network, key, value, tmp_path):
    checkpoint, load = NETWORKS[network]
    store = altered(tmp_path, checkpoint, key, value)
    with walled(), pytest.raises(CheckpointError, match=checkpoint.name) as caught:
        load(store)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("number", [LARGEST_SIZE, -LARGEST_SIZE, 10**40])
def test_a_number_that_no_network_has_is_named(number, tmp_path):
    store = altered(tmp_path, KL_F8, "block_out_channels", [32, number])
    with pytest.raises(CheckpointError, match=f"its block_out_channels is {number}, sizes are"):
        store.config(KL_F8)


def test_a_network_may_have_more_parts_than_weights():
    made = assemble(
        lambda: nn.Sequential(*(nn.ReLU() for _ in range(SLACK * SLACK - 1))), {}, "net"
    )
    assert len(made) == SLACK * SLACK - 1
    with pytest.raises(CheckpointError, match=r"'net' makes no network .* than the 0 tensors"):
        assemble(lambda: nn.Sequential(*(nn.ReLU() for _ in range(SLACK * SLACK + 1))), {}, "net")
    # What is built elsewhere is not counted.
    assert len(nn.Sequential(*(nn.ReLU() for _ in range(SLACK * SLACK + 1)))) > SLACK * SLACK


def test_what_a_constructor_says_of_a_size_is_told():
    with pytest.raises(CheckpointError, match=r"config.json of checkpoint 'net' makes no network"):
        assemble(lambda: nn.Linear("wide", 2), {}, "net")
