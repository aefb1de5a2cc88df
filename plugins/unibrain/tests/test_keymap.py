"""Tensor names in the three layouts against the full table of the published files."""

import torch
from golden_files import tiny_config, tiny_four_flow, zipped

from brainkit_unibrain.keymap import from_deprecated, from_diffusers, names_of
from brainkit_unibrain.walk import FourFlowConfig


def test_every_name_is_translated_as_the_table_says() -> None:
    table = {row[0]: tuple(row[2:]) for row in zipped("four_flow_names")}
    assert {name: tuple(other) for name, other in names_of(FourFlowConfig()).items()} == table


def test_no_two_tensors_share_a_name() -> None:
    names = names_of(FourFlowConfig()).values()
    assert len({other.deprecated for other in names}) == len(names)
    assert len({(other.component, other.diffusers) for other in names}) == len(names)


def test_renaming_there_and_back_gives_the_same_network() -> None:
    config = FourFlowConfig.from_dict(tiny_config()["four_flow"])
    weights = tiny_four_flow().state_dict()
    others = names_of(config)
    deprecated = {other.deprecated: weights[name] for name, other in others.items()}
    deprecated["model.diffusion_model.alphas"] = torch.zeros(1)
    parts: dict[str, dict[str, torch.Tensor]] = {"image_unet": {}, "text_unet": {}}
    for name, other in others.items():
        parts[other.component][other.diffusers] = weights[name]
    for found in (from_deprecated(deprecated, config), from_diffusers(*parts.values(), config)):
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights)
