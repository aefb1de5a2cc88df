"""What is published enters the store whole, gives the golden pictures, and takes little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from snapshot_files import network, written
from tiny_gan import close, golden, tiny_shape
from torchvision.models import resnet50

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.weights.conversion import conversions
from brainkit.weights.writing import write
from brainkit_mindreader import released
from brainkit_mindreader.checkpoints import DISCRIMINATOR, GENERATOR
from brainkit_mindreader.generator.discriminator import Discriminator
from brainkit_mindreader.generator.network import Generator, GeneratorShape
from brainkit_mindreader.generator.views import RESNET50, load_resnet_view
from brainkit_mindreader.loading import load_generator

MANIFESTS = Path(__file__).parent / "golden" / "manifests"


def convert(source: Path, store: Path, *wanted: str) -> None:
    """Convert without a record."""
    with ExitStack() as stack:
        releases = [getattr(released, each) for each in wanted]
        for each in conversions(releases, [source], None, stack):
            (store / each.checkpoint).mkdir(parents=True)
            write(each, store / each.checkpoint)


# Both layouts of snapshots.


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> CheckpointStore:
    """A store with the golden pair, which came as a snapshot."""
    folder, shape = tmp_path_factory.mktemp("released"), tiny_shape()
    clamp = {"conv_clamp": shape.conv_clamp}
    made = network(golden("generator_state"), synthesis_kwargs=clamp)
    judge = network(golden("discriminator_state"), "Discriminator", **clamp)
    source = written(folder / "pair.pkl", {"G": made, "D": judge, "G_ema": made})
    convert(source, folder, "GENERATOR", "DISCRIMINATOR")
    return CheckpointStore(folder)


def test_a_converted_snapshot_makes_the_golden_pictures(stored):
    numbers, made = golden("generator_io"), load_generator(stored)
    conditions = [numbers["cond_1"], numbers["cond_2"]]
    close(made(numbers["z"], conditions), numbers["image_const"])
    close(made(torch.zeros_like(numbers["z"]), conditions), numbers["image_const_zero_z"])


def test_a_converted_discriminator_gives_the_golden_verdicts(stored):
    numbers = golden("discriminator_io")
    judge = Discriminator.of(stored.config(DISCRIMINATOR))
    judge.load_state_dict(stored.load(DISCRIMINATOR), strict=True)
    with torch.no_grad():
        verdict = judge(numbers["image"], [numbers["cond_1"], numbers["cond_2"]])
    close(verdict.logit, numbers["logits"])
    close(verdict.heads, (numbers["head_1"], numbers["head_2"]))


def test_a_single_head_is_stored_as_it_is_and_serves_two_embeddings(tmp_path):
    one = {
        n: t
        for n, t in golden("generator_state").items()
        if ".pre_01." not in n and ".pre_11." not in n
    }
    shape = replace(tiny_shape(), f_dims=tiny_shape().f_dims[:1])
    made = network(one, synthesis_kwargs={"conv_clamp": shape.conv_clamp})
    convert(written(tmp_path / "one.pkl", {"G_ema": made}), tmp_path, "GENERATOR")
    store = CheckpointStore(tmp_path)
    assert store.load(GENERATOR).keys() == one.keys()
    single = Generator(GeneratorShape.of(store.config(GENERATOR)))
    single.load_state_dict(store.load(GENERATOR), strict=True)
    numbers = golden("generator_io")
    condition = numbers["cond_1"]
    with torch.no_grad():
        alone = single(numbers["z"], [condition])
    close(load_generator(store)(numbers["z"], [condition, condition]), alone)


@pytest.mark.parametrize(
    ("release", "manifest", "f_dims"),
    [
        ("GENERATOR", "lafite_generator_256", [512]),
        ("GENERATOR", "mindreader_generator_two_head_256", [512, 512]),
        ("DISCRIMINATOR", "lafite_discriminator_256", [512]),
        ("DISCRIMINATOR", "mindreader_discriminator_three_head_256", [512, 512]),
    ],
)
def test_manifests_of_full_size_are_the_published_ones(release, manifest, f_dims):
    listed = json.loads((MANIFESTS / f"{manifest}.json").read_text())["tensors"]
    found = getattr(released, release)
    config = {**found.config, "f_dims": f_dims}
    assert found.shapes(config) == {n: tuple(each["shape"]) for n, each in listed.items()}


def test_the_sizes_without_files_are_mind_reader_s():
    listed = json.loads((MANIFESTS / "mindreader_generator_two_head_256.json").read_text())
    shapes = released.GENERATOR.shapes(released.GENERATOR.config)
    assert shapes.keys() == listed["tensors"].keys()


# Memory.

MEASURE = """
import sys
from contextlib import ExitStack
from pathlib import Path
import safetensors.torch, torch
from brainkit.weights.conversion import conversions
from brainkit.weights.writing import write
from brainkit_mindreader import released

def told(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

for each in (released.GENERATOR, released.DISCRIMINATOR):
    each.shapes(each.config)
before = told("VmRSS")
with ExitStack() as stack:
    found = conversions([released.GENERATOR], [Path(sys.argv[1])], None, stack)
    write(found[0], Path(sys.argv[2]))
print(told("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells no peak of memory")
def test_200_mb_are_converted_within_half_as_much_memory(tmp_path):
    # Nearly all of it is one network, of which one tensor at a time is in memory.
    shape = GeneratorShape(16, 2400, 2400, (5, 7), 10, 128, 8)
    tensors = {
        n: torch.zeros(each) for n, each in released.GENERATOR.shapes(shape.config()).items()
    }
    source = written(tmp_path / "large.pkl", {"G_ema": network(tensors)})
    size = source.stat().st_size
    assert size > 180e6
    made = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source), str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (tmp_path / "model.safetensors").stat().st_size > 180e6
    assert int(made.stdout) < 0.5 * size
    source.unlink()
    (tmp_path / "model.safetensors").unlink()


# The ResNet.


@pytest.fixture(scope="module")
def resnet() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights = resnet50(weights=None).state_dict()
    return {name: each for name, each in weights.items() if not name.startswith("fc.")}


@pytest.mark.parametrize("prefix", ["", "module.backbone.", "backbone.", "module."])
def test_the_resnet_is_found_under_every_prefix(prefix, resnet, tmp_path):
    file = {f"{prefix}{name}": each for name, each in resnet.items()}
    file |= (
        {f"{prefix.partition('backbone')[0]}projector.0.weight": torch.ones(1)} if prefix else {}
    )
    whole = {"epoch": 3, "model": file} if prefix.startswith("module.backbone") else file
    torch.save(whole, tmp_path / "resnet50.pth")
    convert(tmp_path, tmp_path, "RESNET50")
    found = load_file(tmp_path / RESNET50.name / "model.safetensors")
    kept = {n: t for n, t in resnet.items() if not n.endswith("num_batches_tracked")}
    assert found.keys() == kept.keys()
    assert all(torch.equal(found[name], kept[name]) for name in kept)
    see = load_resnet_view(CheckpointStore(tmp_path))
    seen = see(torch.rand(2, 3, 32, 32) * 2 - 1, torch.Generator().manual_seed(0))
    assert seen.shape == (2, 256)
    (tmp_path / RESNET50.name / "model.safetensors").unlink()


def test_a_classifier_is_not_taken_for_vicreg_s(resnet, tmp_path):
    file = resnet | {"fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}
    torch.save(file, tmp_path / "resnet50.pth")
    with pytest.raises(CheckpointError, match=r"2 extra \(fc.bias, fc.weight\)"):
        convert(tmp_path / "resnet50.pth", tmp_path / "store", "RESNET50")
