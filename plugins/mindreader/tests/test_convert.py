"""Snapshots enter the store to the bit and with the sizes of their networks, or not at all."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from snapshot_files import GENUINE, GOLDEN, Call, module, nested, network, written
from torch.testing import assert_close

from brainkit.checkpoints import CheckpointStore
from brainkit.checkpoints.record import Record
from brainkit.errors import CheckpointError
from brainkit.weights import Config
from brainkit.weights.conversion import conversions
from brainkit.weights.convert import ReleasedFiles
from brainkit.weights.convert import convert as into_the_store
from brainkit.weights.open import Entry
from brainkit.weights.writing import write
from brainkit_mindreader import released, snapshot_weights
from brainkit_mindreader.checkpoints import DISCRIMINATOR, GENERATOR
from brainkit_mindreader.generator.discriminator import Discriminator, Judging
from brainkit_mindreader.generator.network import Generator
from brainkit_mindreader.generator.shape import GeneratorShape
from brainkit_mindreader.generator.sizes import discriminator_shape, generator_shape
from brainkit_mindreader.mapper.network import MapperNetwork, MapperShape

MANIFESTS = Path(__file__).parent / "golden" / "manifests"
TWO = GeneratorShape(16, 8, 6, (5, 7), 10, 128, 8, 3)
ONE = replace(TWO, f_dims=(5,))
BOTH = ("GENERATOR", "DISCRIMINATOR")
BOTH_NAMES = (GENERATOR.name, DISCRIMINATOR.name)
FILES = ("config.json", "model.safetensors", "source.json")
NAMES = {"G_ema": GENERATOR.name, "G": "mindreader-generator-raw"}
CHOSEN = {"G_ema": BOTH, "G": ("RAW_GENERATOR", "DISCRIMINATOR")}


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def convert(
    source: Path, store: Path, *wanted: str, config: Config | None = None
) -> list[tuple[str, ...]]:
    """Convert without a record; return the notes for each network."""
    releases = [getattr(released, each) for each in wanted or BOTH]
    with ExitStack() as stack:
        found = conversions(releases, [source], config, stack)
        for each in found:
            (store / each.checkpoint).mkdir(parents=True)
            write(each, store / each.checkpoint)
    return [each.notes for each in found]


def refused(source: Path, store: Path, *wanted: str) -> str:
    """Convert in vain; give the sentence after checking that the store did not change."""
    before = everything_in(store)
    with pytest.raises(CheckpointError) as caught:
        convert(source, store, *wanted)
    assert everything_in(store) == before
    said = str(caught.value)
    assert said.isprintable()
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
    convert(GOLDEN / file, tmp_path, *CHOSEN[chosen])
    for prefix, folder in ((chosen, NAMES[chosen]), ("D", DISCRIMINATOR.name)):
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
    judge = Discriminator.of(store.config(DISCRIMINATOR))
    judge.load_state_dict(store.load(DISCRIMINATOR), strict=True)
    conditions = [torch.ones(2, dim) for dim in shape.f_dims]
    with torch.no_grad():
        pictures = made(torch.zeros(2, shape.z_dim), conditions)
        assert pictures.shape == (2, 3, 16, 16)
        assert judge(pictures, conditions).logit.isfinite().all()


def test_both_come_into_the_store_with_their_source_and_never_another_over_them(tmp_path):
    source = GOLDEN / "lafite_single_head_tiny.pkl"
    references = [each.release for each in (GENERATOR, DISCRIMINATOR)]
    done = into_the_store(references, ReleasedFiles((source,)), tmp_path)
    counts = [sum(n.startswith(f"{each}.") for n in expected(source.name)) for each in ("G", "D")]
    assert [(each.checkpoint, each.tensors, each.layout) for each in done] == [
        (name, count, "single head") for name, count in zip(BOTH_NAMES, counts, strict=True)
    ]
    assert [each.notes for each in done] == [(snapshot_weights.ONE_BRANCH,), ()]
    digest = sha256(source.read_bytes()).hexdigest()
    record = Record.read(tmp_path / GENERATOR.name)
    assert record.layout == "single head"
    assert {name: facts.sha256 for name, facts in record.sources.items()} == {source.name: digest}
    # Taking the lock may touch its file.
    files = [path for path in tmp_path.rglob("*.*") if path.is_file() and path.name != ".lock"]
    before = {path: path.stat().st_mtime_ns for path in files}
    names = [f"{each}/{n}" for each in BOTH_NAMES for n in FILES]
    assert {str(path.relative_to(tmp_path)) for path in before} == set(names)
    other = snapshot(tmp_path / "other.pkl")
    with pytest.raises(CheckpointError, match="holds weights of other files already"):
        into_the_store(references, ReleasedFiles((other,)), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("name", ["mindreader-generator-raw", "mindreader-discriminator"])
def test_every_network_of_a_snapshot_is_had_by_its_checkpoint_s_name(name, tmp_path):
    """What trainings load, or nothing under that name, is known to `brainkit fetch` too."""
    (checkpoint,) = (each for each in released.CHECKPOINTS if each.name == name)
    (done,) = into_the_store(
        [checkpoint.release], ReleasedFiles((GOLDEN / "mindreader_two_head_tiny.pkl",)), tmp_path
    )
    assert done.folder == tmp_path / name
    assert (done.folder / "model.safetensors").is_file()


@pytest.mark.parametrize("chosen", ["G_ema", "G"])
def test_the_source_is_kept_in_the_header_of_the_weights(chosen, tmp_path):
    source = GOLDEN / "lafite_single_head_tiny.pkl"
    notes = convert(source, tmp_path, *CHOSEN[chosen])
    with safe_open(tmp_path / NAMES[chosen] / "model.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["source_sha256"] == sha256(source.read_bytes()).hexdigest()
    assert metadata["network"] == chosen
    assert metadata["layout"] == "single head"
    assert ["one branch" in " ".join(each) for each in notes] == [True, False]


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


# How a discriminator judges.


@pytest.mark.parametrize("use_norm", [True, False])
@pytest.mark.parametrize("group", [2, 4, None])
def test_a_discriminator_judges_as_its_file_states(use_norm, group, tmp_path):
    """Both are read from where the published classes keep them, and the network runs by them."""
    tensors = weights(TWO, Discriminator)
    nested_tensors = nested(tensors)
    nested_tensors["b4"]["mbstd"] = module({}, "MinibatchStdLayer", group_size=group)
    nested_tensors["b4"] = module(nested_tensors["b4"], "DiscriminatorEpilogue")
    judge = module(nested_tensors, "Discriminator", use_norm=use_norm, _init_kwargs={})
    convert(snapshot(tmp_path / "a.pkl", D=judge), tmp_path / "store")
    store = CheckpointStore(tmp_path / "store")
    config = store.config(DISCRIMINATOR)
    assert (config["use_norm"], config["mbstd_group_size"]) == (use_norm, group)
    found = Discriminator.of(config)
    found.load_state_dict(store.load(DISCRIMINATOR), strict=True)
    wanted = Discriminator(TWO, Judging(normalise=use_norm, group=group))
    wanted.load_state_dict(tensors)
    pictures = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    conditions = [torch.ones(8, dim) for dim in TWO.f_dims]
    with torch.no_grad():
        verdict, expected_verdict = found(pictures, conditions), wanted(pictures, conditions)
        usual = Discriminator(TWO)
        usual.load_state_dict(tensors)
        other = usual(pictures, conditions)
    assert torch.equal(verdict.logit, expected_verdict.logit)
    length = verdict.heads[0].norm(dim=1)
    assert torch.allclose(length, torch.ones(8), atol=1e-6) is use_norm
    assert torch.equal(verdict.logit, other.logit) is ((use_norm, group) == (False, 4))


def test_what_only_the_arguments_state_of_judging_is_kept(tmp_path):
    stated = {"use_norm": True, "epilogue_kwargs": {"mbstd_group_size": 8}}
    judge = network(weights(TWO, Discriminator), "Discriminator", **stated)
    convert(snapshot(tmp_path / "a.pkl", D=judge), tmp_path / "store")
    config = CheckpointStore(tmp_path / "store").config(DISCRIMINATOR)
    assert (config["use_norm"], config["mbstd_group_size"]) == (True, 8)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"use_norm": 1}, "a use_norm given as 1, expected true or false"),
        ({"epilogue_kwargs": {"mbstd_group_size": 0}}, "an mbstd_group_size given as 0, expected"),
    ],
)
def test_impossible_ways_of_judging_are_refused(stated, said, tmp_path):
    judge = network(weights(TWO, Discriminator), "Discriminator", **stated)
    assert f"mindreader-discriminator has {said}" in refused(
        snapshot(tmp_path / "a.pkl", D=judge), tmp_path
    )


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
    assert "1 not floating point (synthesis.b16.conv0.noise_const I64)" in said
    assert "mindreader-generator has 2 missing" in said
    assert "mindreader-discriminator has 1 missing (b4.out.bias)" in said


def test_a_first_head_alone_in_one_layer_is_missed(tmp_path):
    tensors = weights(TWO)
    for name in [name for name in tensors if name.startswith("synthesis.b4.conv1.pre_01")]:
        del tensors[name]
    said = refused(snapshot(tmp_path / "a.pkl", G_ema=network(tensors)), tmp_path)
    assert "synthesis.b16.conv0.pre_01.bias" in said


def test_the_resolution_is_compared_with_the_arguments(tmp_path):
    source = snapshot(tmp_path / "a.pkl", G_ema=network(weights(TWO), img_resolution=256))
    said = refused(source, tmp_path)
    assert "mindreader-generator has an img_resolution given as 256 where its tensors" in said
    fitting = network(weights(TWO), img_resolution=16, z_dim=8, w_dim=6)
    assert convert(snapshot(tmp_path / "b.pkl", G_ema=fitting), tmp_path / "store") == [(), ()]


def test_a_discriminator_of_another_size_is_refused(tmp_path):
    other = network(weights(replace(TWO, resolution=32), Discriminator))
    said = refused(snapshot(tmp_path / "a.pkl", D=other), tmp_path)
    assert "mindreader-discriminator has a resolution of 32 where the generator has 16" in said
    single = network(weights(ONE, Discriminator))
    assert "f_dims of (5,) where the generator has (5, 7)" in refused(
        snapshot(tmp_path / "b.pkl", D=single), tmp_path
    )


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
    said = refused(source, tmp_path)
    assert "mindreader-generator has" in said or "a generator has a resolution of" in said


def test_names_of_a_file_are_told_as_they_may_be_printed(tmp_path):
    tensors = weights(TWO) | {"synthesis\n\x1b[31m": torch.ones(1), "ж" * 150: torch.ones(1)}
    said = refused(snapshot(tmp_path / "a.pkl", G_ema=network(tensors)), tmp_path)
    assert "synthesis\\n\\x1b[31m" in said
    assert len(said) < 2000


def test_the_network_has_to_be_there(tmp_path):
    source = snapshot(tmp_path / "a.pkl", G_ema=None)
    assert "holds no network 'G_ema' but D, G" in refused(source, tmp_path)
    source = snapshot(tmp_path / "b.pkl", G=None)
    assert "holds no network 'G' but D, G_ema" in refused(source, tmp_path, "RAW_GENERATOR")


@pytest.mark.parametrize(
    "file", ["malicious_marker", "malicious_nested_storage", "malicious_module_source"]
)
def test_malicious_files_leave_nothing(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert file in refused(GOLDEN / f"{file}.pkl", tmp_path)
    with pytest.raises(CheckpointError, match=file) as caught:
        into_the_store(
            [GENERATOR.release], ReleasedFiles((GOLDEN / f"{file}.pkl",)), tmp_path / "store"
        )
    assert str(caught.value).isprintable()
    assert everything_in(tmp_path / "store") in ([], [".lock"])
    assert not (tmp_path / "pwned").exists()


def test_a_folder_has_to_hold_one_snapshot(tmp_path):
    folder, store = tmp_path / "given", tmp_path / "store"
    folder.mkdir()
    assert "has nothing of mindreader-generator" in refused(folder, store)
    snapshot(folder / "a.pkl")
    (folder / "._a.pkl").write_bytes(bytes.fromhex("00051607") + bytes(4092))  # macOS leaves these
    convert(folder, store)
    assert (store / GENERATOR.name / "model.safetensors").is_file()
    snapshot(folder / "b.pkl")
    assert "holds 2 snapshots (a.pkl, b.pkl)" in refused(folder, store)
    (tmp_path / "a.txt").write_text("text")
    assert "has nothing of" in refused(tmp_path / "a.txt", store)


def test_what_tensors_do_not_tell_is_taken_from_a_configuration(tmp_path):
    given = {"merge": "mean", "conv_clamp": 3.5, "resolution": 999}
    convert(snapshot(tmp_path / "a.pkl"), tmp_path / "store", config=given)
    config = CheckpointStore(tmp_path / "store").config(GENERATOR)
    assert (config["merge"], config["conv_clamp"], config["resolution"]) == ("mean", 3.5, 16)


# Mappers.


def mapper(length: int = 20) -> dict[str, torch.Tensor]:
    from brainkit_mindreader.mapper.network import MapperNetwork, MapperShape

    torch.manual_seed(0)
    return dict(MapperNetwork(MapperShape(length, 6, 1, 2, 4, 3)).state_dict())


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("target", ["image", "caption"])
def test_the_state_dict_of_a_mapper_is_converted(target, archive, tmp_path):
    source = tmp_path / "mapper.pth"
    torch.save(mapper(), source, _use_new_zipfile_serialization=archive)
    convert(source, tmp_path, f"MAPPER_{target.upper()}")
    folder = tmp_path / f"mindreader-mapper-{target}"
    found, wanted = load_file(folder / "model.safetensors"), mapper()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    config = json.loads((folder / "config.json").read_text())
    assert (config["length"], config["dim"], config["blocks"]) == (20, 6, 2)
    with safe_open(folder / "model.safetensors", framework="pt") as opened:
        assert opened.metadata()["source_sha256"] == sha256(source.read_bytes()).hexdigest()


def test_a_mapper_s_converted_weights_predict_what_golden_ones_do(tmp_path):
    numbers = load_file(GOLDEN.parent / "mapper" / "mapper_b_io.safetensors")
    state = load_file(GOLDEN.parent / "mapper" / "mapper_b_state.safetensors")
    torch.save(state, tmp_path / "mapper.pth")
    convert(tmp_path / "mapper.pth", tmp_path, "MAPPER_IMAGE", config={"sigmoid": True})
    folder = tmp_path / "mindreader-mapper-image"
    network = MapperNetwork(MapperShape(**json.loads((folder / "config.json").read_text())))
    network.load_state_dict(load_file(folder / "model.safetensors"))
    # What the golden README grants forward passes.
    assert_close(network(numbers["fmri"]), numbers["output"], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("subject", [1, 5])
def test_mappers_of_full_size_are_described(subject):
    manifest = json.loads(
        (GOLDEN.parent / "mapper" / f"manifest_subj{subject:02}.json").read_text()
    )
    shapes = {name: Entry("F32", tuple(shape)) for name, shape in manifest["shapes"].items()}
    found = MapperShape.of(shapes)
    given = manifest["config"]
    assert found == MapperShape(
        given["signal_len"], given["out_dim"], given["num_layers"], given["num_resnet_blocks"],
        given["hidden_dim"], given["fc_hdim"], given["last_activation"],
    )  # fmt: skip


def mapper_refused(content: object, folder: Path) -> str:
    torch.save(content, folder / "mapper.pth")
    said = refused(folder / "mapper.pth", folder, "MAPPER_IMAGE")
    assert everything_in(folder) == ["mapper.pth"]
    return said


def test_what_is_no_mapper_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = mapper()
    assert "1 extra (other)" in mapper_refused({**tensors, "other": torch.ones(1)}, tmp_path)
    tensors["fc.1.bias"] = torch.ones(9)
    said = mapper_refused(tensors, tmp_path)
    assert "1 misshapen (fc.1.bias 9, expected 3)" in said
    assert "is no mapper" in mapper_refused({"a": torch.ones(1)}, tmp_path)
    flat = mapper() | {"fc.1.weight": torch.ones(3)}
    assert "is no mapper" in mapper_refused(flat, tmp_path)
    many = {f"encoder.{i}.0.weight": torch.ones(1, 1, 1) for i in range(5000)}
    many |= {"encoder.5000.weight": torch.ones(6, 4, 1), "fc.1.weight": torch.ones(3, 10, 1)}
    assert "is no mapper" in mapper_refused(many, tmp_path)
    mapper_refused([1], tmp_path)
    mapper_refused(Call(os.system, "touch pwned"), tmp_path)
    (tmp_path / "mapper.pth").write_bytes(b"PK damaged")
    assert "mapper.pth" in refused(tmp_path / "mapper.pth", tmp_path, "MAPPER_IMAGE")
    said = refused(tmp_path / "absent.pth", tmp_path, "MAPPER_IMAGE")
    assert "there is no file" in said
