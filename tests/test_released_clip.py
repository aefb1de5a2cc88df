"""Published CLIPs, in every layout, into networks that compute the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.networks import clip
from brainkit.networks.clip import released
from brainkit.networks.clip.names import official_pieces, transformers_pieces
from brainkit.networks.clip.network import (
    load_image_embedding,
    load_network,
    load_text_embedding,
)
from brainkit.testing import converted
from brainkit.weights import Config, Release
from brainkit.weights.conversion import Conversion

GOLDEN = Path(__file__).parent / "golden"
NAMES = json.loads(gzip.decompress((GOLDEN / "released/names.json.gz").read_bytes()))
MINIATURE = CheckpointStore(Path(), miniature=True)
CLIPS = [
    pytest.param(clip.CLIP_L14, released.CLIP_L14, id="clip-vit-l14"),
    pytest.param(clip.CLIP_B32, released.CLIP_B32, id="clip-vit-b32"),
]


def bring(release: Release, place: Path, store: Path, config: Config | None = None) -> Conversion:
    (found,) = converted([release], place, store, config)
    return found


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def mini(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the configuration and the tensors of the miniature's network."""
    return MINIATURE.config(checkpoint), MINIATURE.load(checkpoint)


def official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Write CLIP's tensors as OpenAI named them: the converter's rules the other way round."""
    found: dict[str, Tensor] = {"logit_scale": tensors["logit_scale"]}
    for tower, prefix in (("vision", "visual."), ("text", "")):
        own = {
            n.removeprefix(f"{tower}_model."): t for n, t in tensors.items() if n.startswith(tower)
        }
        found |= {prefix + name: tensor for name, tensor in unfused(own, tower).items()}
    found["visual.proj"] = tensors["visual_projection.weight"].T
    found["text_projection"] = tensors["text_projection.weight"].T
    return contiguous(found)


ENDS = {
    "vision": {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "pre_layrnorm.weight": "ln_pre.weight",
        "pre_layrnorm.bias": "ln_pre.bias",
        "post_layernorm.weight": "ln_post.weight",
        "post_layernorm.bias": "ln_post.bias",
    },
    "text": {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
    },
}
WITHIN = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def unfused(own: Mapping[str, Tensor], tower: str) -> dict[str, Tensor]:
    found = {other: own[name] for name, other in ENDS[tower].items()}
    count = len({name.split(".")[2] for name in own if name.startswith("encoder.layers.")})
    for number in range(count):
        here, there = f"encoder.layers.{number}.", f"transformer.resblocks.{number}."
        for kind in ("weight", "bias"):
            fused = [own[f"{here}self_attn.{which}_proj.{kind}"] for which in "qkv"]
            found[f"{there}attn.in_proj_{kind}"] = torch.cat(fused)
            for name, other in WITHIN.items():
                found[f"{there}{other}.{kind}"] = own[f"{here}{name}.{kind}"]
    return found


def open_clip_folder(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file(official(tensors), path / "open_clip_model.safetensors")
    return path


def open_clip_bin(tensors: dict[str, Tensor], path: Path) -> Path:
    torch.save(official(tensors), path / "open_clip_pytorch_model.bin")
    return path


def openai_state_dict(tensors: dict[str, Tensor], path: Path) -> Path:
    sizes = {n: torch.tensor(7) for n in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**official(tensors), **sizes}, path / "any-name.pt")
    return path / "any-name.pt"


def transformers_folder(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file(tensors, path / "model.safetensors")
    return path


def old_transformers_bin(tensors: dict[str, Tensor], path: Path) -> Path:
    """Store the positions' numbers with the weights, as transformers did until version 4.31."""
    numbers = {
        f"{tower}_model.embeddings.position_ids": torch.arange(9)[None]
        for tower in ("text", "vision")
    }
    (path / "clip-vit-large-patch14").mkdir()
    (path / "clip-vit-base-patch32").mkdir()
    for folder in ("clip-vit-large-patch14", "clip-vit-base-patch32"):
        torch.save({**tensors, **numbers}, path / folder / "pytorch_model.bin")
    return path


