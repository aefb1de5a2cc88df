"""Resampling and the basic layers, against golden numbers and closed forms."""

from __future__ import annotations

import pytest
import torch
from tiny_gan import close, golden
from torch.nn import functional

from brainkit_mindreader.generator.layers import FullyConnected, activated
from brainkit_mindreader.generator.resample import (
    binomial_filter,
    conv_doubled,
    conv_halved,
    doubled,
    filtered,
    halved,
)


@pytest.fixture(scope="module")
def numbers():
    return golden("resample_ops")


def test_the_filter_is_binomial_with_sum_one(numbers):
    assert binomial_filter().sum() == 1
    close(binomial_filter(), numbers["filter"])


def test_maps_are_doubled_and_halved_as_golden(numbers):
    kernel, maps = binomial_filter(), numbers["x"]
    close(doubled(maps, kernel), numbers["upsample2d"])
    close(halved(maps, kernel), numbers["downsample2d"])
    # A filter of even side between two numbers: the golden one has one more zero before the map.
    close(
        filtered(functional.pad(maps, (2, 1, 2, 1)), kernel, padding=0),
        numbers["filter2d"],
    )


def test_convolutions_resample_as_golden(numbers):
    kernel, maps, three, one = binomial_filter(), numbers["x"], numbers["w3"], numbers["w1"]
    close(functional.conv2d(maps, three, padding=1), numbers["conv3"])
    close(conv_doubled(maps, three, kernel), numbers["conv3_up2"])
    close(conv_doubled(maps, three.flip(2, 3), kernel), numbers["conv3_up2_corr"])
    close(conv_halved(maps, three, kernel), numbers["conv3_down2"])
    close(conv_halved(maps, one, kernel), numbers["conv1_down2"])


def test_each_map_is_resampled_by_itself(numbers):
    kernel, maps, three = binomial_filter(), numbers["x"], numbers["w3"]
    for work in (
        lambda x: doubled(x, kernel),
        lambda x: halved(x, kernel),
        lambda x: conv_doubled(x, three, kernel),
        lambda x: conv_halved(x, three, kernel),
    ):
        close(work(maps)[1:], work(maps[1:]))


def test_a_constant_stays_constant_inside(numbers):
    flat = torch.full((1, 2, 8, 8), 3.0)
    close(doubled(flat, binomial_filter())[..., 2:-2, 2:-2], torch.full((1, 2, 12, 12), 3.0))
    close(halved(flat, binomial_filter())[..., 1:-1, 1:-1], torch.full((1, 2, 2, 2), 3.0))


def test_a_gain_scales_the_clamp_too():
    maps, bias = torch.tensor([[[4.0]], [[-4.0]]]), torch.tensor([1.0])
    given = activated(maps[:, None], bias, "lrelu", gain=0.5, clamp=3.0).flatten()
    # lrelu(5) sqrt 2 / 2 is beyond 1.5; lrelu(-3) = -0.6 is not
    close(given, torch.tensor([1.5, -0.6 * 2**0.5 / 2]))


def test_a_linear_layer_is_scaled_by_fan_in_and_multiplier():
    layer = FullyConnected(9, 2, "linear", 0.01, bias=1.0)
    x = torch.arange(18.0).view(2, 9)
    expected = x @ layer.weight.T * 0.01 / 3 + 1
    close(layer(x), expected)
