"""The discriminator against golden numbers, published shapes and properties."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_gan import (
    FOLDER,
    close,
    golden,
    recorded,
    tiny_discriminator,
    tiny_generator,
    unit_rows,
)

from brainkit.errors import DataError
from brainkit_mindreader.generator.discriminator import Discriminator, Judging, spread
from brainkit_mindreader.generator.shape import GeneratorShape

FULL = {"mindreader_discriminator_three_head_256": 2, "lafite_discriminator_256": 1}


@pytest.fixture(scope="module")
def numbers():
    return golden("discriminator_io")


@pytest.fixture(scope="module")
def network():
    return tiny_discriminator().requires_grad_(False)


@pytest.fixture(scope="module")
def conditions(numbers):
    return [numbers["cond_1"], numbers["cond_2"]]


def test_verdicts_equal_golden_for_each_batch(network, numbers, conditions):
    pictures = numbers["image"]
    verdict = network(pictures, conditions)
    close(verdict.logit, numbers["logits"])
    close(verdict.heads, (numbers["head_1"], numbers["head_2"]))
    one = network(pictures[:1], [each[:1] for each in conditions])
    close(one.logit, numbers["logits_batch1"])
    close(one.heads, (numbers["head_1_batch1"], numbers["head_2_batch1"]))
    # Two groups: the pictures and then in reverse, under conditions shifted by one.
    shifted = [torch.cat([each, each.roll(1, 0)]) for each in conditions]
    eight = network(torch.cat([pictures, pictures.flip(0)]), shifted)
    close(eight.logit, numbers["logits_batch8"])
    close(eight.heads, (numbers["head_1_batch8"], numbers["head_2_batch8"]))


def test_inner_numbers_equal_golden(network, numbers, conditions):
    inner = {"b4.fc": [], "b4.out": []}
    hooks = [recorded(network.get_submodule(name), calls) for name, calls in inner.items()]
    verdict = network(numbers["image"], conditions)
    for hook in hooks:
        hook.remove()
    for side, maps in zip((32, 16, 8), verdict.maps[1:], strict=True):
        close(maps, numbers[f"block.b{side}.x"])
    close(spread(verdict.maps[-1]), numbers["mbstd_channel"])
    close(inner["b4.fc"][0], numbers["fc"])
    close(inner["b4.out"][0], numbers["trunk_logit"])
    term = (verdict.logit - inner["b4.out"][0]).unique()
    close(term.mean(), numbers["semantic_term"])


def test_heads_of_length_one_equal_golden(numbers, conditions):
    verdict = tiny_discriminator(Judging(normalise=True))(numbers["image"], conditions)
    close(verdict.logit, numbers["logits_norm"])
    close(verdict.heads, (numbers["head_1_norm"], numbers["head_2_norm"]))


def test_a_clamp_that_bites_equals_golden(numbers, conditions):
    expected = golden("conv_clamp_0p7")
    verdict = tiny_discriminator(conv_clamp=0.7)(numbers["image"], conditions)
    close(verdict.logit, expected["logits"])
    close(verdict.heads, (expected["head_1"], expected["head_2"]))


def test_per_sample_agreement_is_the_dot_product_of_heads_and_conditions(numbers, conditions):
    verdict = tiny_discriminator(Judging("sample"))(numbers["image"], conditions)
    rows = []
    for row in range(4):
        dots = [numbers[f"head_{k}"][row] @ numbers[f"cond_{k}"][row] for k in (1, 2)]
        rows.append(numbers["trunk_logit"][row] + sum(dots) / 2)
    close(verdict.logit, torch.stack(rows))


@pytest.mark.parametrize("name", FULL)
def test_the_full_size_has_the_published_tensors(name):
    manifest = json.loads((FOLDER.parent / "manifests" / f"{name}.json").read_text())
    with torch.device("meta"):
        network = Discriminator(GeneratorShape().with_heads(FULL[name]))
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    found = {n: ("parameter", list(t.shape)) for n, t in parameters.items()}
    found |= {n: ("buffer", list(t.shape)) for n, t in buffers.items()}
    assert found == {n: (t["kind"], t["shape"]) for n, t in manifest["tensors"].items()}
    count = sum(each.numel() for each in parameters.values())
    assert count == manifest["n_parameters"] == {1: 29_126_785, 2: 29_389_441}[FULL[name]]


def test_spread_is_the_mean_deviation_of_pictures_a_half_batch_apart():
    maps = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    given = spread(maps)
    for first in (0, 1):
        members = maps[first::2]
        deviation = (members.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        for n in range(first, 8, 2):
            close(given[n], deviation.expand(1, 4, 4))


def test_spread_of_alike_pictures_is_about_zero():
    assert float(spread(torch.ones(4, 3, 4, 4)).max()) < 1e-3


@pytest.mark.parametrize("batch", [5, 6, 7, 9])
def test_a_batch_that_cannot_be_grouped_is_refused_in_one_sentence(network, batch):
    conditions = [unit_rows(batch, 16, 0), unit_rows(batch, 16, 1)]
    with pytest.raises(DataError) as refused:
        network(torch.zeros(batch, 3, 64, 64), conditions)
    assert str(refused.value).startswith(f"a batch of {batch} pictures cannot be divided into")
    assert "multiple of 4" in str(refused.value)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8, 12])
def test_batches_up_to_a_group_or_multiples_of_it_are_judged(network, batch):
    conditions = [unit_rows(batch, 16, 0), unit_rows(batch, 16, 1)]
    assert network(torch.zeros(batch, 3, 64, 64), conditions).logit.shape == (batch, 1)


def test_half_precision_stays_close(network, numbers, conditions):
    with torch.autocast("cpu", torch.bfloat16):
        verdict = network(numbers["image"], conditions)
    assert verdict.logit.dtype == verdict.heads[0].dtype == torch.float32
    # bfloat16 has 8 bits: about 0.4 % a layer, of which eleven follow one another.
    for found, name in ((verdict.logit, "logits"), (verdict.heads[0], "head_1")):
        assert float((found - numbers[name]).norm() / numbers[name].norm()) < 0.03


def test_gradients_in_half_precision_point_where_they_do_in_full(network, conditions):
    generator, z = tiny_generator(), golden("generator_io")["z"]

    def slope():
        logit = network(generator(z, conditions), conditions).logit
        grown = torch.autograd.grad(-logit.mean(), list(generator.parameters()), allow_unused=True)
        return torch.cat([each.flatten() for each in grown if each is not None])

    exact = slope()
    with torch.autocast("cpu", torch.bfloat16):
        half = slope()
    assert half.isfinite().all()
    assert float(torch.nn.functional.cosine_similarity(half, exact, dim=0)) > 0.98
