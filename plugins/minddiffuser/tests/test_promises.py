"""The plugin's parts keep the promises every part makes, with the small weights that ship."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import brainkit_minddiffuser
from brainkit.checkpoints import CheckpointStore
from brainkit.method import Method
from brainkit.nsd.atlases import ATLASES, matches
from brainkit.testing import checks
from brainkit_minddiffuser import AREAS, MINDDIFFUSER, TAKAGI

STORE = CheckpointStore(Path("nowhere"), miniature=True)
METHODS = {method.name: method for method in (MINDDIFFUSER, TAKAGI)}
ENCODERS = [
    ("minddiffuser", "text_tokens"),
    ("minddiffuser", "layer_6"),
    ("takagi", "image_latent"),
    ("takagi", "text_tokens"),
]


def drawn_features(method: Method) -> dict[str, Tensor]:
    shapes = {name: encoder.shape(STORE) for name, encoder in method.encoders.items()}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(3, *shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("check", checks.check_plugin(brainkit_minddiffuser), ids=str)
def test_the_plugin_keeps_its_promises(check):
    check()


@pytest.mark.parametrize("check", checks.for_method(MINDDIFFUSER), ids=str)
def test_minddiffuser_keeps_its_promises(check):
    check()


@pytest.mark.parametrize("check", checks.for_method(TAKAGI), ids=str)
def test_takagi_keeps_its_promises(check):
    check()


@pytest.mark.parametrize(("method", "feature"), ENCODERS)
def test_encoders_keep_their_promises(method, feature):
    for check in checks.for_encoder(METHODS[method].encoders[feature], STORE):
        check()


@pytest.mark.parametrize("name", METHODS)
def test_conditioners_keep_their_promises(name):
    method = METHODS[name]
    for check in checks.for_conditioner(method.conditioner, STORE, drawn_features(method)):
        check()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", METHODS)
def test_decoders_keep_their_promises(name):
    latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    for check in checks.for_decoder(METHODS[name].decoders["image"], STORE, latents):
        check()


@pytest.mark.parametrize("name", METHODS)
def test_every_preset_fits_the_method(name):
    for preset in METHODS[name].presets:
        METHODS[name].with_preset(preset).check()


def test_the_paper_s_stage_1_is_noised_at_37_and_run_from_34():
    sampler, strength = MINDDIFFUSER.sampler, MINDDIFFUSER.conditioner.strength
    assert round(strength * sampler.steps) - 1 == 34
    assert 34 + sampler.noise_lead == 37


def test_takagi_s_is_noised_at_40_and_run_from_39():
    sampler, strength = TAKAGI.sampler, TAKAGI.conditioner.strength
    assert round(strength * sampler.steps) - 1 == 39
    assert 39 + sampler.noise_lead == 40


def test_the_areas_are_the_kastner_atlas_without_its_last_two():
    labels = ATLASES["Kastner2015"]
    meant = [label for label in labels if any(matches(area, label) for area in AREAS)]
    assert meant == list(labels[:23])


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_run_is_made_once(name):
    few = {"selection.roi": "nsdgeneral", "selection.sessions": "available", "sampler.steps": 4}
    more = {
        "minddiffuser": {"regressor.voxels": 6, "sampler.iterations": 2, "sampler.every": 1},
        "takagi": {"selection.by_feature": ()},
    }
    method = METHODS[name].with_options(few | more[name])
    for check in checks.for_method(method, STORE):
        check()
