"""Takagi & Nishimoto's way from a small latent through a picture to the network's own size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Stimuli
from brainkit.encoders.autokl import AutoKL
from brainkit.errors import DataError
from brainkit.miniature.scenes import images
from brainkit.networks.autokl.network import load_autokl
from brainkit.samplers.diffusion import DDIM
from brainkit_minddiffuser.loading import load_enlarger
from brainkit_minddiffuser.takagi import LowResolution

SMALL = CheckpointStore(Path("nowhere"), miniature=True)
SIDE, LOW = 64, 40


@pytest.fixture(scope="module")
def latents() -> Tensor:
    """Return small latents of three scenes, (3, 4, 10, 10)."""
    stimuli = Stimuli(images(range(3)), (), np.arange(3, dtype=np.int32))
    encoder = AutoKL(scale=LOW / SIDE, resize="lanczos")
    with torch.no_grad():
        return encoder.load(SMALL)(stimuli)


def low_pictures(latents: Tensor) -> list[Image.Image]:
    network = load_autokl(SMALL)
    shown = network.decode(latents / network.config.scaling_factor).sample
    unit = ((shown + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
    return [Image.fromarray((each * 255).numpy().astype(np.uint8)) for each in unit]


def posterior(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and spread of the latents of the enlarged pictures, by Pillow and diffusers."""
    network = load_autokl(SMALL)
    large = [np.asarray(each.resize((SIDE, SIDE))) for each in low_pictures(latents)]
    pixels = torch.tensor(np.stack(large)).permute(0, 3, 1, 2) / 127.5 - 1
    found = network.encode(pixels).latent_dist
    scale = network.config.scaling_factor
    return found.mean * scale, found.std * scale


@torch.no_grad()
def test_the_start_is_the_latent_of_the_enlarged_8_bit_picture(latents):
    found = load_enlarger(SMALL, "mean")(latents)
    assert found.shape == (3, 4, 16, 16)
    expected = posterior(latents)[0]
    # A colour that Pillow rounds the other way is 1/255 off; the mean over all pixels is not.
    assert (found - expected).abs().mean() < 1e-3 * expected.abs().max()
    assert (found - expected).abs().max() < 2e-2 * expected.abs().max()


@torch.no_grad()
def test_a_picture_is_enlarged_alone(latents):
    for which in ("mean", "sample"):
        enlarge = load_enlarger(SMALL, which)
        assert torch.equal(enlarge(latents)[1:2], enlarge(latents[1:2]))


@torch.no_grad()
def test_a_draw_is_the_posterior_s_and_hangs_on_z_alone(latents):
    """Latents that differ by less than a colour's step show one picture, and draw apart."""
    many = latents[:1] + 1e-6 * torch.arange(200.0).view(-1, 1, 1, 1)
    enlarge = load_enlarger(SMALL, "sample")
    drawn = enlarge(many)
    assert torch.equal(drawn, enlarge(many))
    mean, std = (each[0] for each in posterior(latents[:1]))
    error = (drawn - mean) / std
    # 200 draws of 1024 units; all errors are standard normal but for what 8 bits move the mean.
    assert abs(float(error.std()) - 1) < 0.1
    assert abs(float(error.mean())) < 0.1


def test_strength_and_start_are_takagi_s(latents):
    features = {"image_latent": latents, "text_tokens": torch.zeros(3, 32, 128)}
    with torch.no_grad():
        condition = LowResolution(use_c=False).load(SMALL)(features)["image"]
        found = DDIM(steps=50, noise_lead=1).sample(condition, [1, 2, 3])
        expected = load_enlarger(SMALL, "mean")(latents)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert LowResolution().strength == 0.8
    assert LowResolution().guidance == 5.0


def test_without_either_there_is_nothing_to_see(latents):
    features = {"image_latent": latents, "text_tokens": torch.zeros(3, 32, 128)}
    with torch.no_grad():
        condition = LowResolution(use_z=False, use_c=False).load(SMALL)(features)["image"]
    assert condition.start.shape == (3, 4, 16, 16)
    assert not condition.start.any()


@pytest.mark.parametrize("name", ["image_latent", "text_tokens"])
def test_units_left_out_are_refused(latents, name):
    features = {"image_latent": latents.clone(), "text_tokens": torch.zeros(3, 32, 128)}
    features[name][:, 0, 3] = float("nan")
    with pytest.raises(DataError, match=f"{name} was not predicted in"):
        LowResolution(use_c=name == "text_tokens").load(SMALL)(features)