def towers(tensors: dict[str, Tensor], path: Path, *, bare: bool) -> Path:
    for folder, tower, other in (
        ("text_encoder", "text", "visual"), ("image_encoder", "vision", "text"),
    ):  # fmt: skip
        own = {n: t for n, t in tensors.items() if n.startswith((f"{tower}_model.", "text_proj",
               "visual_proj")) and not n.startswith(f"{other}_proj")}  # fmt: skip
        named = {n.removeprefix(f"{tower}_model.") if bare else n: t for n, t in own.items()}
        (path / folder).mkdir()
        save_file(named, path / folder / "model.safetensors")
    return path


def two_towers(tensors: dict[str, Tensor], path: Path) -> Path:
    return towers(tensors, path, bare=False)


def two_bare_towers(tensors: dict[str, Tensor], path: Path) -> Path:
    return towers(tensors, path, bare=True)


CLIP_FORMS = [
    open_clip_folder, open_clip_bin, openai_state_dict, transformers_folder, old_transformers_bin,
    two_towers, two_bare_towers,
]  # fmt: skip


@pytest.mark.parametrize("form", CLIP_FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize(("checkpoint", "release"), CLIPS)
def test_clip_comes_back_bit_by_bit_from_every_layout(checkpoint, release, form, tmp_path):
    config, tensors = mini(checkpoint)
    found = bring(release, form(tensors, tmp_path), tmp_path / "store", config)
    written = load_file(tmp_path / "store" / checkpoint.name / "model.safetensors")
    assert written.keys() == tensors.keys() - {"logit_scale"}
    assert all(torch.equal(written[name], tensors[name]) for name in written)
    assert found.lacks == ("tokenizer.json",)


@pytest.mark.parametrize(("checkpoint", "release"), CLIPS)
def test_converted_clip_gives_equal_embeddings(checkpoint, release, tmp_path):
    config, tensors = mini(checkpoint)
    place = open_clip_folder(tensors, tmp_path)
    own = MINIATURE.folder(checkpoint) / "tokenizer.json"
    (place / "tokenizer.json").write_bytes(own.read_bytes())
    bring(release, place, tmp_path / "store", config)
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 90, 3), np.uint8)
    texts = ["a red disc", "A BLUE ring", ""]
    for embed, stimuli in (
        (load_image_embedding, images), (load_text_embedding, texts),
    ):  # fmt: skip
        converted = embed(CheckpointStore(tmp_path / "store"), checkpoint)(stimuli)
        assert torch.equal(converted, embed(MINIATURE, checkpoint)(stimuli))


def test_clip_has_the_published_tensors_at_full_size():
    shapes = released.CLIP_L14.shapes(released.CLIP_L14.config)
    assert shapes == {name: tuple(shape) for name, shape in NAMES["clip-vit-l14"].items()}


