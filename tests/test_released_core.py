"""The published autoencoder, in every layout, gives golden numbers; CLIP's tokenizer, its ids."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.networks import autokl, clip
from brainkit.networks.autokl.network import load_autokl
from brainkit.networks.autokl.released import AUTOKL_CONFIG, KL_F8
from brainkit.networks.clip import released
from brainkit.networks.clip.network import load_tokenizer
from brainkit.testing import converted
from brainkit.weights import Config, Release
from brainkit.weights.conversion import Conversion
from brainkit.weights.convert import ReleasedFiles, convert
from brainkit.weights.tokenizers import clip_file

GOLDEN = Path(__file__).parent / "golden"
NAMES = json.loads(gzip.decompress((GOLDEN / "released/names.json.gz").read_bytes()))
MINIATURE = CheckpointStore(Path(), miniature=True)
TINY_AUTOKL = {
    **AUTOKL_CONFIG,
    "block_out_channels": [32, 32, 32, 64],
    "layers_per_block": 1,
    "norm_num_groups": 32,
    "sample_size": 64,
}


def bring(release: Release, place: Path, store: Path, config: Config | None = None) -> Conversion:
    (found,) = converted([release], place, store, config)
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
    found = bring(KL_F8, form(published, tmp_path), tmp_path / "store", TINY_AUTOKL)
    assert {entry.dtype for entry in found.entries.values()} == {"F16"}
    network = load_autokl(CheckpointStore(tmp_path / "store"))
    golden = load_file(GOLDEN / "autokl/autokl.safetensors")
    mean = network.encode(2 * golden["image01"] - 1).latent_dist.mean
    torch.testing.assert_close(mean, golden["mean"], atol=3e-5, rtol=0)
    decoded = network.decode(golden["z"]).sample
    torch.testing.assert_close(decoded, golden["decoder_raw"], atol=3e-5, rtol=0)


def test_the_published_file_comes_into_the_store(published, tmp_path):
    source = ReleasedFiles((official_pth(published, tmp_path),))
    store, release = tmp_path / "store", autokl.KL_F8.release
    (done,) = convert([release], source, store, config=TINY_AUTOKL)
    assert (done.checkpoint, done.layout, done.tensors) == ("kl-f8", "official", len(published))
    assert load_autokl(CheckpointStore(store)).dtype == torch.float32


def test_the_autoencoder_has_the_published_tensors_at_full_size():
    shapes = KL_F8.shapes(KL_F8.config)
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
    (pieces,) = (each.pieces for each in KL_F8.layouts if each.name == layout)
    found = pieces(KL_F8.config, (set(table.values()),))
    assert {own: piece.name for own, piece in found.items()} == table


def test_an_autoencoder_of_another_configuration_is_refused(published, tmp_path):
    place = vae_folder(published, tmp_path)
    other = {"scaling_factor": 0.13025, "sample_size": 256}
    (place / "vae/config.json").write_text(json.dumps({**AUTOKL_CONFIG, **other}))
    with pytest.raises(CheckpointError, match=r"scaling_factor is 0\.13025, expected 0\.18215;"):
        bring(KL_F8, place, tmp_path / "store")


def test_unknown_tensors_beside_the_autoencoder_are_refused_by_name(published, tmp_path):
    path = in_stable_diffusion(published, tmp_path)
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in published.items()}
    more = {"control.a": torch.zeros(1), "first_stage_model.loss.logvar": torch.zeros(())}
    torch.save({"state_dict": {**tensors, **more}}, path)
    with pytest.raises(CheckpointError, match=r"2 extra \(control\.a, .*loss\.logvar\)"):
        bring(KL_F8, path, tmp_path / "store", TINY_AUTOKL)


# CLIP's tokenizer


BYTES = [chr(code) for code in [*range(33, 127), *range(161, 173), *range(174, 256)]]
MERGES = ["l o", "lo w</w>", "e r", "n e", "ne w</w>", "Ã ©", "Ã ©</w>", "' s</w>"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A tiny vocabulary in CLIP's two files: the bytes, alone and at words' ends, and merges."""
    folder = tmp_path_factory.mktemp("tables")
    extra = [chr(256 + code) for code in range(256 - len(BYTES))]
    pieces = [*BYTES, *extra]
    tokens = [*pieces, *(f"{piece}</w>" for piece in pieces)]
    tokens += ["".join(pair.split()) for pair in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(tokens)) == len(tokens)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), encoding="utf-8")
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
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(MINIATURE.load(clip.CLIP_L14), tmp_path / "model.safetensors")
    config = MINIATURE.config(clip.CLIP_L14)
    found = bring(released.CLIP_L14, tmp_path, tmp_path / "store", config)
    assert found.lacks == ()
    return load_tokenizer(CheckpointStore(tmp_path / "store"), clip.CLIP_L14, 20)


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


def test_odd_texts_get_the_ids_they_always_got(tables):
    """Accents, emoji, other scripts, special tokens in a text, nothing, and long ones."""
    path = Path(__file__).parent / "golden/released/clip_ids.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(
        clip_file((tables / "vocab.json", tables / "merges.txt")).decode()
    )
    assert [tokenizer.encode(each).ids for each in known["texts"]] == known["clip"]
    assert [tokenizer.decode(each) for each in known["clip"]] == known["clip decoded"]


def test_clip_comes_into_the_store_with_its_tokenizer(tables, tmp_path):
    config, tensors = MINIATURE.config(clip.CLIP_B32), MINIATURE.load(clip.CLIP_B32)
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    for path in tables.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    store = tmp_path / "store"
    (done,) = convert([clip.CLIP_B32.release], ReleasedFiles((tmp_path,)), store, config=config)
    assert (done.layout, done.tensors, done.lacks) == ("transformers", len(tensors) - 1, ())
    read = load_tokenizer(CheckpointStore(store), clip.CLIP_B32, 20)
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


# Which release is whose


@pytest.mark.parametrize("release", [KL_F8, released.CLIP_L14, released.CLIP_B32])
def test_a_checkpoint_names_its_own_release(release):
    checkpoints = (autokl.KL_F8, clip.CLIP_L14, clip.CLIP_B32)
    (own,) = (each for each in checkpoints if each.name == release.name)
    module, _, name = own.release.partition(":")
    assert module.startswith("brainkit.networks.")
    assert getattr(import_module(module), name) is release


def test_a_release_of_other_sizes_checks_its_own_configuration(published, tmp_path):
    tiny = replace(KL_F8, config=TINY_AUTOKL)
    assert bring(tiny, vae_folder(published, tmp_path), tmp_path / "store").config == TINY_AUTOKL
