"""The encoders: rows, lengths and captions, with the small CLIP that ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Stimuli
from brainkit.errors import DataError, UsageError
from brainkit.miniature import scenes
from brainkit.networks.clip import CLIP_B32
from brainkit.networks.clip.network import load_image_embedding, load_text_embedding
from brainkit.options import replaced
from brainkit.testing import checks, example_stimuli
from brainkit_mindreader.captions.augment import copies
from brainkit_mindreader.captions.targets import ClipB32Image, ClipB32Text, bounded

GOLDEN = Path(__file__).parent / "golden/targets"
STORE = CheckpointStore(Path("nowhere"), miniature=True)
DIM = STORE.config(CLIP_B32)["projection_dim"]
ENCODERS = [
    ClipB32Image(),
    ClipB32Image(views=0),
    ClipB32Image(views=2, clamp=0.3),
    ClipB32Text(),
    ClipB32Text(captions="all"),
    ClipB32Text(captions="first"),
    ClipB32Text(captions="mean", ratio=0.1),
]


@pytest.fixture(scope="module")
def stimuli():
    """Six scenes of 64 pixels with five captions each, of ids that are no row numbers."""
    seeds = scenes.HELD_OUT_SEEDS[:6]
    return Stimuli(
        images=scenes.images(seeds),
        captions=tuple(scenes.captions(scenes.make_scene(seed)) for seed in seeds),
        image_ids=np.arange(40, 46, dtype=np.int32),
    )


@pytest.fixture(scope="module")
def raw(stimuli):
    """What CLIP makes of them: images (6, dim), and captions (6, 5, dim), numpy float64."""
    with torch.no_grad():
        images = load_image_embedding(STORE, CLIP_B32)(stimuli.images)
        texts = load_text_embedding(STORE, CLIP_B32)([c for each in stimuli.captions for c in each])
    return images.double().numpy(), texts.double().reshape(6, 5, DIM).numpy()


def encoded(part, given):
    with torch.no_grad():
        return part.load(STORE)(given)


def unit(raw, clamp=1.5):
    clipped = np.clip(raw, -clamp, clamp)
    return clipped / np.linalg.norm(clipped, axis=-1, keepdims=True)


def assert_close(found, expected):
    # Float32 networks on batches of other sizes round differently.
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)


def kept_by_hand(raw, ratio=0.5, scale=100.0):
    """The rule in numpy: bool (6, 5)."""
    images, texts = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in raw)
    likely = np.exp(scale * np.einsum("id,ikd->ik", images, texts))
    likely /= likely.sum(axis=1, keepdims=True)
    return likely > ratio * likely.max(axis=1, keepdims=True)


def test_embeddings_are_clamped_and_of_length_1_as_the_golden_ones():
    golden = load_file(GOLDEN / "embedding_postprocess.safetensors")
    assert (golden["raw"].abs() > 1.5).any()
    torch.testing.assert_close(bounded(golden["raw"]), golden["normalized"], rtol=1e-5, atol=2e-5)
    by_clamped = nn.functional.normalize(golden["clamped"], dim=1)
    torch.testing.assert_close(bounded(golden["raw"]), by_clamped, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("part", ENCODERS, ids=repr)
def test_encoders_keep_their_promises(part):
    for check in checks.for_encoder(part, STORE):
        check()


@pytest.mark.parametrize("part", ENCODERS, ids=repr)
def test_every_row_has_length_1(part, stimuli):
    lengths = encoded(part, stimuli).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=1e-5, atol=0)


def test_the_first_row_is_the_whole_picture_s(stimuli, raw):
    for views in (0, 2):
        assert_close(encoded(ClipB32Image(views=views), stimuli)[:, 0], unit(raw[0]))


def test_the_clamp_bounds_every_number_before_the_length(stimuli, raw):
    clamp = float(np.quantile(np.abs(raw[0]), 0.6))
    found = encoded(ClipB32Image(views=0, clamp=clamp), stimuli)[:, 0]
    assert_close(found, unit(raw[0], clamp))
    assert np.abs(unit(raw[0], clamp) - unit(raw[0])).max() > 0.01


def test_the_rows_after_it_are_those_of_the_augmented_copies(stimuli):
    found = encoded(ClipB32Image(views=3), stimuli)
    assert found.shape == (6, 4, DIM)
    made = copies(stimuli.images[2], 42, 3)
    with torch.no_grad():
        expected = load_image_embedding(STORE, CLIP_B32)(made)
    assert_close(found[2, 1:], unit(expected.double().numpy()))


def test_more_views_keep_those_there_were(stimuli):
    fewer, more = (encoded(ClipB32Image(views=views), stimuli) for views in (2, 4))
    torch.testing.assert_close(more[:, :3], fewer, rtol=0, atol=1e-5)


def test_the_same_picture_of_another_id_has_other_views(stimuli):
    again = replace(stimuli, image_ids=stimuli.image_ids + 100)
    first, second = (encoded(ClipB32Image(views=2), each) for each in (stimuli, again))
    torch.testing.assert_close(first[:, 0], second[:, 0], rtol=0, atol=1e-5)
    assert ((first[:, 1:] - second[:, 1:]).abs().amax(dim=-1) > 1e-3).all()


def test_views_find_their_own_picture_among_24():
    seeds = scenes.HELD_OUT_SEEDS[:24]
    many = Stimuli(scenes.images(seeds), ((),) * 24, np.arange(24, dtype=np.int32))
    found = encoded(ClipB32Image(views=4), many)
    agreed = found[:, 1:].mean(dim=1) @ found[:, 0].T
    # Chance is 0.04. The small CLIP tells pictures apart by colour, which copies change or lose.
    assert (agreed.argmax(dim=1) == torch.arange(24)).float().mean() > 0.5


def test_screened_captions_fill_five_places_in_order(stimuli, raw):
    kept = kept_by_hand(raw)
    assert 6 <= kept.sum() < 30
    found = encoded(ClipB32Text(), stimuli)
    for row in range(6):
        order = np.resize(np.flatnonzero(kept[row]), 5)
        assert_close(found[row], unit(raw[1][row, order]))


def test_ratio_and_scale_decide_what_is_kept(stimuli, raw):
    kept = kept_by_hand(raw, ratio=0.9, scale=20.0)
    assert (kept != kept_by_hand(raw)).any()
    found = encoded(ClipB32Text(ratio=0.9, scale=20.0), stimuli)
    for row in range(6):
        assert_close(found[row], unit(raw[1][row, np.resize(np.flatnonzero(kept[row]), 5)]))


def test_all_captions_are_taken_without_screening(stimuli, raw):
    assert_close(encoded(ClipB32Text(captions="all"), stimuli), unit(raw[1]))
    assert_close(encoded(ClipB32Text(ratio=0.0), stimuli), unit(raw[1]))


def test_first_and_mean_are_of_the_captions_that_are_kept(stimuli, raw):
    kept = kept_by_hand(raw)
    assert not kept[:, 0].all()
    first, mean = (encoded(ClipB32Text(captions=each), stimuli) for each in ("first", "mean"))
    assert first.shape == mean.shape == (6, 1, DIM)
    for row in range(6):
        own = raw[1][row, kept[row]]
        assert_close(first[row, 0], unit(own[0]))
        assert_close(mean[row, 0], unit(own.mean(axis=0)))


def test_the_mean_is_taken_before_the_clamp(stimuli, raw):
    found = encoded(ClipB32Text(captions="mean", ratio=0.0, clamp=0.05), stimuli)[:, 0]
    assert_close(found, unit(raw[1].mean(axis=1), 0.05))
    after = unit(np.clip(raw[1], -0.05, 0.05).mean(axis=1))
    assert np.abs(found.numpy() - after).max() > 1e-3


def test_images_are_read_only_where_the_rule_screens():
    assert {each: ClipB32Text(captions=each).reads for each in ("screened", "first", "mean")} == {
        "screened": "both",
        "first": "both",
        "mean": "both",
    }
    assert ClipB32Text(captions="all").reads == "caption"
    assert ClipB32Text(curated="table.npy").reads == "caption"
    assert ClipB32Text().files == ()
    assert ClipB32Text(curated="table.npy").files == (Path("table.npy"),)


def test_empty_captions_do_not_count(stimuli, raw):
    blanks = tuple((" ", *texts[:2], "", *texts[2:]) for texts in stimuli.captions)
    for part in (ClipB32Text(), ClipB32Text(captions="all"), ClipB32Text(captions="mean")):
        found = encoded(part, replace(stimuli, captions=blanks))
        torch.testing.assert_close(found, encoded(part, stimuli), rtol=0, atol=1e-5)


def test_of_more_than_five_captions_the_first_five_count_and_of_fewer_all_are_repeated(
    stimuli, raw
):
    seven = tuple(texts + texts[:2] for texts in stimuli.captions)
    part = ClipB32Text(captions="all")
    assert_close(encoded(part, replace(stimuli, captions=seven)), unit(raw[1]))
    two = tuple(texts[:2] for texts in stimuli.captions)
    found = encoded(part, replace(stimuli, captions=two))
    assert_close(found, unit(raw[1][:, [0, 1, 0, 1, 0]]))


def test_an_image_without_captions_is_told(stimuli):
    broken = replace(stimuli, captions=(*stimuli.captions[:5], ("", " ")))
    with pytest.raises(DataError, match="image id 45 has no caption"):
        encoded(ClipB32Text(), broken)


def test_a_table_takes_the_place_of_rule_and_captions(stimuli, raw, tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [[]] * 40 + [["", texts[3], texts[1]] for texts in stimuli.captions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bare = replace(stimuli, images=np.zeros((0, 0, 0, 3), np.uint8), captions=((),) * 6)
    found = encoded(ClipB32Text(curated=str(path)), bare)
    assert_close(found, unit(raw[1][:, [3, 1, 3, 1, 3]]))
    first = encoded(ClipB32Text(captions="first", curated=str(path)), bare)
    assert_close(first[:, 0], unit(raw[1][:, 3]))
    beyond = replace(bare, image_ids=bare.image_ids + 1)
    with pytest.raises(DataError, match="has 46 rows but image id 46"):
        encoded(ClipB32Text(curated=str(path)), beyond)


def test_an_encoder_with_a_table_keeps_its_promises(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("".join(f"{texts[0]},\n" for texts in example_stimuli().captions))
    for check in checks.for_encoder(ClipB32Text(curated=str(path)), STORE):
        check()


def test_a_table_that_is_missing_is_told_on_loading(tmp_path):
    with pytest.raises(DataError, match=r"table\.npy cannot be read"):
        ClipB32Text(curated=str(tmp_path / "table.npy")).load(STORE)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (ClipB32Image(), {"views": -1}),
        (ClipB32Image(), {"clamp": 0}),
        (ClipB32Text(), {"captions": "some"}),
        (ClipB32Text(), {"ratio": 1.0}),
        (ClipB32Text(), {"scale": 0}),
    ],
)
def test_options_beyond_their_limits_are_refused(part, values):
    with pytest.raises(UsageError, match=f"encoder.{next(iter(values))} is"):
        replaced(part, values, "encoder")
