"""The tiny pair of networks the golden tensors belong to."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from brainkit_mindreader.generator.discriminator import Discriminator, Judging
from brainkit_mindreader.generator.network import Generator
from brainkit_mindreader.generator.shape import GeneratorShape

FOLDER = Path(__file__).parent / "golden" / "networks"
FORWARD = {"rtol": 1e-5, "atol": 2e-5}
"""What the golden README grants forward passes."""
LOSS = {"rtol": 1e-5, "atol": 1e-6}


def golden(name):
    return load_file(FOLDER / f"{name}.safetensors")


@cache
def settings(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def tiny_shape(**changed):
    config = settings("gan_config")
    own, synthesis = config["generator"], config["generator"]["synthesis_kwargs"]
    sizes = {
        "resolution": own["img_resolution"],
        "z_dim": own["z_dim"],
        "w_dim": own["w_dim"],
        "f_dims": (synthesis["f_dim"], synthesis["f_dim2"]),
        "cond_width": own["cond_width"],
        "channel_base": synthesis["channel_base"],
        "channel_max": synthesis["channel_max"],
        "mapping_layers": own["m_num_layers"],
        "conv_clamp": synthesis["conv_clamp"],
    }
    return GeneratorShape(**sizes | changed)


def tiny_generator(**changed):
    network = Generator(tiny_shape(**changed))
    network.load_state_dict(golden("generator_state"))
    return network


def tiny_discriminator(judging=Judging(), **changed):  # noqa: B008
    network = Discriminator(tiny_shape(**changed), judging)
    network.load_state_dict(golden("discriminator_state"))
    return network


def close(found, expected, **tolerance):
    assert_close(found, expected, **(tolerance or FORWARD))


def gradient_close(found, expected):
    """Compare gradients, whose sums cancel: convolutions of some processors are 3e-4 apart."""
    close(found, expected, rtol=1e-4, atol=5e-4 * float(expected.abs().max()))


def recorded(module, calls):
    """Note what a module gives from now on."""
    return module.register_forward_hook(lambda _, __, given: calls.append(given))


def unit_rows(batch, dim, seed):
    drawn = torch.randn(batch, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)
