"""UniBrain's parts keep the promises every part makes, with the small weights the package ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import brainkit_unibrain
from brainkit.checkpoints import CheckpointStore
from brainkit.testing import checks
from brainkit_unibrain import UNIBRAIN

STORE = CheckpointStore(Path("nowhere"), miniature=True)


def shape(feature: str) -> tuple[int, ...]:
    return UNIBRAIN.encoders[feature].shape(STORE)


def drawn(*sizes: int) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(0))


FEATURES = {name: drawn(3, *shape(name)) for name in UNIBRAIN.encoders}
LATENTS = {"image": FEATURES["image_latent"], "caption": FEATURES["text_latent"]}


@pytest.mark.parametrize("check", checks.check_plugin(brainkit_unibrain), ids=str)
def test_the_plugin_keeps_its_promises(check):
    check()


@pytest.mark.parametrize("check", checks.for_method(UNIBRAIN), ids=str)
def test_the_method_keeps_its_promises(check):
    check()


@pytest.mark.parametrize("feature", UNIBRAIN.encoders)
def test_encoders_keep_their_promises(feature):
    for check in checks.for_encoder(UNIBRAIN.encoders[feature], STORE):
        check()


@pytest.mark.parametrize("output", UNIBRAIN.decoders)
def test_decoders_keep_their_promises(output):
    for check in checks.for_decoder(UNIBRAIN.decoders[output], STORE, LATENTS[output]):
        check()


@pytest.mark.parametrize(
    "check", checks.for_conditioner(UNIBRAIN.conditioner, STORE, FEATURES), ids=str
)
def test_the_conditioner_keeps_its_promises(check):
    check()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("latents", [True, False])
def test_without_contexts_the_predicted_latents_are_decoded_as_they_are(latents):
    from dataclasses import replace

    conditioner = replace(
        UNIBRAIN.conditioner, use_ci=False, use_ct=False, use_zi=latents, use_zt=latents
    )
    made = conditioner.load(STORE)(FEATURES)
    for output, start in LATENTS.items():
        found = UNIBRAIN.sampler.sample(made[output], [1, 2, 3])
        expected = start if latents else torch.zeros_like(start)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("use", "weights"),
    [
        ({}, {"image": 0.6, "text": 0.4}),
        ({"use_ct": False}, {"image": 1.0, "text": 0.0}),
        ({"use_ci": False}, {"image": 0.0, "text": 1.0}),
    ],
)
def test_a_context_left_out_gives_its_weight_to_the_other(use, weights):
    from dataclasses import replace

    assert replace(UNIBRAIN.conditioner, **use).weights("image") == pytest.approx(weights)


def test_without_a_latent_its_flow_starts_from_noise_alone():
    from dataclasses import replace

    made = replace(UNIBRAIN.conditioner, use_zi=False).load(STORE)(FEATURES)
    assert made["image"].strength == 1.0
    assert made["caption"].strength == 0.75
