"""The contrastive term against golden numbers and its defining properties."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_gan import LOSS, close, golden, unit_rows
from torch.nn import functional

from brainkit_mindreader.mapper.contrast import contrast

TEMPERATURES = (0.0, 0.1, 0.5, 1.0)
LAMS = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def numbers():
    return golden("gan_units")


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("lam", LAMS)
def test_the_term_equals_golden(numbers, temperature, lam):
    found = contrast(numbers["a"], numbers["b"], temperature, lam)
    close(found, numbers[f"temp{temperature}.lam{lam}"], **LOSS)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("lam", LAMS)
def test_lafites_form_equals_golden(numbers, temperature, lam):
    found = contrast(numbers["a"], numbers["b"], temperature, lam, "exp")
    close(found, numbers[f"lafite_exp.temp{temperature}.lam{lam}"], **LOSS)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_the_mappers_combination_equals_golden(numbers, lam):
    a, b = numbers["a"], numbers["b"]
    squares = functional.mse_loss(a, b)
    apart = (1 - functional.cosine_similarity(a, b)).mean()
    found = 0.2 * squares + 0.3 * apart - 0.5 * contrast(a, b, 0.5, lam).mean()
    close(found, numbers[f"mapper_combo.temp0.5.lam{lam}"], **LOSS)


@pytest.mark.parametrize("form", ["cosine", "exp"])
def test_swapping_both_arguments_and_lam_changes_nothing(form):
    a, b = unit_rows(6, 9, 0), unit_rows(6, 9, 1)
    for lam in (0.0, 0.3, 1.0):
        close(contrast(a, b, 0.5, lam, form), contrast(b, a, 0.5, 1 - lam, form))


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_without_the_logarithm_it_is_minus_infonce(temperature):
    a, b = unit_rows(6, 9, 0), unit_rows(6, 9, 1)
    infonce = functional.cross_entropy(a @ b.T / temperature, torch.arange(6))
    found = contrast(3 * a, b, temperature, lam=1.0).mean() - math.log(temperature)
    close(found, -infonce)


def test_lafites_form_is_infonce_of_exponentiated_scores():
    a, b = unit_rows(6, 9, 0), unit_rows(6, 9, 1)
    infonce = functional.cross_entropy((a @ b.T / 0.5).exp().T, torch.arange(6))
    close(contrast(a, b, 0.5, 0.0, "exp").mean() - math.log(0.5), -infonce)


def test_one_pair_alone_is_told_with_certainty():
    a, b = unit_rows(1, 9, 0), unit_rows(1, 9, 1)
    close(contrast(a, b, 0.5), torch.tensor([math.log(0.5)]))


def test_partners_are_told_better_than_strangers():
    a = unit_rows(8, 16, 0)
    near = a + 0.1 * unit_rows(8, 16, 1)
    assert contrast(a, near, 0.1).mean() > contrast(a, near.roll(1, 0), 0.1).mean() + 1
