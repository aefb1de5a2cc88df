"""Core's own networks keep the promises that plugins' parts are asked to keep."""

from pathlib import Path

import pytest

from brainkit.checkpoints import CheckpointStore
from brainkit.decoders.autokl import AutoKLDecoder
from brainkit.decoders.pixels import Pixels
from brainkit.encoders.autokl import AutoKL
from brainkit.encoders.clip import ClipImage, ClipText
from brainkit.testing import checks

STORE = CheckpointStore(Path("not-there"), miniature=True)


OF_ENCODERS = [
    pytest.param(check, id=f"{part.name}-{check}")
    for part in (ClipImage(), ClipText(), AutoKL())
    for check in checks.for_encoder(part, STORE)
]


@pytest.mark.parametrize("check", OF_ENCODERS)
def test_core_encoders_keep_their_promises(check):
    check()


def latents(decoder):
    import torch

    shape = AutoKL().shape(STORE) if isinstance(decoder, AutoKLDecoder) else (3, 8, 8)
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) / 2


@pytest.mark.parametrize("decoder", [AutoKLDecoder(), Pixels()])
def test_core_decoders_keep_their_promises(decoder):
    for check in checks.for_decoder(decoder, STORE, latents(decoder)):
        check()
