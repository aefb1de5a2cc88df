# torch is imported inside functions: one check imports this file afresh and looks for it.
from dataclasses import replace
from typing import ClassVar

import pytest

from brainkit.testing import checks
from brainkit.testing import conditioner as kit
from brainkit.testing.promise import failing
from brainkit.testing.toys import TOY, Around, toy_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def latents():
    import torch

    return torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5


def altered(part, change):
    """Return a part like another whose loaded function is wrapped by `change(function)`."""
    return type("Altered", (type(part),), {"load": lambda self, at: change(part.load(at))})()


def changing(**changes):
    """Return a conditioner whose condition has other fields; a callable gets the old value."""

    def change(function):
        def condition(features):
            made = function(features)["image"]
            new = {name: make(getattr(made, name)) for name, make in changes.items()}
            return {"image": replace(made, **new)}

        return condition

    return altered(Around(), change)


class Promising(Around):
    gives = ("image", "caption")


class Frugal(Around):
    needs = ()


class ListedConditioner(Around):
    checkpoints: ClassVar = [TOY]


def summed(latent):
    return latent.square().sum()


def consuming(function):
    def condition(features):
        made = function(features)
        features["thumbnail"].zero_()
        return made

    return condition


def blind_below(old):
    return lambda latent, sigma: old(latent, sigma) / (0.0 if sigma < 0.02 else 1.0)


def mingled(old):
    def denoise(latent, sigma):
        clean = old(latent, sigma)
        return clean - clean.mean(0)

    return denoise


BROKEN_CONDITIONERS = [
    ("checkpoints_are_declared", ListedConditioner()),
    ("gives_what_it_says", Promising()),
    ("reads_only_what_it_needs", Frugal()),
    ("starts_have_one_row_an_image", changing(start=lambda old: old.double())),
    ("sigmas_ascend", changing(sigmas=lambda old: old.flip(0))),
    ("strength_is_a_fraction", changing(strength=lambda old: 0.0)),
    ("denoise_keeps_the_shape", changing(denoise=lambda old: lambda x, s: old(x, s)[:, :2])),
    ("denoise_is_finite_at_both_ends", changing(denoise=blind_below)),
    ("an_image_is_denoised_alone", changing(denoise=mingled)),
    ("misfit_is_one_number_an_image", changing(misfit=lambda old: summed)),
    ("features_stay_untouched", altered(Around(), consuming)),
]


@pytest.mark.parametrize(("promise", "part"), BROKEN_CONDITIONERS)
def test_a_conditioner_that_breaks_one_promise_fails_its_check_alone(promise, part, store, latents):
    features = {"thumbnail": latents, "unrelated": latents.flatten(1)}
    assert failing(checks.for_conditioner(part, store, features)) == {promise}


def test_conditioners_that_keep_their_promises_pass(store, latents):
    misfitting = changing(misfit=lambda old: lambda latent: latent.square().sum((1, 2, 3)))
    for part in (Around(), misfitting):
        assert failing(checks.for_conditioner(part, store, {"thumbnail": latents})) == set()


def test_a_generator_in_one_pass_may_give_latents_of_another_shape(store, latents):
    import torch

    once = changing(
        sigmas=lambda old: torch.ones(1),
        denoise=lambda old: lambda x, s: x.repeat_interleave(2, dim=-1),
        misfit=lambda old: lambda latent: latent.square().sum((1, 2, 3)),
    )
    assert failing(checks.for_conditioner(once, store, {"thumbnail": latents})) == set()


def test_a_generator_in_one_pass_that_loses_rows_is_found(store, latents):
    import torch

    loses = changing(
        sigmas=lambda old: torch.ones(1), denoise=lambda old: lambda x, s: x.flatten(0, 1)
    )
    broken = failing(checks.for_conditioner(loses, store, {"thumbnail": latents}))
    assert "denoise_keeps_the_shape" in broken


def test_every_promise_is_broken_by_some_part_above():
    assert {promise for promise, _ in BROKEN_CONDITIONERS} == {
        each.__name__ for each in kit.PROMISES
    }
