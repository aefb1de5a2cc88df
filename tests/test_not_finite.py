"""NaN and infinity: the run stops with part, image and way out before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from brainkit import hookimpl, option
from brainkit.decoders.autokl import to_uint8
from brainkit.errors import DataError, NotFiniteError
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig
from brainkit.samplers.diffusion import DDIM

NAN, INFINITY = float("nan"), float("inf")


@dataclass(frozen=True)
class Overflow:
    """DDIM whose second image of each batch overflows."""

    name = "overflow"
    value: float = option(NAN, "what it becomes")

    def sample(self, condition, seeds, progress=None):
        latents = DDIM(steps=3).sample(condition, seeds, progress)
        latents[1].view(-1)[-1] = self.value
        return latents


@dataclass(frozen=True)
class Growing:
    """A sampler with a journal that overflows unless told otherwise."""

    name = "growing"
    journalled = True
    finite: bool = option(False, "whether it does not")

    def sample(self, condition, seeds, progress=None, journal=None):
        latents = []
        for row, start in enumerate(condition.start):
            state = journal.state(row)
            latent = state.get("latent", start if self.finite else start + NAN)
            losses = torch.zeros(2)
            frames = torch.stack([latent.half(), latent.half()])
            path = {"path.losses": losses, "path.latents": frames}
            journal.keep(row, {"latent": latent, **path, "path.iterations": torch.arange(2)})
            latents.append(latent)
        return torch.stack(latents)


@dataclass(frozen=True)
class Bright:
    """A decoder whose network overflows on the third picture."""

    name = "bright"
    gives = "image"
    checkpoints = ()
    kind: str = option("nan", "what it gives: nan, floats, flat")

    def load(self, store):
        def decode(latents, seeds):
            pictures = latents.repeat_interleave(8, 2).repeat_interleave(8, 3).clamp(-1, 1)
            if self.kind == "floats":
                return pictures.permute(0, 2, 3, 1)
            if self.kind == "flat":
                return to_uint8(pictures)[..., 0]
            pictures[2:] /= 0
            return to_uint8(pictures)

        return decode


def register_samplers(register):
    register(Overflow())
    register(Growing())


def register_decoders(register):
    register(Bright())


@pytest.fixture
def do(nsd, toy, tmp_path):
    odd = SimpleNamespace(
        register_samplers=hookimpl(register_samplers), register_decoders=hookimpl(register_decoders)
    )
    sources = [
        Source("toy", "brainkit-toy 1.0", lambda: toy),
        Source("odd", "brainkit-odd 2.0", lambda: odd),
    ]
    registry = Registry(sources)

    def doing(use: dict[str, str], dtype: str = "", **options) -> Path:
        named = {name.replace("_", "."): value for name, value in options.items()}
        config = RunConfig("toy", nsd=nsd, work=tmp_path, images=4, use=use, options=named)
        prepared = prepare(config, registry, lambda line: None)
        if dtype:
            prepared = replace(prepared, store=replace(prepared.store, dtype=dtype))
        return run(prepared).parent

    return doing


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_latent_that_is_not_finite_stops_the_run(do, tmp_path, value, toy_ids):
    with pytest.raises(DataError) as error:
        do({"sampler": "overflow"}, sampler_value=value)
    assert str(error.value) == (
        "sampler 'overflow' (brainkit-odd 2.0) gave image latents with NaN or infinity for "
        f"image {toy_ids[1]}; check its weights and its options"
    )
    assert not list(tmp_path.rglob("latents/**/*.safetensors"))
    assert not list(tmp_path.rglob("*.png"))


@pytest.fixture
def toy_ids(nsd, registry):
    return prepare(RunConfig("toy", nsd=nsd, images=4), registry, print).chosen


def test_half_precision_is_told_to_be_the_way_out(do):
    with pytest.raises(DataError, match=r"; networks ran in bfloat16: run again with --dtype flo"):
        do({"sampler": "overflow"}, dtype="bfloat16")


def test_a_state_that_led_to_nan_is_not_gone_on_from(do, tmp_path):
    for _ in range(2):
        with pytest.raises(DataError, match="image latents with NaN"):
            do({"sampler": "growing"})
        assert not list(tmp_path.rglob("*.state.safetensors"))
    do({"sampler": "growing"}, sampler_finite=True)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nan", "gave pictures with NaN or infinity for images {0}, {1}; check its weights"),
        ("floats", "gave float32 (4, 64, 64, 3) as pictures, expected uint8 (4, height, width, 3)"),
        ("flat", "gave uint8 (4, 64, 64) as pictures, expected uint8 (4, height, width, 3)"),
    ],
)
def test_a_picture_that_is_not_finite_or_no_picture_stops_the_run(
    do, tmp_path, toy_ids, kind, said
):
    with pytest.raises(DataError) as error:
        do({"decoder.image": "bright"}, decoder_image_kind=kind)
    assert "decoder 'bright' (brainkit-odd 2.0) " + said.format(*toy_ids[2:]) in str(error.value)
    assert not list(tmp_path.rglob("*.png"))


def test_pictures_are_finite_or_named_by_their_row():
    images = torch.zeros(3, 3, 2, 2)
    assert to_uint8(images).tolist() == [[[[128] * 3] * 2] * 2] * 3
    images[1, 2, 0, 1] = NAN
    images[2] = -INFINITY
    with pytest.raises(NotFiniteError, match=r"rows \[1, 2\] of a batch") as error:
        to_uint8(images)
    assert error.value.rows == (1, 2)
    assert to_uint8(images[:0]).shape == (0, 2, 2, 3)
