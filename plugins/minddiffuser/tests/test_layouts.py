"""The denoiser's names in both layouts of Stable Diffusion v1.4 against the published table."""

import re
from collections.abc import Mapping

import pytest
from tiny_diffusion import GOLDEN, ROWS

from brainkit.weights import Piece
from brainkit_minddiffuser import layouts, released

CONFIG = released.CONFIG
COMPVIS = {row[2] for rows in ROWS.values() for row in rows} | set(GOLDEN["buffers"])


def renamed(pieces: Mapping[str, Piece]) -> dict[str, str]:
    return {own: piece.name for own, piece in pieces.items()}


def test_every_name_is_translated_as_the_table_says() -> None:
    table = {row[0]: row[2] for row in ROWS["unet"]}
    assert renamed(layouts.compvis_pieces(CONFIG, (COMPVIS,))) == table
    assert renamed(layouts.diffusers_pieces(CONFIG, (set(table),))) == {own: own for own in table}


def test_a_layouts_reader_finds_nothing_in_files_of_the_others() -> None:
    averages = {layouts.averaged_name(row[2]) for row in ROWS["unet"]}
    for read, names in (
        (layouts.diffusers_pieces, COMPVIS),
        (layouts.averaged_pieces, COMPVIS),
        (layouts.compvis_pieces, COMPVIS | averages),
        (layouts.compvis_pieces, {row[0] for row in ROWS["unet"]}),
    ):
        assert read(CONFIG, (names,)) == {}


def test_the_network_has_the_published_tensors_at_full_size() -> None:
    assert released.UNET.shapes(CONFIG) == {row[0]: tuple(row[1]) for row in ROWS["unet"]}


def test_the_configuration_is_the_published_one() -> None:
    own = {key: value for key, value in CONFIG.items() if key != "_class_name"}
    assert own == GOLDEN["configs"]["unet"]


def test_the_single_file_is_known_to_its_last_name() -> None:
    assert len(COMPVIS) == 1145
    (single,) = (each for each in released.UNET.layouts if each.name == "single file")
    used = {piece.name for piece in single.pieces(CONFIG, (COMPVIS,)).values()}
    others = COMPVIS - used
    assert len(others) == 1145 - 686
    assert all(re.match(single.foreign, name) for name in others)
    strangers = ("model.other", "alphas", "betas.0", "control.a", "model_ema.diffusion_modelx")
    assert not any(re.match(single.foreign, name) for name in strangers)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("layers", [1, 3])
def test_other_depths_are_counted_from_the_names(levels: int, layers: int) -> None:
    down = [f"down_blocks.{i}.resnets.{k}" for i in range(levels) for k in range(layers)]
    names, count = {}, 0
    for level in range(levels):
        for _ in range(layers):
            count += 1
            names[f"input_blocks.{count}.0.in_layers.0.weight"] = f"{down.pop(0)}.norm1.weight"
        if level < levels - 1:
            count += 1
            target = f"down_blocks.{level}.downsamplers.0.conv.weight"
            names[f"input_blocks.{count}.0.op.weight"] = target
    file = {layouts.UNET_PREFIX + name: own for name, own in names.items()}
    found = renamed(layouts.compvis_pieces(CONFIG, (set(file),)))
    assert found == {own: name for name, own in file.items()}


def test_running_averages_are_taken_where_a_file_holds_them() -> None:
    raw = [row[2] for row in ROWS["unet"]]
    averages = {layouts.averaged_name(name): name for name in raw}
    assert len(averages) == len(raw)  # without dots no two names fall together
    found = renamed(layouts.averaged_pieces(CONFIG, (COMPVIS | set(averages),)))
    assert {own: averages[name] for own, name in found.items()} == {
        row[0]: row[2] for row in ROWS["unet"]
    }


def test_names_that_are_no_denoisers_get_no_name_of_diffusers() -> None:
    for name in ("label_emb.0.0.bias", "out.7.bias", "input_blocks.1.0.in_layers.9.bias"):
        assert layouts.diffusers_unet_name(layouts.UNET_PREFIX + name, layers=2) is None


def test_the_text_tower_is_found_with_and_without_its_prefixes() -> None:
    table = {row[0]: row[2] for row in ROWS["text_encoder"]}
    assert layouts.text_names(COMPVIS) == table
    assert layouts.text_names(table) == {own: own for own in table}
    bare = [own.removeprefix("text_model.") for own in table]
    assert layouts.text_names([*bare, "embeddings.position_ids"]) == {
        f"text_model.{name}": name for name in bare
    }
