from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint, Selection
from brainkit.errors import CheckpointError, UsageError
from brainkit.method import Method
from brainkit.options import option
from brainkit.regressors import Ridge
from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.single_pass import SinglePass

FIRST = Checkpoint("first", source="somewhere")
SECOND = Checkpoint("second")


@dataclass(frozen=True)
class Encoder:
    name = "toy-encoder"
    reads = "image"
    layer: int = option(1, "which layer", ge=0)
    checkpoints: tuple[Checkpoint, ...] = (FIRST,)


@dataclass(frozen=True)
class Conditioner:
    name = "toy-conditioner"
    needs = ("look", "words")
    gives = ("image", "caption")
    checkpoints: ClassVar = (FIRST, SECOND)


@dataclass(frozen=True)
class Pictures:
    name = "pictures"
    gives = "image"
    checkpoints: ClassVar = (SECOND,)


@dataclass(frozen=True)
class Sentences:
    name = "sentences"
    gives = "caption"
    checkpoints = ()


METHOD = Method(
    name="toy",
    summary="a toy",
    source="a test",
    encoders={"look": Encoder(), "words": Encoder(layer=2)},
    regressors={"look": Ridge(alpha=10.0), "words": Ridge(alpha=20.0)},
    conditioner=Conditioner(),
    sampler=DDIM(steps=50),
    decoders={"image": Pictures(), "caption": Sentences()},
)
REGISTERED = {
    ("regressor", "ridge"): Ridge(),
    ("sampler", "single-pass"): SinglePass(),
    ("decoder", "pictures"): Pictures(),
}


def lookup(kind, name):
    return REGISTERED[kind, name]


def test_parts_have_addresses_in_the_order_of_a_run():
    assert [address for address, _ in METHOD.parts()] == [
        "selection",
        "encoder.look",
        "encoder.words",
        "regressor.look",
        "regressor.words",
        "conditioner",
        "sampler",
        "decoder.image",
        "decoder.caption",
    ]


def test_checkpoints_are_named_once():
    assert METHOD.checkpoints() == (FIRST, SECOND)


def test_a_part_is_replaced_in_one_place():
    changed = METHOD.with_part("regressor.words", "ridge", lookup)
    assert changed.regressors == {"look": Ridge(alpha=10.0), "words": Ridge()}
    assert METHOD.regressors["words"] == Ridge(alpha=20.0)


def test_all_parts_of_a_kind_are_replaced_at_once():
    changed = METHOD.with_part("regressor", "ridge", lookup)
    assert changed.regressors == {"look": Ridge(), "words": Ridge()}


def test_a_part_without_key_is_replaced():
    assert METHOD.with_part("sampler", "single-pass", lookup).sampler == SinglePass()


@pytest.mark.parametrize("address", ["smplr", "regressor.wrods", "sampler.steps", "", "encoders"])
def test_replacing_at_an_unknown_address_lists_the_addresses(address):
    with pytest.raises(UsageError) as caught:
        METHOD.with_part(address, "ridge", lambda kind, name: Ridge())
    assert str(caught.value).startswith(f"toy has no part {address!r} (it has: selection, ")
    assert str(caught.value).count("(") == str(caught.value).count(")")


@pytest.mark.parametrize(
    ("address", "meant"),
    [("smplr", "sampler"), ("regressor.wrods", "regressor.words"), ("encoders", "encoder")],
)
def test_a_misspelt_address_gets_a_hint(address, meant):
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        METHOD.with_part(address, "ridge", lambda kind, name: Ridge())


def test_the_selection_has_options_but_no_substitute():
    with pytest.raises(UsageError, match=r"set its options, e.g. selection\.sessions=10"):
        METHOD.with_part("selection", "ridge", lookup)
    assert METHOD.with_options({"selection.sessions": 4}).selection == Selection(sessions=4)


def test_options_are_set_by_address():
    changed = METHOD.with_options({"sampler.steps": 20, "encoder.words.layer": 5})
    assert changed.sampler.steps == 20
    assert [each.layer for each in changed.encoders.values()] == [1, 5]
    assert METHOD.sampler.steps == 50


def test_an_option_of_all_regressors_is_set_at_once():
    changed = METHOD.with_options({"regressor.alpha": "cv", "regressor.look.block": 7})
    assert [each.alpha for each in changed.regressors.values()] == ["cv", "cv"]
    assert [each.block for each in changed.regressors.values()] == [7, 1024]


def test_later_options_win():
    changed = METHOD.with_options({"regressor.alpha": 1.0, "regressor.look.alpha": 2.0})
    assert [each.alpha for each in changed.regressors.values()] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 3}, "option 'steps' has no part; write part.option"),
        ({"sampler.stpes": 3}, "ddim has no option 'stpes' (it has: steps"),
        ({"smplr.steps": 3}, "toy has no part 'smplr' (it has: selection"),
        ({"sampler.steps": 0}, "sampler.steps is 0, expected a whole number of 1 or more"),
        ({"regressor.alpha": -1}, "regressor.look.alpha is -1, expected "),
        ({"regressor.wrods.alpha": 1}, "toy has no part 'regressor.wrods'"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, said):
    with pytest.raises(UsageError) as caught:
        METHOD.with_options(options)
    assert str(caught.value).startswith(said)


def test_a_fitting_composition_is_given_back():
    assert METHOD.check() is METHOD


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regressors": {"look": Ridge()}}, "regressors predict ['look']; both need the same"),
        (
            {"encoders": {"look": Encoder()}, "regressors": {"look": Ridge()}},
            "'toy-conditioner' needs ['words'], but the encoders make ['look']",
        ),
        ({"decoders": {"image": Sentences()}}, "decoder 'sentences' for 'image' gives 'caption'"),
        ({"decoders": {"sound": Pictures()}}, "the conditioner prepares ['image', 'caption']"),
        ({"sampler": DDIM(steps=0)}, "sampler.steps is 0, expected "),
        (
            {"selection": Selection(standardise="twice")},
            "selection.standardise is 'twice', expected ",
        ),
    ],
)
def test_a_composition_that_does_not_fit_says_what_is_wrong(changes, said):
    with pytest.raises(UsageError) as caught:
        replace(METHOD, **changes).check()
    assert said in str(caught.value)


def test_a_decoder_may_be_left_out():
    replace(METHOD, decoders={"caption": Sentences()}).check()


def test_missing_weights_are_all_named_at_once(tmp_path):
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match="first, second"):
        METHOD.check_checkpoints(store)


def test_one_missing_checkpoint_says_where_it_belongs_and_comes_from(tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "model.safetensors").touch()
    with pytest.raises(CheckpointError) as caught:
        METHOD.check_checkpoints(CheckpointStore(tmp_path))
    assert str(tmp_path / "first" / "model.safetensors") in str(caught.value)
    assert "somewhere" in str(caught.value)


def test_weights_that_are_there_pass(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
    METHOD.check_checkpoints(CheckpointStore(tmp_path))