@pytest.mark.parametrize(
    ("model", "release"),
    [("ViT-L-14-quickgelu", released.CLIP_L14), ("ViT-B-32-quickgelu", released.CLIP_B32)],
)
def test_open_clips_networks_have_all_tensors_at_full_size(model, release):
    open_clip = pytest.importorskip("open_clip")
    with torch.device("meta"):
        network = open_clip.model.CLIP(**open_clip.get_model_config(model))
    file = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    pieces, shapes = official_pieces(release.config, (file,)), release.shapes(release.config)
    assert pieces.keys() == {*shapes, "logit_scale"}
    for name, wanted in shapes.items():
        piece = pieces[name]
        shape, parts = file[piece.name], piece.part[1]
        cut = (shape[0] // parts, *shape[1:]) if shape else ()
        assert (cut[::-1] if piece.transposed else cut) == wanted, name
    assert file.keys() == {piece.name for piece in pieces.values()}


def test_a_network_saved_by_open_clip_gives_open_clips_embeddings(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    vision = open_clip.model.CLIPVisionCfg(layers=3, width=32, head_width=8, patch_size=8,
                                           image_size=32)  # fmt: skip
    text = open_clip.model.CLIPTextCfg(context_length=9, vocab_size=50, width=24, heads=3, layers=2)
    network = open_clip.model.CLIP(16, vision, text, quick_gelu=True).eval().requires_grad_(False)
    for parameter in network.parameters():  # biases begin as 0
        parameter.add_(0.05 * torch.randn(parameter.shape))
    torch.save(network.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    config = {
        "projection_dim": 16,
        "text_config": {
            "vocab_size": 50, "max_position_embeddings": 9, "hidden_size": 24,
            "intermediate_size": 96, "num_attention_heads": 3, "num_hidden_layers": 2,
            "bos_token_id": 48, "eos_token_id": 49, "pad_token_id": 49,
        },
        "vision_config": {
            "image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 128,
            "num_attention_heads": 4, "num_hidden_layers": 3,
        },
    }  # fmt: skip
    bring(released.CLIP_B32, tmp_path, tmp_path / "store", config)
    store = CheckpointStore(tmp_path / "store")
    pixels = torch.randn(2, 3, 32, 32)
    seen = load_network(store, clip.CLIP_B32, "vision")(pixels).image_embeds
    torch.testing.assert_close(seen, network.encode_image(pixels), atol=1e-5, rtol=0)
    ids = torch.tensor([[48, 3, 17, 49, 0, 0, 0, 0, 0], [48, 5, 9, 2, 40, 31, 8, 11, 49]])
    read = load_network(store, clip.CLIP_B32, "text")(ids).text_embeds
    torch.testing.assert_close(read, network.encode_text(ids), atol=1e-5, rtol=0)


def test_a_clip_is_not_taken_for_another_one(tmp_path):
    whole = [released.CLIP_L14, released.CLIP_B32]
    names = {each.name: set(each.shapes(each.config)) for each in whole}
    for release in whole:
        for name, own in names.items():
            found = transformers_pieces(release.config, (own,))
            assert found.keys() == (own if name == release.name else set())


def full_size_names_alone(release: Release, path: Path) -> Path:
    names = release.shapes(release.config)
    save_file({name: torch.zeros(1) for name in names}, path / "model.safetensors")
    return path


@pytest.mark.parametrize("key", ["hidden_act", "num_attention_heads"])
def test_a_clip_that_computes_otherwise_is_refused_by_its_configuration(key, tmp_path):
    place = full_size_names_alone(released.CLIP_B32, tmp_path)
    vision = {**released.B32_CONFIG["vision_config"], key: "other"}
    config = {**released.B32_CONFIG, "vision_config": vision, "architectures": ["CLIPModel"]}
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"vision_config\.{key} is 'other', expected "):
        bring(released.CLIP_B32, place, tmp_path / "store")


def test_other_shapes_are_counted(tmp_path):
    place = full_size_names_alone(released.CLIP_B32, tmp_path)
    with pytest.raises(CheckpointError, match=r"39\d misshapen .*77x512, .* and 39\d more"):
        bring(released.CLIP_B32, place, tmp_path / "store")


def test_networks_take_their_weights_without_a_second_copy(tmp_path):
    _, tensors = mini(clip.CLIP_L14)
    bring(released.CLIP_L14, transformers_folder(tensors, tmp_path), tmp_path / "store",
          MINIATURE.config(clip.CLIP_L14))  # fmt: skip
    taken: dict[str, Tensor] = {}

    class Watched(CheckpointStore):
        def load(self, *arguments: Any, **options: Any) -> dict[str, Tensor]:
            loaded = super().load(*arguments, **options)
            taken.update({each.data_ptr(): each for each in loaded.values()})
            return loaded

    network = load_network(Watched(tmp_path / "store"), clip.CLIP_L14, "text")
    assert {each.data_ptr() for each in network.parameters()} == set(taken)
    positions = network.text_model.embeddings.position_ids
    assert positions.tolist() == [list(range(positions.shape[1]))]
