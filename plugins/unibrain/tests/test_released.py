"""Released files of the four-flow network and of Optimus: read in every layout they are in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import tensors, tiny_config, tiny_four_flow, zipped
from released_files import LAYOUTS, OTHERS, converted, save
from safetensors.torch import load_file
from test_optimus import NET as TINY_OPTIMUS

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.weights.conversion import Conversion, Fit, fitted
from brainkit.weights.convert import ReleasedFiles, convert
from brainkit.weights.open import Entry, WeightFile
from brainkit_unibrain import checkpoints
from brainkit_unibrain.loading import load_four_flow, load_optimus
from brainkit_unibrain.networks import Context
from brainkit_unibrain.optimus import OptimusConfig, greedy, own_tensors
from brainkit_unibrain.released import FOUR_FLOW, OPTIMUS
from brainkit_unibrain.walk import FourFlowConfig

TINY = FourFlowConfig.from_dict({**tiny_config()["four_flow"], "groups": 32})
WEIGHTS = tiny_four_flow().state_dict()
CALLS = tensors("denoiser_calls")
LAYOUT = {layout.name: layout for layout in FOUR_FLOW.layouts}
PIECES = {name: each.pieces(FOUR_FLOW.config, ()) for name, each in LAYOUT.items()}
TINY_PIECES = {name: each.pieces(asdict(TINY), ()) for name, each in LAYOUT.items()}
Shapes = Mapping[str, Any]


def table() -> list[list[Any]]:
    """Rows of official name, shape, deprecated name, diffusers component and name."""
    return list(zipped("four_flow_names"))


def published() -> dict[str, tuple[Shapes, ...]]:
    """The names and shapes in each layout's files at full size, as the published code has them."""
    folder = zipped("diffusers_shapes")
    return {
        "official": ({row[0]: row[1] for row in table()},),
        "deprecated": ({row[2]: row[1] for row in table()},),
        "diffusers": (folder["image_unet"], folder["text_unet"]),
    }


def compared(release: Any, layout: Any, files: tuple[Shapes, ...], dtype: str) -> Conversion:
    """Compare files that have only names, dtypes and shapes with the released network."""

    def never(name: str) -> bytes:
        raise AssertionError(f"{name} was read")

    opened = tuple(
        WeightFile(
            Path("published.pth"),
            {n: Entry(dtype, tuple(shape)) for n, shape in each.items()},
            never,
        )
        for each in files
    )
    pieces = layout.pieces(release.config, tuple(each.entries for each in opened))
    shapes = release.shapes(release.config)
    return fitted(release.name, release.config, Fit(layout, opened, pieces), shapes)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize("layout", LAYOUT)
def test_at_full_size_every_layout_of_the_four_flow_network_fits(layout: str, dtype: str) -> None:
    found = compared(FOUR_FLOW, LAYOUT[layout], published()[layout], dtype)
    assert found.differences == ()
    assert len(found.entries) == 1368
    numbers = found.size / {"F32": 4, "F16": 2}[dtype]
    assert round(numbers / 1e6, 2) == 2566.32
    copies = {"official": 0, "deprecated": 0, "diffusers": 4}[layout]
    assert bool(found.notes) == bool(copies)
    assert all(note.startswith(f"{copies} tensors") for note in found.notes)


def test_at_full_size_optimus_fits() -> None:
    found = compared(OPTIMUS, OPTIMUS.layouts[0], (zipped("optimus_shapes"),), "F32")
    assert found.differences == ()
    assert len(found.entries) == 363 - 12 - 1
    assert found.notes == ("13 tensors of other parts were passed over",)


def test_every_tensor_is_looked_for_where_the_table_of_names_says() -> None:
    components = ["image_unet", "text_unet"]
    for row in table():
        name, _, deprecated, component, own = row
        for layout, place in {
            "official": (name, 0),
            "deprecated": (deprecated, 0),
            "diffusers": (own, components.index(component)),
        }.items():
            piece = PIECES[layout][name]
            assert (piece.name, piece.file, piece.part, piece.transposed) == (*place, (0, 1), False)


