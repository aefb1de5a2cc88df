"""The plugin's parts keep the promises every part makes, with the small weights that ship."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import brainkit_mindreader
from brainkit.checkpoints import CheckpointStore
from brainkit.testing import checks
from brainkit_mindreader import MINDREADER

STORE = CheckpointStore(Path("nowhere"), miniature=True)


def drawn_features() -> dict[str, Tensor]:
    shapes = {name: encoder.shape(STORE) for name, encoder in MINDREADER.encoders.items()}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(3, *shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("check", checks.check_plugin(brainkit_mindreader), ids=str)
def test_the_plugin_keeps_its_promises(check):
    check()


@pytest.mark.parametrize("check", checks.for_method(MINDREADER), ids=str)
def test_mindreader_keeps_its_promises(check):
    check()


@pytest.mark.parametrize("feature", ["clip_image", "clip_text"])
def test_encoders_keep_their_promises(feature):
    for check in checks.for_encoder(MINDREADER.encoders[feature], STORE):
        check()


@pytest.mark.parametrize(
    "options", [{}, {"conditioner.z": "random", "conditioner.noise": "random"}]
)
def test_the_conditioner_keeps_its_promises(options):
    conditioner = MINDREADER.with_options(options).conditioner
    for check in checks.for_conditioner(conditioner, STORE, drawn_features()):
        check()
    assert torch.is_grad_enabled()


def test_every_preset_fits_the_method():
    for preset in MINDREADER.presets:
        MINDREADER.with_preset(preset).check()
