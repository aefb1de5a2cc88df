"""The parts that speak to Stable Diffusion, with the small weights the packages ship."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPConfig, CLIPTextModel

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Stimuli
from brainkit.encoders.autokl import AutoKL
from brainkit.encoders.clip import CLIP_L14
from brainkit.errors import CheckpointError, DataError, UsageError
from brainkit.options import parsed
from brainkit.samplers.diffusion import DDIM
from brainkit_minddiffuser import MINDDIFFUSER
from brainkit_minddiffuser.checkpoints import SD_UNET
from brainkit_minddiffuser.loading import load_unet
from brainkit_minddiffuser.parts import LAYERS, SdText, StableDiffusion

SMALL = CheckpointStore(Path("nowhere"), miniature=True)
CAPTIONS = (
    ("a red circle", "a small red circle on sand", "one circle", "a circle, red", "a dot", "no"),
    ("a blue square on grass",),
)


def told(captions: tuple[tuple[str, ...], ...]) -> Stimuli:
    return Stimuli(np.zeros((0, 0, 0, 3), np.uint8), captions, np.arange(len(captions), dtype="i4"))


def states(text: str, length: int) -> Tensor:
    """Read one text with transformers' own text model, through its own loading of weights."""
    folder = SMALL.folder(CLIP_L14)
    config = CLIPConfig.from_dict(json.loads((folder / "config.json").read_text())).text_config
    model = CLIPTextModel(config).eval()
    weights = SMALL.load(CLIP_L14)
    own = {n: weights[f"text_model.{n.removeprefix('text_model.')}"] for n in model.state_dict()}
    model.load_state_dict(own, strict=True)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    ids = [*ids[: length - 1], config.eos_token_id] if len(ids) > length else ids
    ids += [config.eos_token_id] * (length - len(ids))
    with torch.no_grad():
        found: Tensor = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return found


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, (slice(0, 5), slice(0, 1))),
        ({"captions": "all"}, (slice(0, 6), slice(0, 1))),
        ({"captions": "first"}, (slice(0, 1), slice(0, 1))),
        ({"tokens": 5}, (slice(0, 5), slice(0, 1))),
        ({"tokens": "all"}, (slice(0, 5), slice(0, 1))),
    ],
    ids=str,
)
def test_texts_are_the_mean_of_the_captions_last_hidden_states(options, rows):
    encoder = SdText(**options)
    with torch.no_grad():
        found = encoder.load(SMALL)(told(CAPTIONS))
    tokens = {5: 5, "all": 32}.get(options.get("tokens", 15), 15)
    assert tuple(found.shape[1:]) == encoder.shape(SMALL) == (tokens, 128)
    for row, (captions, cut) in enumerate(zip(CAPTIONS, rows, strict=True)):
        expected = torch.stack([states(each, tokens) for each in captions[cut]]).mean(dim=0)
        torch.testing.assert_close(found[row], expected, atol=2e-5, rtol=0)


def test_token_0_is_the_same_for_all_texts_and_the_others_are_not():
    with torch.no_grad():
        found = SdText().load(SMALL)(told((*CAPTIONS, ("",))))
    torch.testing.assert_close(found[0, 0], found[2, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1, 0], found[2, 0], atol=1e-5, rtol=0)
    assert (found[0, 1:] - found[1, 1:]).abs().max() > 0.1


def test_a_shorter_empty_text_is_the_beginning_of_a_longer_one():
    long, short = (SdText(tokens=tokens).load(SMALL)(told((("",),))) for tokens in ("all", 15))
    torch.testing.assert_close(long[:, :15], short, atol=1e-5, rtol=0)


def test_the_length_can_be_typed():
    for typed, tokens in (("all", 32), ("20", 20)):
        value = parsed(typed)
        method = MINDDIFFUSER.with_options({"encoder.text_tokens.tokens": value}).check()
        assert method.encoders["text_tokens"].shape(SMALL) == (tokens, 128)


@pytest.mark.parametrize("tokens", [-1, 0, 2, 33, 78])
def test_a_length_the_text_tower_cannot_read_is_one_sentence(tokens):
    for ask in (SdText(tokens=tokens).shape, SdText(tokens=tokens).load):
        with pytest.raises(UsageError, match=f"{tokens} tokens .* reads 3 to 32"):
            ask(SMALL)


def placed(root: Path, config: dict[str, object], weights: dict[str, Tensor]) -> CheckpointStore:
    """Put a UNet beside links to the small weights of the other networks."""
    from brainkit.encoders.autokl import KL_F8

    for other in (CLIP_L14, KL_F8):
        (root / other.name).symlink_to(SMALL.folder(other))
    place = root / SD_UNET.name
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config))
    save_file(weights, place / "model.safetensors")
    return CheckpointStore(root)


