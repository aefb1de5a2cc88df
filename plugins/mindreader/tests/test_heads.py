"""A second head copied from the first leaves the picture as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from brainkit_mindreader.generator.discriminator import Discriminator
from brainkit_mindreader.generator.heads import two_heads
from brainkit_mindreader.generator.network import Generator
from brainkit_mindreader.generator.shape import GeneratorShape

MANIFESTS = Path(__file__).parent / "golden" / "manifests"
SINGLE = GeneratorShape(16, 8, 8, (6,), 10, 128, 8, 2)
NETWORKS = {
    Generator: ("lafite_generator_256", "mindreader_generator_two_head_256"),
    Discriminator: ("lafite_discriminator_256", "mindreader_discriminator_three_head_256"),
}


def manifest(name):
    listed = json.loads((MANIFESTS / f"{name}.json").read_text())["tensors"]
    return {tensor: tuple(facts["shape"]) for tensor, facts in listed.items()}


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def perturbed(network):
    """Return a network whose biases, noise strengths and averages are not 0 either."""
    torch.manual_seed(0)
    state = {n: t + 0.3 * torch.randn_like(t) for n, t in network.state_dict().items()}
    network.load_state_dict(state)
    return network.eval()


def doubled(network, shape):
    other = type(network)(shape.with_heads(2))
    other.load_state_dict(two_heads(network.state_dict()), strict=True)
    return other.eval()


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_full_size_names_and_shapes_are_those_of_two_heads(kind):
    single, double = (manifest(name) for name in NETWORKS[kind])
    state = {name: torch.empty(shape, device="meta") for name, shape in single.items()}
    assert {n: tuple(t.shape) for n, t in two_heads(state).items()} == double


@pytest.mark.parametrize("noise_and_psi", [("const", 1.0), ("none", 0.7)])
def test_equal_conditions_give_the_picture_of_the_single_head(noise_and_psi):
    from brainkit_mindreader.generator.network import Noise

    mode, psi = noise_and_psi
    single = perturbed(Generator(SINGLE))
    z, condition = drawn(3, 8), functional.normalize(drawn(3, 6), dim=1)
    with torch.no_grad():
        wanted = single(z, [condition], Noise(mode), psi)
        found = doubled(single, SINGLE)(z, [condition, condition], Noise(mode), psi)
    assert torch.equal(found, wanted)


def test_different_conditions_give_another_picture_whichever_comes_first():
    single = perturbed(Generator(SINGLE))
    z, one, other = drawn(3, 8), functional.normalize(drawn(3, 6), dim=1), drawn(6, 3).T
    double = doubled(single, SINGLE)
    with torch.no_grad():
        assert torch.equal(double(z, [one, other]), double(z, [other, one]))
        assert (double(z, [one, other]) - single(z, [one])).abs().max() > 1e-3


def test_both_readers_of_the_discriminator_read_the_same():
    single = perturbed(Discriminator(SINGLE))
    pictures, condition = drawn(4, 3, 16, 16), functional.normalize(drawn(4, 6), dim=1)
    with torch.no_grad():
        wanted = single(pictures, [condition])
        found = doubled(single, SINGLE)(pictures, [condition, condition])
    assert torch.equal(found.heads[0], found.heads[1])
    assert torch.equal(found.heads[0], wanted.heads[0])
    torch.testing.assert_close(found.logit, wanted.logit, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_two_heads_stay_as_they_are(kind):
    state = perturbed(kind(replace(SINGLE, f_dims=(6, 4)))).state_dict()
    found = two_heads(state)
    assert found.keys() == state.keys()
    assert all(found[name] is state[name] for name in state)


def test_the_heads_share_no_memory_and_the_given_weights_do_not_change():
    state = perturbed(Generator(SINGLE)).state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = two_heads(state)
    new = found.keys() - before.keys()
    # Four tensors a layer, of which there are 3 in each block but the first, which has 2.
    assert len(new) == 4 * (3 * 3 - 1)
    for name in new:
        found[name].add_(1)
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in before)


def test_other_weights_are_given_back():
    assert two_heads({}) == {}
    state = {"pre_0.weight": torch.ones(1), "b4.fc.weight": torch.ones(1)}
    assert two_heads(state) == state
