"""The shipped weights do what the miniature needs, on scenes that no network has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from brainkit.miniature import referee as referee_module
from brainkit.miniature.referee import (
    background_accuracy,
    colour_recall,
    load_referee,
    object_recall,
)
from brainkit.miniature.scenes import captions, images, make_scene

pytestmark = pytest.mark.slow
CHECKPOINTS = Path(referee_module.__file__).parent / "checkpoints"
SEEDS = range(1_500_000, 1_500_900)
SCENES = [make_scene(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return images(SEEDS)


@pytest.fixture(scope="module")
def referee() -> nn.Module:
    return load_referee()


def test_referee_names_what_clean_pictures_show(referee: nn.Module, pictures: Any) -> None:
    assert object_recall(referee, pictures, SCENES) >= 0.99
    assert colour_recall(referee, pictures, SCENES) >= 0.97
    assert background_accuracy(referee, pictures, SCENES) >= 0.99


def test_referee_is_at_chance_for_shuffled_pictures(referee: nn.Module, pictures: Any) -> None:
    """With 900 scenes chance varies by about 0.01; 0.2 is far outside."""
    assert object_recall(referee, np.roll(pictures, 1, axis=0), SCENES) < 0.2


def _autokl() -> Any:
    diffusers = pytest.importorskip("diffusers")
    config = json.loads((CHECKPOINTS / "autokl" / "config.json").read_text())
    network = diffusers.AutoencoderKL.from_config(config)
    network.load_state_dict(load_file(CHECKPOINTS / "autokl" / "model.safetensors"))
    return network.float().eval()


@torch.no_grad()
def test_autokl_returns_the_picture(referee: nn.Module, pictures: Any) -> None:
    network = _autokl()
    image = torch.from_numpy(pictures[:300]).permute(0, 3, 1, 2).float() / 127.5 - 1
    latent = torch.cat([network.encode(part).latent_dist.mean for part in image.split(100)])
    back = torch.cat([network.decode(part).sample.clamp(-1, 1) for part in latent.split(100)])
    psnr = -10 * ((back - image) / 2).square().mean(dim=(1, 2, 3)).log10()
    assert float(psnr.mean()) >= 25
    spread = latent.std(dim=(0, 2, 3))
    assert float(spread.max() / spread.min()) < 2
    assert latent.mean(dim=(0, 2, 3)).abs().max() < 0.2
    seen = ((back + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert object_recall(referee, seen, SCENES[:300]) >= 0.95
    assert background_accuracy(referee, seen, SCENES[:300]) >= 0.97


@torch.no_grad()
def test_folding_moves_latents_and_leaves_pictures() -> None:
    """Float32 rounding of a few dozen layers stays below 1e-4 of a range of 2."""
    from brainkit.miniature.train.autokl import fold

    network = _autokl()
    mean, std = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([0.5, 2.0, 1.0, 3.0])
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    folded = fold(network, mean, std)
    before, after = network.encode(image).latent_dist, folded.encode(image).latent_dist
    scale = std.view(1, 4, 1, 1)
    torch.testing.assert_close(after.mean * scale + mean.view(1, 4, 1, 1), before.mean)
    torch.testing.assert_close(after.std * scale, before.std)
    back = folded.decode(after.mean).sample
    torch.testing.assert_close(back, network.decode(before.mean).sample, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip", "clip_b32"])
def test_clip_finds_the_picture_of_a_caption(pictures: Any, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    folder = CHECKPOINTS / name
    config = transformers.CLIPConfig(**json.loads((folder / "config.json").read_text()))
    network = transformers.CLIPModel(config).eval()
    missing, unexpected = network.load_state_dict(
        load_file(folder / "model.safetensors"), strict=False
    )
    assert not unexpected
    assert all(name.endswith("position_ids") for name in missing)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073))
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711))
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    side = config.vision_config.image_size
    if side != pixels.shape[-1]:
        pixels = torch.nn.functional.interpolate(
            pixels.float(), side, mode="bicubic", antialias=True
        ).clamp(0, 255)
    pixels = (pixels.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    texts = [captions(scene)[0] for scene in SCENES]
    tokens = tokenizer(texts, padding="max_length", max_length=32, return_tensors="pt").input_ids
    joint = network(input_ids=tokens, pixel_values=pixels)
    similarity = joint.text_embeds @ joint.image_embeds.T
    own = similarity.diagonal()[:, None]
    assert float((similarity < own).sum() / (900 * 899)) >= 0.98
    ranks = torch.cat(
        [
            (block > block.diagonal()[:, None]).sum(dim=1)
            for block in (similarity[i : i + 100, i : i + 100] for i in range(0, 900, 100))
        ]
    )
    assert float((ranks < 1).float().mean()) >= 0.60
    assert float((ranks < 5).float().mean()) >= 0.93
