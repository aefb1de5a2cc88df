"""Published weights of core's encoders, in every layout, into networks that compute the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.encoders import autokl, clip, released
from brainkit.encoders.clip_names import official_pieces, transformers_pieces
from brainkit.errors import CheckpointError
from brainkit.weights import Config, Release
from brainkit.weights.conversion import Conversion, conversions, write
from brainkit.weights.convert import Source, convert

GOLDEN = Path(__file__).parent / "golden"
NAMES = json.loads(gzip.decompress((GOLDEN / "released/names.json.gz").read_bytes()))
MINIATURE = CheckpointStore(Path(), miniature=True)
CLIPS = [
    pytest.param(clip.CLIP_L14, released.CLIP_L14, id="clip-vit-l14"),
    pytest.param(clip.CLIP_B32, released.CLIP_B32, id="clip-vit-b32"),
]
TINY_AUTOKL = {
    **released.AUTOKL_CONFIG,
    "block_out_channels": [32, 32, 32, 64],
    "layers_per_block": 1,
    "norm_num_groups": 32,
    "sample_size": 64,
}


def bring(release: Release, place: Path, store: Path, config: Config | None = None) -> Conversion:
    """Convert in this process what is found below a place."""
    with ExitStack() as stack:
        (found,) = conversions([release], [place], config, stack)
        folder = store / found.checkpoint
        folder.mkdir(parents=True)
        write(found, folder)
    return found


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


# The image autoencoder


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A tiny network's tensors in the names of kl-f8.pth."""
    return load_file(GOLDEN / "autokl/tiny_autokl.safetensors")


def as_diffusers(published: Mapping[str, Tensor], column: int) -> dict[str, Tensor]:
    """Rename by the table; the tiny network widens in other blocks than the published one."""
    named = {row[0]: row[column] for row in NAMES["autokl"]}
    for first in [name for name in named if ".conv1." in name]:
        other = named[first].replace("conv1", "conv_shortcut")
        named.setdefault(first.replace("conv1", "nin_shortcut"), other)
    renamed = {named[name]: tensor for name, tensor in published.items()}
    squeezed = [n for n, t in renamed.items() if ".attentions." in n and t.ndim == 4]
    if column == 3:
        renamed |= {name: renamed[name][:, :, 0, 0] for name in squeezed}
    return renamed


def official_pth(published: dict[str, Tensor], path: Path) -> Path:
    torch.save(published, path / "kl-f8.pth")
    return path / "kl-f8.pth"


def hub_folder(published: dict[str, Tensor], path: Path) -> Path:
    (path / "pretrained_pth").mkdir()
    torch.save(published, path / "pretrained_pth/kl-f8.pth")
    return path


def vae_folder(published: dict[str, Tensor], path: Path) -> Path:
    (path / "vae").mkdir()
    tensors = contiguous(as_diffusers(published, 3))
    save_file(tensors, path / "vae/diffusion_pytorch_model.safetensors")
    (path / "vae/config.json").write_text(json.dumps(TINY_AUTOKL))
    return path


def old_vae_folder(published: dict[str, Tensor], path: Path) -> Path:
    """Write attention as the first folders had it: other names, 1 x 1 convolutions."""
    (path / "vae").mkdir()
    old = as_diffusers(published, 2)
    assert old["encoder.mid_block.attentions.0.proj_attn.weight"].ndim == 4
    torch.save(old, path / "vae/diffusion_pytorch_model.fp16.bin")
    return path


def in_stable_diffusion(published: dict[str, Tensor], path: Path) -> Path:
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in published.items()}
    others = ("model.diffusion_model.out.2.bias", "betas", "model_ema.decay",
              "cond_stage_model.transformer.text_model.embeddings.position_ids")  # fmt: skip
    tensors |= {name: torch.zeros(3) for name in others}
    torch.save({"state_dict": tensors, "global_step": 470000}, path / "sd-v1-4.ckpt")
    return path / "sd-v1-4.ckpt"


FORMS = [official_pth, hub_folder, vae_folder, old_vae_folder, in_stable_diffusion]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_the_autoencoder_gives_the_published_numbers_in_every_layout(form, published, tmp_path):
    found = bring(released.KL_F8, form(published, tmp_path), tmp_path / "store", TINY_AUTOKL)
    assert {entry.dtype for entry in found.entries.values()} == {"F16"}
    network = autokl.load_autokl(CheckpointStore(tmp_path / "store"))
    golden = load_file(GOLDEN / "autokl/autokl.safetensors")
    mean = network.encode(2 * golden["image01"] - 1).latent_dist.mean
    torch.testing.assert_close(mean, golden["mean"], atol=3e-5, rtol=0)
    decoded = network.decode(golden["z"]).sample
    torch.testing.assert_close(decoded, golden["decoder_raw"], atol=3e-5, rtol=0)


