"""The miniature's pictures and captions: reproducible, fast, and saying what they show."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest

from brainkit.miniature import scenes
from brainkit.miniature.scenes import (
    BACKGROUNDS,
    CLASHES,
    COLOURS,
    HELD_OUT_SEEDS,
    KIND_COLOURS,
    KINDS,
    SIDE,
    SUBJECT_SEEDS,
    SYNONYMS,
    TRAIN_SEEDS,
    allowed_colours,
    background_in,
    captions,
    colours_in,
    draw,
    images,
    kinds_in,
    make_scene,
    vocabulary,
)

SEEDS = range(400)
DIGEST = """
import hashlib
from brainkit.miniature.scenes import captions, images, make_scene
digest = hashlib.sha256(images(range(40)).tobytes())
digest.update(repr([captions(make_scene(seed)) for seed in range(40)]).encode())
print(digest.hexdigest())
"""


def test_two_processes_draw_the_same_bytes() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert len(runs[0].stdout.strip()) == 64
    assert runs[0].stdout == runs[1].stdout


def test_a_picture_does_not_depend_on_the_ones_drawn_before() -> None:
    alone = draw(make_scene(7))
    np.testing.assert_array_equal(images([3, 7, 5])[1], alone)


def test_seeds_give_different_pictures() -> None:
    digests = {hashlib.sha256(draw(make_scene(seed)).tobytes()).hexdigest() for seed in SEEDS}
    assert len(digests) == len(SEEDS)


def test_pictures_are_64_pixel_rgb() -> None:
    picture = draw(make_scene(0))
    assert picture.dtype == np.uint8
    assert picture.shape == (SIDE, SIDE, 3)


def test_drawing_is_fast() -> None:
    images(range(10))
    started = time.process_time()
    images(range(500))
    assert 500 / (time.process_time() - started) > 1000


def test_ranges_of_seeds_do_not_overlap() -> None:
    assert TRAIN_SEEDS.stop <= HELD_OUT_SEEDS.start
    assert HELD_OUT_SEEDS.stop <= SUBJECT_SEEDS.start


@pytest.mark.parametrize("template", range(5))
def test_captions_name_every_object_and_its_colour(template: int) -> None:
    for seed in SEEDS:
        scene = make_scene(seed)
        caption = captions(scene)[template]
        assert kinds_in(caption) == {thing.kind for thing in scene.objects}
        assert colours_in(caption) == {thing.colour for thing in scene.objects}


def test_all_captions_but_the_last_name_the_background() -> None:
    for seed in SEEDS:
        scene = make_scene(seed)
        found = [background_in(caption) for caption in captions(scene)]
        assert found == [scene.background] * 4 + [None]


def test_first_caption_tells_left_from_right() -> None:
    for seed in SEEDS:
        scene = make_scene(seed)
        if len(scene.objects) == 2:
            words = captions(scene)[0].split()
            left, right = (
                min(words.index(noun) for noun in SYNONYMS[thing.kind] if noun in words)
                for thing in scene.objects
            )
            assert left < words.index("left") < right < words.index("right")


def test_vocabulary_is_small_and_complete() -> None:
    words = {word for s in range(3000) for text in captions(make_scene(s)) for word in text.split()}
    assert words == set(vocabulary())
    assert 80 <= len(words) <= 200


def test_captions_are_short_enough_for_the_text_networks() -> None:
    assert max(len(t.split()) for s in SEEDS for t in captions(make_scene(s))) <= 30


def test_no_object_has_a_colour_of_its_background() -> None:
    for seed in range(2000):
        scene = make_scene(seed)
        assert not {thing.colour for thing in scene.objects} & CLASHES[scene.background]


def test_little_of_the_background_looks_like_the_object() -> None:
    for seed in SEEDS:
        scene = make_scene(seed)
        if len(scene.objects) > 1:
            continue
        (thing,) = scene.objects
        picture, reach = draw(scene).astype(float), thing.extent / 2 + 2
        down, across = np.mgrid[:SIDE, :SIDE] + 0.5
        outside = (abs(across - thing.centre[0]) > reach) | (abs(down - thing.centre[1]) > reach)
        distance = np.linalg.norm(picture[outside] - COLOURS[thing.colour], axis=-1)
        assert (distance < 40).mean() < 0.2


def test_every_kind_keeps_a_colour_on_every_background() -> None:
    for kind in KINDS:
        for background in BACKGROUNDS:
            assert allowed_colours(kind, background)


def test_objects_lie_inside_the_picture_and_hardly_overlap() -> None:
    for seed in range(2000):
        boxes = [(o.centre, o.extent / 2) for o in make_scene(seed).objects]
        for (across, down), half in boxes:
            assert half <= across <= SIDE - half
            assert half <= down <= SIDE - half
        if len(boxes) == 2:
            (left, half_left), (right, half_right) = boxes
            assert left[0] + half_left - (right[0] - half_right) < 3


def test_most_objects_are_alone_and_large() -> None:
    drawn = [make_scene(seed) for seed in range(2000)]
    alone = [scene for scene in drawn if len(scene.objects) == 1]
    assert 0.56 < len(alone) / len(drawn) < 0.64
    assert all(scene.objects[0].extent >= 33 for scene in alone)


def test_tables_agree() -> None:
    assert set(KIND_COLOURS) == set(SYNONYMS) == set(scenes.VERBS) == set(KINDS)
    assert set(CLASHES) == set(BACKGROUNDS)
    assert {colour for colours in KIND_COLOURS.values() for colour in colours} == set(COLOURS)
    nouns = [noun for entry in SYNONYMS.values() for noun in entry]
    assert len(nouns) == len(set(nouns))
