"""Snapshots enter the store to the bit and with the sizes of their networks, or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from snapshot_files import GENUINE, GOLDEN, Call, network, written

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit_mindreader.convert import convert, convert_mapper, main
from brainkit_mindreader.discriminator import Discriminator
from brainkit_mindreader.generator import Generator
from brainkit_mindreader.parts import DISCRIMINATOR, GENERATOR
from brainkit_mindreader.shape import GeneratorShape
from brainkit_mindreader.sizes import discriminator_shape, generator_shape

MANIFESTS = Path(__file__).parent / "golden" / "manifests"
TWO = GeneratorShape(16, 8, 6, (5, 7), 10, 128, 8, 3)
ONE = replace(TWO, f_dims=(5,))


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(source: Path, store: Path, **options: str) -> str:
    """Convert in vain; give the sentence after checking that the store did not change."""
    before = everything_in(store)
    with pytest.raises(CheckpointError) as caught:
        convert(source, store, **options)
    assert everything_in(store) == before
    said = str(caught.value)
    assert "\n" not in said
    return said


def expected(file: str) -> dict[str, torch.Tensor]:
    stem = file.removesuffix(".pkl").removesuffix("_proto3")
    return load_file(GOLDEN / f"{stem}_expected.safetensors")


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def weights(shape: GeneratorShape, kind: type = Generator) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(kind(shape).state_dict())


def snapshot(path: Path, shape: GeneratorShape = TWO, **changed: object) -> Path:
    """Write a snapshot of fresh networks; a network given as None is left empty."""
    content = {
        "G": network(weights(shape)),
        "D": network(weights(shape, Discriminator), "Discriminator"),
        "G_ema": network(weights(shape)),
        "augment_pipe": None,
    }
    return written(path, content | changed)


# What is written.


@pytest.mark.parametrize("chosen", ["G_ema", "G"])
@pytest.mark.parametrize("file", GENUINE)
def test_genuine_files_are_converted_to_the_bit(file, chosen, tmp_path):
    convert(GOLDEN / file, tmp_path, chosen)
    for prefix, folder in ((chosen, GENERATOR.name), ("D", DISCRIMINATOR.name)):
        wanted = {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in expected(file).items()
            if name.startswith(f"{prefix}.")
        }
        found = load_file(tmp_path / folder / "model.safetensors")
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert found[name].dtype == wanted[name].dtype
            assert found[name].shape == wanted[name].shape
            assert bits(found[name]) == bits(wanted[name])


@pytest.mark.parametrize("file", GENUINE)
def test_converted_networks_load_strictly_from_the_store_and_run(file, tmp_path):
    convert(GOLDEN / file, tmp_path)
    store = CheckpointStore(tmp_path)
    shape = GeneratorShape.of(store.config(GENERATOR))
    made = Generator(shape)
    made.load_state_dict(store.load(GENERATOR), strict=True)
    judge = Discriminator(GeneratorShape.of(store.config(DISCRIMINATOR)))
    judge.load_state_dict(store.load(DISCRIMINATOR), strict=True)
    conditions = [torch.ones(2, dim) for dim in shape.f_dims]
    with torch.no_grad():
        pictures = made(torch.zeros(2, shape.z_dim), conditions)
        assert pictures.shape == (2, 3, 16, 16)
        assert judge(pictures, conditions).logit.isfinite().all()


def test_the_source_is_kept_with_the_weights(tmp_path):
    source = GOLDEN / "lafite_single_head_tiny.pkl"
    said = convert(source, tmp_path)
    with safe_open(tmp_path / GENERATOR.name / "model.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["source_sha256"] == sha256(source.read_bytes()).hexdigest()
    assert metadata["network"] == "G_ema"
    assert metadata["layout"] == "single head"
    assert said[0] == "mindreader-generator: written, 88 tensors, 0.0 MB, single head"
    assert everything_in(tmp_path) == [
        "mindreader-discriminator",
        "mindreader-discriminator/config.json",
        "mindreader-discriminator/model.safetensors",
        "mindreader-generator",
        "mindreader-generator/config.json",
        "mindreader-generator/model.safetensors",
    ]


def test_half_precision_is_kept(tmp_path):
    half = {name: tensor.half() for name, tensor in weights(TWO).items()}
    convert(snapshot(tmp_path / "a.pkl", G_ema=network(half)), tmp_path / "store")
    found = load_file(tmp_path / "store" / GENERATOR.name / "model.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    assert all(torch.equal(found[name], half[name]) for name in half)


@pytest.mark.parametrize("absent", [{"D": None}, {"D": {}}])
def test_a_snapshot_without_discriminator_gives_the_generator_alone(absent, tmp_path):
    convert(snapshot(tmp_path / "a.pkl", **absent), tmp_path / "store")
    assert [path.name for path in (tmp_path / "store").iterdir()] == [GENERATOR.name]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_torch_gives_the_same(protocol, tmp_path):
    content = {"G_ema": network(weights(TWO)), "D": None}
    convert(written(tmp_path / "a.pkl", content, protocol), tmp_path / "store")
    found = load_file(tmp_path / "store" / GENERATOR.name / "model.safetensors")
    wanted = weights(TWO)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


# Sizes.

SHAPES = {
    "released": GeneratorShape(),
    "released LAFITE": GeneratorShape(f_dims=(512,)),
    "64 px": GeneratorShape(64, 24, 20, (16, 16), 32, 512, 32),
    "unlike heads": TWO,
    "narrow": GeneratorShape(32, 4, 6, (3,), 5, 64, 512, 1),
    "half the channels": GeneratorShape(128, channel_base=16384),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_sizes_are_those_of_the_tensors(shape):
    with torch.device("meta"):
        generator, judge = Generator(shape).state_dict(), Discriminator(shape).state_dict()
    clamp = {"synthesis_kwargs": {"conv_clamp": shape.conv_clamp}}
    found = generator_shape(generator, clamp)
    sides = [side for side in found.sides if side > 4]
    assert [found.channels(side) for side in sides] == [shape.channels(side) for side in sides]
    same = {"channel_base": shape.channel_base, "channel_max": shape.channel_max}
    assert replace(found, **same) == shape
    assert discriminator_shape(judge, {"conv_clamp": shape.conv_clamp}, found).sides == shape.sides


@pytest.mark.parametrize("base", [999, 1000, 1023, 1024, 1100])
def test_channels_are_found_where_the_base_leaves_a_rest(base, tmp_path):
    shape = replace(TWO, resolution=64, channel_base=base, channel_max=50)
    convert(snapshot(tmp_path / "a.pkl", shape), tmp_path / "store")
    found = GeneratorShape.of(CheckpointStore(tmp_path / "store").config(GENERATOR))
    assert [found.channels(side) for side in found.sides] == [
        shape.channels(side) for side in shape.sides
    ]


@pytest.mark.parametrize(
    ("manifest", "f_dims"),
    [("lafite_generator_256", (512,)), ("mindreader_generator_two_head_256", (512, 512))],
)
def test_sizes_of_the_published_networks_are_the_released_ones(manifest, f_dims):
    listed = json.loads((MANIFESTS / f"{manifest}.json").read_text())["tensors"]
    tensors = {name: torch.empty(facts["shape"], device="meta") for name, facts in listed.items()}
    assert generator_shape(tensors, {}) == GeneratorShape(f_dims=f_dims)


@pytest.mark.parametrize(
    ("given", "clamp"), [(256, 256.0), (0.7, 0.7), (None, 3e38), ("text", 3e38), ({}, 3e38)]
)
def test_the_clamp_is_that_of_the_arguments(given, clamp, tmp_path):
    made = network(weights(TWO), synthesis_kwargs={"conv_clamp": given})
    convert(snapshot(tmp_path / "a.pkl", G_ema=made), tmp_path / "store")
    config = CheckpointStore(tmp_path / "store").config(GENERATOR)
    assert config["conv_clamp"] == clamp


# What is refused.


def test_all_differences_are_listed_in_one_sentence(tmp_path):
    tensors, judge = weights(TWO), weights(TWO, Discriminator)
    del tensors["mapping.fc0.bias"], tensors["synthesis.b8.conv0.pre_11.weight"]
    tensors["synthesis.b8.other"] = torch.ones(1)
    tensors["synthesis.b16.torgb.weight"] = torch.ones(4, 8, 1, 1)
    tensors["synthesis.b16.conv0.noise_const"] = torch.ones(16, 16, dtype=torch.int64)
    del judge["b4.out.bias"]
    source = snapshot(tmp_path / "a.pkl", G_ema=network(tensors), D=network(judge))
    said = refused(source, tmp_path)
    assert "2 missing (mapping.fc0.bias, synthesis.b8.conv0.pre_11.weight)" in said
    assert "1 extra (synthesis.b8.other)" in said
    assert "1 misshapen (synthesis.b16.torgb.weight 4x8x1x1, expected 3x8x1x1)" in said
    assert "1 not floating point (synthesis.b16.conv0.noise_const torch.int64)" in said
    assert "and in D: 1 missing (b4.out.bias)" in said


def test_a_first_head_alone_in_one_layer_is_missed(tmp_path):
    tensors = weights(TWO)
    for name in [name for name in tensors if name.startswith("synthesis.b4.conv1.pre_01")]:
        del tensors[name]
    said = refused(snapshot(tmp_path / "a.pkl", G_ema=network(tensors)), tmp_path)
    assert "synthesis.b16.conv0.pre_01.bias" in said


def test_the_resolution_is_compared_with_the_arguments(tmp_path):
    source = snapshot(tmp_path / "a.pkl", G_ema=network(weights(TWO), img_resolution=256))
    assert "its img_resolution is given as 256, its tensors have 16" in refused(source, tmp_path)
    fitting = network(weights(TWO), img_resolution=16, z_dim=8, w_dim=6)
    assert convert(snapshot(tmp_path / "b.pkl", G_ema=fitting), tmp_path / "store")


def test_a_discriminator_of_another_size_is_refused(tmp_path):
    other = network(weights(replace(TWO, resolution=32), Discriminator))
    said = refused(snapshot(tmp_path / "a.pkl", D=other), tmp_path)
    assert "D: its resolution is 32, the generator's 16" in said
    single = network(weights(ONE, Discriminator))
    assert "its f_dims is (5,)" in refused(snapshot(tmp_path / "b.pkl", D=single), tmp_path)


STRANGE = {
    "nothing": {},
    "another network": {"encoder.0.0.weight": torch.ones(1)},
    "a side of no power of 2": {"synthesis.b12.conv1.weight": torch.ones(8, 8, 3, 3)},
    "a side beyond all": {f"synthesis.b{2**40}.conv1.weight": torch.ones(8, 8, 3, 3)},
    "a side of many digits": {f"synthesis.b{'9' * 150}.conv1.weight": torch.ones(8, 8, 3, 3)},
    "numbers for matrices": {
        name: torch.ones(())
        for name in ("synthesis.b4.conv1.pre_0.weight", "mapping.fc0.weight", "mapping.w_avg")
    },
    "a large side alone": {"synthesis.b65536.conv1.weight": torch.ones(1, 8, 3, 3)},
}


@pytest.mark.parametrize("tensors", STRANGE.values(), ids=STRANGE)
def test_networks_that_are_no_generator_are_refused(tensors, tmp_path):
    source = snapshot(tmp_path / "a.pkl", G_ema=network(tensors), D=None)
    assert "does not fit networks of its own sizes" in refused(source, tmp_path)


def test_the_network_has_to_be_there(tmp_path):
    source = snapshot(tmp_path / "a.pkl", G_ema=None)
    assert "holds no network 'G_ema' but D, G" in refused(source, tmp_path)
    assert "holds no network 'E' but D, G" in refused(source, tmp_path, network="E")


@pytest.mark.parametrize(
    "file", ["malicious_marker", "malicious_nested_storage", "malicious_module_source"]
)
def test_malicious_files_leave_nothing(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused(GOLDEN / f"{file}.pkl", tmp_path)
    assert file in said
    assert everything_in(tmp_path) == []


# The store.


def test_the_same_source_is_kept_and_another_refused(tmp_path):
    first, other = GOLDEN / "lafite_single_head_tiny.pkl", GOLDEN / "mindreader_two_head_tiny.pkl"
    convert(first, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert convert(first, tmp_path) == [
        "mindreader-generator: kept, it was there",
        "mindreader-discriminator: kept, it was there",
    ]
    assert "holds weights of another source" in refused(other, tmp_path)
    assert "holds weights of another source" in refused(first, tmp_path, network="G")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_damaged_weights_in_the_store_are_not_replaced(tmp_path):
    path = tmp_path / GENERATOR.name / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    said = refused(GOLDEN / "lafite_single_head_tiny.pkl", tmp_path)
    assert "holds weights of another source" in said
    assert path.read_bytes() == b"damaged"


def test_what_a_killed_run_left_is_cleared(tmp_path):
    left = tmp_path / f"{GENERATOR.name}.part"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    convert(GOLDEN / "lafite_single_head_tiny.pkl", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        DISCRIMINATOR.name,
        GENERATOR.name,
    ]


@pytest.mark.parametrize("name", [GENERATOR.name, DISCRIMINATOR.name])
def test_where_one_cannot_be_written_none_is(name, tmp_path):
    (tmp_path / name).write_text("a file in place of a folder")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(GOLDEN / "lafite_single_head_tiny.pkl", tmp_path)
    assert [path for path in tmp_path.rglob("*.safetensors")] == []  # noqa: C416


def test_the_store_may_not_be_a_file(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(GOLDEN / "lafite_single_head_tiny.pkl", tmp_path / "store")


# The command.


def test_the_command_says_what_it_did(tmp_path, capsys):
    source = str(GOLDEN / "mindreader_two_head_tiny.pkl")
    assert main([source, "--to", str(tmp_path)]) == 0
    assert "mindreader-generator: written, 120 tensors" in capsys.readouterr().out


def test_the_command_tells_errors_in_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "absent.pkl"), "--to", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: there is no file")
    assert said.count("\n") == 1


# Mappers.


def mapper(length: int = 20) -> dict[str, torch.Tensor]:
    from brainkit_mindreader.mapper_network import MapperNetwork, MapperShape

    torch.manual_seed(0)
    return dict(MapperNetwork(MapperShape(length, 6, 1, 2, 4, 3)).state_dict())


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("target", ["image", "caption"])
def test_the_state_dict_of_a_mapper_is_converted(target, archive, tmp_path):
    source = tmp_path / "mapper.pth"
    torch.save(mapper(), source, _use_new_zipfile_serialization=archive)
    assert main([str(source), "--to", str(tmp_path), "--mapper", target]) == 0
    folder = tmp_path / f"mindreader-mapper-{target}"
    found, wanted = load_file(folder / "model.safetensors"), mapper()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    config = json.loads((folder / "config.json").read_text())
    assert (config["length"], config["dim"], config["blocks"]) == (20, 6, 2)


def mapper_refused(content: object, folder: Path) -> str:
    torch.save(content, folder / "mapper.pth")
    with pytest.raises(CheckpointError) as caught:
        convert_mapper(folder / "mapper.pth", folder / "store", "image")
    assert everything_in(folder) == ["mapper.pth"]
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_what_is_no_mapper_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = mapper()
    assert "1 extra (other)" in mapper_refused({**tensors, "other": torch.ones(1)}, tmp_path)
    tensors["fc.1.bias"] = torch.ones(9)
    said = mapper_refused(tensors, tmp_path)
    assert "1 misshapen (fc.1.bias 9, expected 3)" in said
    assert "is no mapper" in mapper_refused({"a": torch.ones(1)}, tmp_path)
    assert "holds epoch besides tensors" in mapper_refused({**mapper(), "epoch": 3}, tmp_path)
    assert "expected named tensors" in mapper_refused([1], tmp_path)
    mapper_refused(Call(os.system, "touch pwned"), tmp_path)
    (tmp_path / "mapper.pth").write_bytes(b"PK damaged")
    with pytest.raises(CheckpointError, match="is no state dict"):
        convert_mapper(tmp_path / "mapper.pth", tmp_path, "image")
    with pytest.raises(CheckpointError, match="there is no file"):
        convert_mapper(tmp_path / "absent.pth", tmp_path, "image")