def test_the_confined_child_reads_the_published_file(published, tmp_path):
    source = Source((official_pth(published, tmp_path),))
    store, release = tmp_path / "store", autokl.KL_F8.release
    (done,) = convert([release], source, store, config=TINY_AUTOKL)
    assert (done.checkpoint, done.layout, done.tensors) == ("kl-f8", "official", len(published))
    assert autokl.load_autokl(CheckpointStore(store)).dtype == torch.float32


def test_the_autoencoder_has_the_published_tensors_at_full_size():
    shapes = released.KL_F8.shapes(released.KL_F8.config)
    assert shapes == {row[3]: tuple(row[4]) for row in NAMES["autokl"]}


def full_size_names(column: int, prefix: str = "") -> dict[str, str]:
    return {row[3]: prefix + row[column] for row in NAMES["autokl"]}


@pytest.mark.parametrize(
    ("layout", "table"),
    [
        ("official", full_size_names(0)),
        ("diffusers", full_size_names(2)),
        ("diffusers", full_size_names(3)),
        ("Stable Diffusion's single file", full_size_names(0, "first_stage_model.")),
    ],
)
def test_every_name_of_the_autoencoder_is_found_where_the_table_says(layout, table):
    (pieces,) = (each.pieces for each in released.KL_F8.layouts if each.name == layout)
    found = pieces(released.KL_F8.config, (set(table.values()),))
    assert {own: piece.name for own, piece in found.items()} == table


def test_an_autoencoder_of_another_configuration_is_refused(published, tmp_path):
    place = vae_folder(published, tmp_path)
    other = {"scaling_factor": 0.13025, "sample_size": 256}
    (place / "vae/config.json").write_text(json.dumps({**released.AUTOKL_CONFIG, **other}))
    with pytest.raises(CheckpointError, match=r"scaling_factor is 0\.13025, expected 0\.18215;"):
        bring(released.KL_F8, place, tmp_path / "store")


def test_unknown_tensors_beside_the_autoencoder_are_refused_by_name(published, tmp_path):
    path = in_stable_diffusion(published, tmp_path)
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in published.items()}
    more = {"control.a": torch.zeros(1), "first_stage_model.loss.logvar": torch.zeros(())}
    torch.save({"state_dict": {**tensors, **more}}, path)
    with pytest.raises(CheckpointError, match=r"2 extra \(control\.a, .*loss\.logvar\)"):
        bring(released.KL_F8, path, tmp_path / "store", TINY_AUTOKL)


# CLIP