def test_at_full_size_every_kind_of_difference_is_found() -> None:
    (shapes,) = published()["official"]
    broken = dict(shapes)
    del broken["diffuser.image.time_embed.0.bias"], broken["diffuser.text.data_blocks.3.0.weight"]
    broken["diffuser.text.data_blocks.29.0.0.bias"] = [321]
    broken |= {"diffuser.audio.data_blocks.0.0.weight": [1], "ctx.image.weight": [5]}
    found = compared(FOUR_FLOW, LAYOUT["official"], (broken,), "F32")
    assert found.differences == (
        "2 missing (diffuser.image.time_embed.0.bias, diffuser.text.data_blocks.3.0.weight)",
        "1 extra (diffuser.audio.data_blocks.0.0.weight)",
        "1 misshapen (diffuser.text.data_blocks.29.0.0.bias 321, expected 320)",
    )


def test_the_configurations_are_those_of_the_released_networks() -> None:
    assert FourFlowConfig.from_dict(json.loads(json.dumps(FOUR_FLOW.config))) == FourFlowConfig()
    assert dict(OPTIMUS.config) == asdict(OptimusConfig())
    assert OptimusConfig.from_dict(OPTIMUS.config) == OptimusConfig()


@pytest.mark.parametrize(
    "checkpoint", [checkpoints.FOUR_FLOW, checkpoints.OPTIMUS], ids=lambda c: c.name
)
def test_checkpoints_name_their_releases(checkpoint: Any) -> None:
    module, name = checkpoint.release.split(":")
    assert module == "brainkit_unibrain.released"
    assert {"FOUR_FLOW": FOUR_FLOW, "OPTIMUS": OPTIMUS}[name].name == checkpoint.name


