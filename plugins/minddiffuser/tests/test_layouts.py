"""Names in both layouts of Stable Diffusion v1.4 against the whole table of the published files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from brainkit.encoders.autokl_names import from_official
from brainkit.errors import CheckpointError
from brainkit_minddiffuser import layouts

GOLDEN = json.loads(
    gzip.decompress(
        Path(__file__, "../golden/layouts/sd_v1_4_names.json.gz").resolve().read_bytes()
    )
)
ROWS: dict[str, list[tuple[str, list[int], str, list[int]]]] = GOLDEN["rows"]
SOURCES = {
    "unet": layouts.unet_sources,
    "vae": layouts.autokl_sources,
    "text_encoder": layouts.text_sources,
}
SHAPES: dict[str, Callable[[], dict[str, tuple[int, ...]]]] = {
    "unet": layouts.unet_shapes,
    "vae": layouts.autokl_shapes,
    "text_encoder": layouts.text_shapes,
}


def empty(shape: list[int]) -> Tensor:
    return torch.empty(shape, device="meta")


def compvis_file() -> dict[str, Tensor]:
    """Give all 1145 tensors of sd-v1-4.ckpt, without numbers."""
    own = {row[2]: empty(row[3]) for rows in ROWS.values() for row in rows}
    return own | {name: empty(shape) for name, shape in GOLDEN["buffers"].items()}


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def unet() -> nn.Module:
    made: nn.Module = on_meta(lambda: UNet2DConditionModel.from_config(layouts.UNET))
    return made


@pytest.mark.parametrize("network", list(ROWS))
def test_every_name_is_translated_as_the_table_says(network: str) -> None:
    assert SOURCES[network](compvis_file()) == {row[0]: row[2] for row in ROWS[network]}


@pytest.mark.parametrize("network", list(ROWS))
def test_names_of_diffusers_stay(network: str) -> None:
    names = [row[0] for row in ROWS[network]]
    assert SOURCES[network](names) == {name: name for name in names}


@pytest.mark.parametrize("network", list(ROWS))
def test_networks_have_the_published_tensors_at_full_size(network: str) -> None:
    assert SHAPES[network]() == {row[0]: tuple(row[1]) for row in ROWS[network]}


@pytest.mark.parametrize(
    ("own", "network"),
    [(layouts.UNET, "unet"), (layouts.AUTOKL, "vae"), (layouts.TEXT, "text_encoder")],
)
def test_configurations_are_the_published_ones(own: dict[str, Any], network: str) -> None:
    assert {k: v for k, v in own.items() if k != "_class_name"} == GOLDEN["configs"][network]


def test_the_file_has_as_many_tensors_as_published_and_no_strangers() -> None:
    assert len(compvis_file()) == 1145
    assert layouts.strangers(compvis_file()) == []
    assert layouts.strangers([*compvis_file(), "model.other", "alphas", "betas.0"]) == [
        "alphas",
        "betas.0",
        "model.other",
    ]


def test_both_layouts_of_the_unet_load_strictly_at_full_size() -> None:
    folder = {row[0]: empty(row[1]) for row in ROWS["unet"]}
    for file in (folder, compvis_file()):
        unet().load_state_dict(layouts.unet_tensors(file), strict=True, assign=True)


def test_both_layouts_of_the_autoencoder_load_strictly_at_full_size() -> None:
    single = {
        n.removeprefix(layouts.AUTOKL_PREFIX): t
        for n, t in compvis_file().items()
        if n.startswith(layouts.AUTOKL_PREFIX)
    }
    for weights in ({row[0]: empty(row[1]) for row in ROWS["vae"]}, from_official(single)):
        network = on_meta(lambda: AutoencoderKL.from_config(layouts.AUTOKL))
        network.load_state_dict(weights, strict=True, assign=True)


def test_both_layouts_of_the_text_tower_load_strictly_at_full_size() -> None:
    file = compvis_file()
    single = {own: file[name] for own, name in layouts.text_sources(file).items()}
    for weights in ({row[0]: empty(row[1]) for row in ROWS["text_encoder"]}, single):
        network = on_meta(lambda: CLIPTextModel(CLIPTextConfig(**layouts.TEXT)))
        bare = not any(name.startswith("text_model.") for name in network.state_dict())
        named = {n.removeprefix("text_model.") if bare else n: t for n, t in weights.items()}
        network.load_state_dict(named, strict=True, assign=True)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("layers", [1, 3])
def test_other_depths_are_counted_from_the_names(levels: int, layers: int) -> None:
    down = [f"down_blocks.{i}.resnets.{k}" for i in range(levels) for k in range(layers)]
    names, count = {}, 0
    for level in range(levels):
        for _ in range(layers):
            count += 1
            names[f"input_blocks.{count}.0.in_layers.0.weight"] = f"{down.pop(0)}.norm1.weight"
        if level < levels - 1:
            count += 1
            target = f"down_blocks.{level}.downsamplers.0.conv.weight"
            names[f"input_blocks.{count}.0.op.weight"] = target
    file = {layouts.UNET_PREFIX + name: own for name, own in names.items()}
    assert layouts.unet_sources(file) == {own: name for name, own in file.items()}


def test_running_averages_are_taken_where_a_file_holds_them() -> None:
    raw = [row[2] for row in ROWS["unet"]]
    averages = {layouts.averaged_name(name): name for name in raw}
    assert len(averages) == len(raw)  # without dots no two names fall together
    tensors = {name: torch.zeros(1) for name in raw}
    tensors |= {name: torch.ones(1) for name in averages}
    assert all(tensor.item() == 1 for tensor in layouts.unet_tensors(tensors).values())
    del tensors["model_ema.diffusion_modelout2bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(model_ema.diffusion_modelout2bias\)"):
        layouts.unet_tensors(tensors)


def test_two_counters_of_averages_are_no_averages() -> None:
    assert (
        layouts.unet_sources(compvis_file())["conv_out.bias"] == "model.diffusion_model.out.2.bias"
    )


def test_unknown_tensors_are_listed() -> None:
    file = {**compvis_file(), "control_model.a": empty([1])}
    file |= {f"model.diffusion_model.{n}": empty([1]) for n in ("label_emb.0.0.bias", "out.7.bias")}
    with pytest.raises(CheckpointError) as caught:
        layouts.unet_tensors(file)
    for name in ("control_model.a", "label_emb.0.0.bias", "out.7.bias", "3 unknown"):
        assert name in str(caught.value)


def test_autoencoders_of_older_diffusers_are_read() -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    table = {}
    for name, *_ in ROWS["vae"]:
        before = name
        for new, was in old.items():
            before = before.replace(f".attentions.0.{new}.", f".attentions.0.{was}.")
        table[name] = before
    assert sum(name != before for name, before in table.items()) == 16
    assert layouts.autokl_sources(table.values()) == table


def test_text_towers_without_prefix_are_read() -> None:
    name = "embeddings.token_embedding.weight"
    assert layouts.text_sources([name, "embeddings.position_ids"]) == {f"text_model.{name}": name}