def mini(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Give the configuration and the tensors of the miniature's network."""
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
        (clip.load_image_embedding, images), (clip.load_text_embedding, texts),
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
    seen = clip.load_network(store, clip.CLIP_B32, "vision")(pixels).image_embeds
    torch.testing.assert_close(seen, network.encode_image(pixels), atol=1e-5, rtol=0)
    ids = torch.tensor([[48, 3, 17, 49, 0, 0, 0, 0, 0], [48, 5, 9, 2, 40, 31, 8, 11, 49]])
    read = clip.load_network(store, clip.CLIP_B32, "text")(ids).text_embeds
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


def test_other_shapes_are_all_listed(tmp_path):
    place = full_size_names_alone(released.CLIP_B32, tmp_path)
    with pytest.raises(CheckpointError, match=r"39\d misshapen .*expected 512x512"):
        bring(released.CLIP_B32, place, tmp_path / "store")


# Its tokenizer


BYTES = [chr(code) for code in [*range(33, 127), *range(161, 173), *range(174, 256)]]
MERGES = ["l o", "lo w</w>", "e r", "er </w>", "n e", "ne w</w>", "Ã ©", "Ã ©</w>", "' s</w>"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A tiny vocabulary in CLIP's two files: the bytes, alone and at words' ends, and merges."""
    folder = tmp_path_factory.mktemp("tables")
    extra = [chr(256 + code) for code in range(256 - len(BYTES))]
    pieces = [*BYTES, *extra]
    tokens = [*pieces, *(f"{piece}</w>" for piece in pieces)]
    merges = [pair for pair in MERGES if pair != "er </w>"]
    tokens += ["".join(pair.split()) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(tokens)) == len(tokens)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder


TEXTS = [
    "",
    "Lower NEW low",
    "  a\ttab,\n\na line   and\u00a0a hard space ",
    "caf\u00e9 cafe\u0301 CAF\u00c9",
    "it's 2026, isn't it? they'LL #go!!",
    "\u4eba \U0001f600 \u0130stanbul \u00df",
    "new <|endoftext|> new <|STARTOFTEXT|>",
    "low " * 30,
]


def tokens_of(folder: Path, tmp_path: Path) -> Callable[[list[str]], Tensor]:
    """Bring a tiny CLIP with a folder's tokenizer into a store and give its reader."""
    config, tensors = mini(clip.CLIP_L14)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    place = open_clip_folder(tensors, tmp_path)
    found = bring(released.CLIP_L14, place, tmp_path / "store", config)
    assert found.lacks == ()
    return clip.load_tokenizer(CheckpointStore(tmp_path / "store"), clip.CLIP_L14, 20)


def expected_ids(tables: Path) -> Tensor:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer(str(tables / "vocab.json"), str(tables / "merges.txt"))
    encoded = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=20)
    return torch.tensor(encoded["input_ids"])


def test_a_tokenizer_made_of_two_tables_is_transformers_own(tables, tmp_path):
    found, expected = tokens_of(tables, tmp_path)(TEXTS), expected_ids(tables)
    assert torch.equal(found, expected)
    assert len({tuple(row) for row in expected.tolist()}) == len(TEXTS)
    cafe = expected[3, 1:-1].tolist()
    assert cafe[:4] == cafe[4:8] == cafe[8:12]  # composed, decomposed and in capitals


def test_the_confined_child_reads_clip_and_makes_its_tokenizer(tables, tmp_path):
    config, tensors = mini(clip.CLIP_B32)
    place = open_clip_bin(tensors, tmp_path)
    for path in tables.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    store = tmp_path / "store"
    (done,) = convert([clip.CLIP_B32.release], Source((place,)), store, config=config)
    assert (done.layout, done.tensors, done.lacks) == ("open_clip", len(tensors) - 1, ())
    read = clip.load_tokenizer(CheckpointStore(store), clip.CLIP_B32, 20)
    assert torch.equal(read(TEXTS), expected_ids(tables))


def test_a_folders_own_tokenizer_is_kept_as_it_is(tables, tmp_path):
    from transformers import CLIPTokenizer

    folder = tmp_path / "own"
    CLIPTokenizer(str(tables / "vocab.json"), str(tables / "merges.txt")).save_pretrained(folder)
    (folder / "vocab.json").write_text("not read beside tokenizer.json")
    (tmp_path / "in").mkdir()
    assert torch.equal(tokens_of(folder, tmp_path / "in")(TEXTS), expected_ids(tables))
    kept = tmp_path / "in/store/clip-vit-l14/tokenizer.json"
    assert kept.read_bytes() == (folder / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vocab.json", "{", "is not the whole file of a tokenizer"),
        ("vocab.json", '{"a": 1}', r"has no numbers for <\|startoftext\|>"),
        ("vocab.json", "[3]", "is not the whole file of a tokenizer"),
        ("merges.txt", "#version: 0.2\nz q\n", "joins 'z q', which the vocabulary"),
        ("merges.txt", "#version: 0.2\na b c\n", "joins 'a b c', which the vocabulary"),
        ("tokenizer.json", '{"added_tokens": []}', r"has \[\] as added tokens"),
    ],
)
def test_damaged_tokenizers_are_refused_by_name(name, content, said, tables, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for table in tables.iterdir():
        (folder / table.name).write_bytes(table.read_bytes())
    (folder / name).write_text(content)
    (tmp_path / "in").mkdir()
    with pytest.raises(CheckpointError, match=said):
        tokens_of(folder, tmp_path / "in")


# Loading


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

    network = clip.load_network(Watched(tmp_path / "store"), clip.CLIP_L14, "text")
    assert {each.data_ptr() for each in network.parameters()} == set(taken)
    positions = network.text_model.embeddings.position_ids
    assert positions.tolist() == [list(range(positions.shape[1]))]


@pytest.mark.parametrize("release", [released.KL_F8, released.CLIP_L14, released.CLIP_B32])
def test_a_checkpoint_names_its_own_release(release):
    checkpoints = (autokl.KL_F8, clip.CLIP_L14, clip.CLIP_B32)
    (own,) = (each for each in checkpoints if each.name == release.name)
    module, _, name = own.release.partition(":")
    assert module == "brainkit.encoders.released"
    assert getattr(released, name) is release


def test_a_release_of_other_sizes_checks_its_own_configuration(published, tmp_path):
    tiny = replace(released.KL_F8, config=TINY_AUTOKL)
    assert bring(tiny, vae_folder(published, tmp_path), tmp_path / "store").config == TINY_AUTOKL