CONFIG: dict[str, object] = {
    "sample_size": 16,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 128,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> CheckpointStore:
    torch.manual_seed(0)
    network = UNet2DConditionModel(**CONFIG)
    return placed(tmp_path_factory.mktemp("store"), CONFIG, network.state_dict())


def drawn(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def features(batch: int = 3, tokens: int = 15) -> dict[str, Tensor]:
    layers = {name: drawn(batch, 50, 80, seed=k) for k, name in enumerate(LAYERS, start=2)}
    latent = drawn(batch, 4, 16, 16)
    return {"image_latent": latent, "text_tokens": drawn(batch, tokens, 128, seed=1), **layers}


@torch.no_grad()
def test_the_denoiser_is_guided_away_from_the_empty_text(store):
    given = features()
    condition = StableDiffusion(guidance=3.0).load(store)(given)["image"]
    network, level = load_unet(store), condition.sigmas[500]
    latent = given["image_latent"] + level * drawn(3, 4, 16, 16, seed=9)
    signal = 1 / (1 + level**2)
    empty = states("", 15).expand(3, -1, -1)
    with_c, without = (
        network(latent * signal.sqrt(), torch.tensor(500), context).sample
        for context in (given["text_tokens"], empty)
    )
    expected = latent - level * (without + 3 * (with_c - without))
    found = condition.denoise(latent, level)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_any_number_of_tokens_the_tower_reads_will_do(store):
    conditioner = StableDiffusion()
    for tokens in (5, 32):
        condition = conditioner.load(store)(features(tokens=tokens))["image"]
        assert condition.denoise(condition.start, condition.sigmas[9]).isfinite().all()


def test_the_paper_s_stage_1_starts_from_z_under_c(store):
    given = features()
    condition = StableDiffusion().load(store)(given)["image"]
    assert torch.equal(condition.start, given["image_latent"])
    assert condition.context is not None
    assert torch.equal(condition.context, given["text_tokens"])
    assert condition.strength == 0.7
    assert condition.misfit is not None


@torch.no_grad()
def test_without_z_pictures_begin_with_noise_alone(store):
    load = StableDiffusion(use_z=False).load(store)
    given = features()
    other = given | {"image_latent": given["image_latent"] + 1}
    walk = DDIM(steps=4)
    ends = [walk.sample(load(each)["image"], [1, 2, 3]) for each in (given, other)]
    assert torch.equal(*ends)
    assert load(given)["image"].strength == 1.0


@pytest.mark.parametrize("use_z", [True, False])
def test_without_c_the_decoded_latent_is_left_as_it_is(store, use_z):
    given = features()
    condition = StableDiffusion(use_c=False, use_z=use_z).load(store)(given)["image"]
    found = DDIM(steps=50, noise_lead=3).sample(condition, [1, 2, 3])
    expected = given["image_latent"] if use_z else torch.zeros(3, 4, 16, 16)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert condition.misfit is None


def test_without_c_no_network_is_needed(tmp_path):
    StableDiffusion(use_c=False).load(CheckpointStore(tmp_path))(features())


@pytest.mark.parametrize("name", ["image_latent", "text_tokens"])
def test_units_left_out_of_what_the_denoiser_reads_are_refused(store, name):
    given = features()
    given[name][:, 0, 3] = float("nan")
    with pytest.raises(DataError, match=f"{name} was not predicted in .* regressor.{name}.units"):
        StableDiffusion().load(store)(given)


def test_units_left_out_of_the_layers_are_fine(store):
    given = features()
    given["layer_3"][:, 4] = float("nan")
    assert StableDiffusion().load(store)(given)["image"].start.isfinite().all()


@pytest.mark.parametrize("shape", [(33, 128), (15, 64), (128,)])
def test_texts_of_another_tower_are_one_sentence(store, shape):
    given = features() | {"text_tokens": drawn(3, *shape)}
    with pytest.raises(DataError, match=r"text_tokens has shape .* up to 32 tokens of 128"):
        StableDiffusion().load(store)(given)


def test_weights_that_are_not_there_or_do_not_fit_are_named(store, tmp_path):
    with pytest.raises(CheckpointError, match="clip-vit-l14"):
        StableDiffusion().load(CheckpointStore(tmp_path))
    weights = store.load(SD_UNET)
    del weights["conv_in.bias"]
    lacking = placed(tmp_path, CONFIG, weights)
    with pytest.raises(CheckpointError, match=r"sd-v1-4-unet.*conv_in\.bias"):
        StableDiffusion().load(lacking)


def test_networks_of_the_misfit_are_loaded_by_its_first_call(store):
    """The store lacks CLIP ViT-B/32, which only the misfit needs."""
    condition = StableDiffusion().load(store)(features())["image"]
    assert condition.misfit is not None
    with pytest.raises(CheckpointError, match="clip-vit-b32"):
        condition.misfit(condition.start)


def test_half_precision_stays_near(store):
    given = features()
    walk = DDIM(steps=5)
    with torch.no_grad():
        full, half = (
            walk.sample(StableDiffusion().load(each)(given)["image"], [1, 2, 3])
            for each in (store, replace(store, dtype="bfloat16"))
        )
    assert half.dtype == torch.float32
    # bfloat16 keeps 8 bits; guidance 5 multiplies the error.
    assert (half - full).norm() / full.norm() < 0.1


def test_the_latent_of_the_encoder_is_what_the_denoiser_was_made_for():
    side = SMALL.config(SD_UNET)["sample_size"]
    assert AutoKL().shape(SMALL) == (4, side, side)
    assert SdText().shape(SMALL)[1] == SMALL.config(SD_UNET)["cross_attention_dim"]
