# torch is imported inside functions: one check imports this file afresh and looks for it.
from typing import ClassVar

import pytest

from brainkit.testing import checks
from brainkit.testing import decoder as kit
from brainkit.testing.promise import failing
from brainkit.testing.toys import TOY, Enlarged, Told, toy_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store(tmp_path_factory.mktemp("store"))


def altered(part, change):
    """Return a part like another whose loaded function is wrapped by `change(function)`."""
    return type("Altered", (type(part),), {"load": lambda self, at: change(part.load(at))})()


def refusing_nothing(function):
    def strict(given, *seeds):
        if len(getattr(given, "image_ids", given)) == 0:
            raise ValueError("nothing to do")
        return function(given, *seeds)

    return strict


class Humming(Enlarged):
    gives = "sound"


class ListedDecoder(Enlarged):
    checkpoints: ClassVar = [TOY]


def floating(function):
    return lambda latents, seeds: function(latents, seeds).float()


def blanking(function):
    def decode(latents, seeds):
        decoded = function(latents, seeds)
        latents.zero_()
        return decoded

    return decode


def brightened_by_batch(function):
    def decode(latents, seeds):
        import torch

        decoded = function(latents, seeds).float()
        return (decoded + decoded.mean()).clamp(0, 255).to(torch.uint8)

    return decode


def brightened_at_random(function):
    import torch

    shift = int(torch.randint(5, 100, ()))
    return lambda latents, seeds: (function(latents, seeds) // 2 + shift).to(torch.uint8)


def numbered_by_row(function):
    return lambda latents, seeds: [
        f"{i}: {each}" for i, each in enumerate(function(latents, seeds))
    ]


def all_but_one(function):
    return lambda latents, seeds: function(latents, seeds)[: 2 - len(latents) or None]


def salted(function):
    import torch

    salt = int(torch.randint(10**9, ()))
    return lambda latents, seeds: [f"{each} {salt}" for each in function(latents, seeds)]


BROKEN_DECODERS = [
    ("gives_images_or_captions", Humming()),
    ("checkpoints_are_declared", ListedDecoder()),
    ("a_batch_is_decoded", altered(Enlarged(), floating)),
    ("an_empty_batch_is_decoded", altered(Enlarged(), refusing_nothing)),
    ("an_empty_batch_is_decoded", altered(Told(), refusing_nothing)),
    ("a_latent_is_decoded_alone", altered(Enlarged(), brightened_by_batch)),
    ("a_latent_is_decoded_alone", altered(Told(), numbered_by_row)),
    ("seeds_alone_decide", altered(Enlarged(), brightened_at_random)),
    ("seeds_alone_decide", altered(Told(), salted)),
    ("latents_stay_untouched", altered(Enlarged(), blanking)),
]


@pytest.fixture(scope="module")
def latents():
    import torch

    return torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.mark.parametrize(("promise", "part"), BROKEN_DECODERS)
def test_a_decoder_that_breaks_one_promise_fails_its_check_alone(promise, part, store, latents):
    assert failing(checks.for_decoder(part, store, latents)) == {promise}


@pytest.mark.parametrize("part", [Enlarged(), Told()])
def test_decoders_that_keep_their_promises_pass(part, store, latents):
    assert failing(checks.for_decoder(part, store, latents)) == set()


def test_a_decoder_that_drops_a_caption_is_caught(store, latents):
    part = altered(Told(), lambda function: lambda latents, seeds: function(latents, seeds)[1:])
    assert "a_batch_is_decoded" in failing(checks.for_decoder(part, store, latents))


def test_every_promise_is_broken_by_some_part_above():
    broken = {promise for promise, _ in BROKEN_DECODERS}
    assert broken == {each.__name__ for each in kit.PROMISES}
