# torch is imported inside functions: one check imports this file afresh and looks for it.
from dataclasses import dataclass
from typing import ClassVar

import pytest

from brainkit.testing import checks, example_stimuli
from brainkit.testing import encoder as kit
from brainkit.testing.promise import failing
from brainkit.testing.toys import TOY, Lengths, Thumbnail, toy_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store(tmp_path_factory.mktemp("store"))


def altered(part, change):
    """Return a part like another whose loaded function is wrapped by `change(function)`."""
    return type("Altered", (type(part),), {"load": lambda self, at: change(part.load(at))})()


def doubled(function):
    return lambda *given: function(*given).double()


def centred(function):
    def batchwise(given, *seeds):
        made = function(given, *seeds).float()
        return made - made.mean(0)

    return batchwise


def refusing_nothing(function):
    def strict(given, *seeds):
        if len(getattr(given, "image_ids", given)) == 0:
            raise ValueError("nothing to do")
        return function(given, *seeds)

    return strict


def wanting_captions(function):
    def nosy(stimuli):
        if not all(stimuli.captions):
            raise ValueError("no captions")
        return function(stimuli)

    return nosy


def shifted_at_random(function):
    import torch

    shift = torch.rand(())
    return lambda given, *seeds: function(given, *seeds) + shift


def blackening(function):
    def encode(stimuli):
        feature = function(stimuli)
        stimuli.images[...] = 0
        return feature

    return encode


class Deaf(Thumbnail):
    reads = "sound"


class Listed(Thumbnail):
    checkpoints: ClassVar = [TOY]


class Weighty(Thumbnail):
    def shape(self, store):
        store.load(TOY)
        return super().shape(store)


class Memberless:
    """What an encoder needs, without the declaration of its checkpoints."""

    shape, load = Thumbnail.shape, Thumbnail.load


@dataclass(frozen=True)
class Undeclared(Memberless):
    name = "undeclared"
    reads = "image"


BROKEN_ENCODERS = [
    ("has_the_members_of_its_kind", Undeclared()),
    ("reads_images_or_captions", Deaf()),
    ("checkpoints_are_declared", Listed()),
    ("feature_has_the_declared_shape", altered(Thumbnail(), doubled)),
    ("the_shape_needs_no_weights", Weighty()),
    ("an_image_is_encoded_alone", altered(Thumbnail(), centred)),
    ("an_empty_batch_is_encoded", altered(Thumbnail(), refusing_nothing)),
    ("reads_only_what_it_declares", altered(Thumbnail(), wanting_captions)),
    ("loading_again_gives_the_same", altered(Thumbnail(), shifted_at_random)),
    ("stimuli_stay_untouched", altered(Thumbnail(), blackening)),
]


@pytest.mark.parametrize(("promise", "part"), BROKEN_ENCODERS)
def test_an_encoder_that_breaks_one_promise_fails_its_check_alone(promise, part, store):
    assert failing(checks.for_encoder(part, store)) == {promise}


@pytest.mark.parametrize("part", [Thumbnail(), Lengths()])
def test_encoders_that_keep_their_promises_pass(part, store):
    assert failing(checks.for_encoder(part, store, example_stimuli(5))) == set()


def test_every_promise_is_broken_by_some_part_above():
    assert {promise for promise, _ in BROKEN_ENCODERS[1:]} == {
        each.__name__ for each in kit.PROMISES
    }