def same(folder: Path, wanted: Mapping[str, torch.Tensor]) -> bool:
    found = load_file(folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    return all(
        torch.equal(each, wanted[n]) and each.dtype == wanted[n].dtype for n, each in found.items()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("official", "pretrained_pth/vd-four-flow-v1-0.pth"),
        ("official", "vd-four-flow-v1-0-fp16.pth"),
        ("official", "vd-four-flow-v1-0-fp16.safetensors"),
        ("deprecated", "pretrained_pth/vd-four-flow-v1-0-fp16-deprecated.pth"),
        ("deprecated", "vd-four-flow-v1-0-deprecated.safetensors"),
        ("deprecated", "pretrained_pth/vd-four-flow-v1-0.pth"),  # its name before it was renamed
        ("diffusers", "diffusion_pytorch_model.bin"),
        ("diffusers", "diffusion_pytorch_model.safetensors"),
        ("diffusers", "diffusion_pytorch_model.fp16.safetensors"),
    ],
)
def test_the_golden_network_gives_its_golden_noise_from_every_layout(
    layout: str, name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    # Golden weights are exact in half precision, so every file holds the very same network.
    weights = {n: each.to(dtype) for n, each in WEIGHTS.items()}
    LAYOUTS[layout](weights, TINY, tmp_path / "given", name)
    found = converted(FOUR_FLOW, tmp_path / "given", tmp_path / "store", asdict(TINY))
    assert found.layout == layout
    assert same(tmp_path / "store/vd-four-flow", weights)
    network = load_four_flow(CheckpointStore(tmp_path / "store"))
    for data, context in [("image", "text"), ("text", "image")]:
        alone = [Context(context, CALLS[f"c_{context}"])]  # type: ignore[arg-type]
        predicted = network(CALLS[f"x_{data}"], CALLS["timesteps"], data, alone)  # type: ignore[arg-type]
        golden = CALLS[f"eps_{data}_from_{context}_ctx"]
        torch.testing.assert_close(predicted, golden, atol=2e-5, rtol=0)


def test_a_file_of_any_name_is_told_from_its_tensors(tmp_path: Path) -> None:
    for layout in ("official", "deprecated"):
        LAYOUTS[layout](WEIGHTS, TINY, tmp_path, f"{layout}-mine.pth")
        place = tmp_path / f"{layout}-mine.pth"
        found = converted(FOUR_FLOW, place, tmp_path / layout, asdict(TINY))
        assert found.layout == layout


def test_tensors_of_other_networks_are_passed_over_and_told(tmp_path: Path) -> None:
    save(WEIGHTS | OTHERS, tmp_path / "vd-four-flow-v1-0.pth")
    found = converted(FOUR_FLOW, tmp_path, tmp_path / "store", asdict(TINY))
    assert found.notes == (f"{len(OTHERS)} tensors of other parts were passed over",)
    assert same(tmp_path / "store/vd-four-flow", WEIGHTS)


@pytest.mark.parametrize("layout", LAYOUT)
def test_all_differences_of_a_file_are_in_one_sentence(layout: str, tmp_path: Path) -> None:
    name = "diffusion_pytorch_model.bin" if layout == "diffusers" else "vd-four-flow-v1-0.pth"
    missing, misshapen, counted = (
        "diffuser.text.context_blocks.0.0.norm.bias",
        "diffuser.image.data_blocks.0.0.bias",
        "diffuser.image.data_blocks.1.0.in_layers.0.weight",
    )
    broken = {n: each for n, each in WEIGHTS.items() if n != missing}
    broken[misshapen] = torch.zeros(33)
    broken[counted] = torch.ones(32, dtype=torch.int64)
    extra = f"{TINY_PIECES[layout][misshapen].name}_of_another_version"
    _write_broken(layout, broken, tmp_path, name, extra)
    with pytest.raises(CheckpointError) as caught:
        converted(FOUR_FLOW, tmp_path, tmp_path / "store", asdict(TINY))
    said = str(caught.value)
    assert f"1 missing ({missing})" in said
    assert f"1 extra ({extra})" in said
    assert f"1 misshapen ({misshapen} 33, expected 32)" in said
    assert f"({counted} I64)" in said
    assert "\n" not in said


def _write_broken(
    layout: str, broken: Mapping[str, torch.Tensor], folder: Path, name: str, extra: str
) -> None:
    pieces = TINY_PIECES[layout]
    files: list[dict[str, torch.Tensor]] = [{extra: torch.zeros(1)}, {}]
    for own, tensor in broken.items():
        files[pieces[own].file][pieces[own].name] = tensor
    if layout != "diffusers":
        return save(files[0], folder / name)
    for component, each in zip(("image_unet", "text_unet"), files, strict=True):
        save(each, folder / component / name)
    return None


def test_a_file_without_any_tensor_of_the_network_is_refused(tmp_path: Path) -> None:
    save(OTHERS, tmp_path / "vd-four-flow-v1-0.pth")
    with pytest.raises(CheckpointError, match="but none of vd-four-flow"):
        converted(FOUR_FLOW, tmp_path, tmp_path / "store", None)


def miniature(checkpoint: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights and the configuration that the package ships."""
    store = CheckpointStore(Path("nowhere"), miniature=True)
    return load_file(store.folder(checkpoint) / "model.safetensors"), store.config(checkpoint)


@pytest.mark.parametrize("layout", LAYOUT)
def test_trained_weights_come_back_bit_for_bit(layout: str, tmp_path: Path) -> None:
    weights, config = miniature(checkpoints.FOUR_FLOW)
    name = "diffusion_pytorch_model.bin" if layout == "diffusers" else "vd-four-flow-v1-0.pth"
    sizes = FourFlowConfig.from_dict(config)
    LAYOUTS[layout](weights, sizes, tmp_path / "given", name)
    (done,) = convert(
        [checkpoints.FOUR_FLOW.release],
        ReleasedFiles((tmp_path / "given",)),
        tmp_path / "store",
        config=config,
    )
    assert (done.layout, done.tensors) == (layout, len(weights))
    assert same(tmp_path / "store/vd-four-flow", weights)
    store = CheckpointStore(tmp_path / "store")
    assert store.config(checkpoints.FOUR_FLOW) == config
    loaded = load_four_flow(store).state_dict()
    assert all(torch.equal(loaded[n], each.float()) for n, each in weights.items())


def test_the_folder_that_diffusers_writes_is_read(tmp_path: Path) -> None:
    # Independent of our names: diffusers' own classes make the names, the files and the truth.
    flat = pytest.importorskip(
        "diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet"
    )
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    common = {
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
    }
    widths = (32, 32, 32, 64)
    image = UNet2DConditionModel(in_channels=4, out_channels=4, block_out_channels=widths, **common)
    text = flat.UNetFlatConditionModel(
        in_channels=(48, 1, 1),
        out_channels=(48, 1, 1),
        block_out_channels=widths,
        down_block_types=(*["CrossAttnDownBlockFlat"] * 3, "DownBlockFlat"),
        up_block_types=("UpBlockFlat", *["CrossAttnUpBlockFlat"] * 3),
        **common,
    )
    image.save_pretrained(tmp_path / "given/image_unet")
    text.save_pretrained(tmp_path / "given/text_unet", safe_serialization=False)
    converted(FOUR_FLOW, tmp_path / "given", tmp_path / "store", asdict(TINY))
    ours = load_four_flow(CheckpointStore(tmp_path / "store"))
    for data, theirs in (("image", image), ("text", text)):
        latent, context = CALLS[f"x_{data}"], CALLS[f"c_{data}"]
        shaped = latent if data == "image" else latent[:, :, None, None]
        # The folder's text network takes its time from the copy, whose numbers are its own.
        theirs.time_embedding.load_state_dict(image.time_embedding.state_dict())
        with torch.no_grad():
            wanted = theirs.eval()(shaped, 741, encoder_hidden_states=context).sample
        alone = [Context(data, context)]  # type: ignore[arg-type]
        found = ours(latent, torch.tensor([741, 741]), data, alone)  # type: ignore[arg-type]
        torch.testing.assert_close(found, wanted.reshape(latent.shape), atol=2e-5, rtol=1e-5)


TINY_OPTIMUS_CONFIG = asdict(TINY_OPTIMUS.config)


@pytest.mark.parametrize("name", ["optimus-vae.pth", "optimus-vae.safetensors"])
def test_optimus_writes_its_golden_tokens_from_the_published_file(
    name: str, tmp_path: Path
) -> None:
    whole = tensors("tiny_optimus")
    assert "decoder.lm_head.weight" in whole
    assert "decoder.transformer.h.0.attn.bias" in whole
    whole |= {"encoder.embeddings.position_ids": torch.arange(40)[None]}
    save(whole, tmp_path / "given/pretrained_pth" / name)
    found = converted(OPTIMUS, tmp_path / "given", tmp_path / "store", TINY_OPTIMUS_CONFIG)
    assert found.lacks == ("reader/tokenizer.json", "writer/tokenizer.json")
    assert same(tmp_path / "store/optimus-vae", own_tensors(tensors("tiny_optimus")))
    network = load_optimus(CheckpointStore(tmp_path / "store"))
    golden = tensors("optimus")
    mean, _ = network.encoder.posterior(golden["enc_ids"])
    torch.testing.assert_close(mean, golden["enc_mu"], atol=1e-5, rtol=0)
    wrote = network.decoder.write(golden["dec_latent"], greedy, network.config)
    assert torch.equal(wrote[:, :9], golden["dec_greedy_tokens"])


def test_an_unknown_tensor_of_optimus_is_refused(tmp_path: Path) -> None:
    save(tensors("tiny_optimus") | {"decoder.linear_new.weight": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"1 extra \(decoder\.linear_new\.weight\)"):
        converted(OPTIMUS, tmp_path / "a.pth", tmp_path / "store", TINY_OPTIMUS_CONFIG)


def test_the_trained_optimus_comes_back_bit_for_bit(
    tmp_path: Path,
) -> None:
    weights, config = miniature(checkpoints.OPTIMUS)
    masks = {f"decoder.transformer.h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    tied = {"decoder.lm_head.weight": weights["decoder.transformer.wte.weight"]}
    save(weights | masks | tied, tmp_path / "optimus-vae.pth")
    source = ReleasedFiles((tmp_path / "optimus-vae.pth",))
    (done,) = convert([checkpoints.OPTIMUS.release], source, tmp_path / "store", config=config)
    assert (done.layout, done.tensors) == ("official", len(weights))
    assert same(tmp_path / "store/optimus-vae", weights)
