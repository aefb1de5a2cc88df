"""Tensor names in the three layouts against the full table of the published files."""

from golden_files import zipped

from brainkit_unibrain.keymap import names_of
from brainkit_unibrain.walk import FourFlowConfig


def test_every_name_is_translated_as_the_table_says() -> None:
    table = {row[0]: tuple(row[2:]) for row in zipped("four_flow_names")}
    assert {name: tuple(other) for name, other in names_of(FourFlowConfig()).items()} == table


def test_no_two_tensors_share_a_name() -> None:
    names = names_of(FourFlowConfig()).values()
    assert len({other.deprecated for other in names}) == len(names)
    assert len({(other.component, other.diffusers) for other in names}) == len(names)
