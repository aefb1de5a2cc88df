"""Augmented copies: what is drawn, what it does, and that it depends on picture and id alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.transforms import v2

from brainkit.testing import example_stimuli
from brainkit_mindreader.captions.augment import (
    SIDE,
    Choices,
    augmented,
    copies,
    drawn,
    resized,
    seeded,
)

NOTHING = Choices((0, 0, SIDE, SIDE), False, (), False, 0.0, (0, 0, 0, 0))
DRAWS = 3000


@pytest.fixture(scope="module")
def many():
    return [drawn(seeded(7, number)) for number in range(DRAWS)]


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def pixels():
    return torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def close_to(share, wanted):
    """Five standard deviations of a share of `DRAWS` draws: seeds are fixed, this is no gamble."""
    return abs(share - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / DRAWS)


def test_each_change_happens_as_often_as_the_paper_s(many):
    assert close_to(np.mean([each.mirrored for each in many]), 0.5)
    assert close_to(np.mean([bool(each.changes) for each in many]), 0.4)
    assert close_to(np.mean([each.grey for each in many]), 0.2)
    assert close_to(np.mean([each.blur > 0 for each in many]), 0.5)
    together = np.mean([each.mirrored and each.blur > 0 for each in many])
    assert close_to(together, 0.25)


def test_crops_are_drawn_as_torchvision_s_are(many):
    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(SIDE, scale=(0.8, 1.0))
    theirs = [crop.make_params([torch.zeros(3, SIDE, SIDE)]) for _ in range(DRAWS)]
    wanted = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in theirs], float)
    found = np.array([each.crop for each in many], float)
    spread = wanted.std(axis=0) * np.sqrt(2 / DRAWS)
    assert (np.abs(found.mean(axis=0) - wanted.mean(axis=0)) < 5 * spread).all()
    area = found[:, 2] * found[:, 3] / SIDE**2
    assert area.min() > 0.79
    assert area.max() <= 1
    assert (found[:, :2] + found[:, 2:]).max() <= SIDE


def test_colours_change_within_their_bounds_in_every_order(many):
    changed = [dict(each.changes) for each in many if each.changes]
    for name, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.8, 1.2),
        ("hue", -0.1, 0.1),
    ):
        factors = [each[name] for each in changed]
        assert low <= min(factors) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(factors) <= high
    orders = {tuple(name for name, _ in each.changes) for each in many if each.changes}
    assert len(orders) == 24


def test_the_hole_is_a_square_clipped_at_the_border_but_for_the_last_row_and_column(many):
    holes = np.array([each.hole for each in many])
    assert holes[:, 2:].max() == 76  # 0.3 of 256
    assert holes[:, :2].min() == 0
    assert (holes[:, :2] + holes[:, 2:]).max() == SIDE - 1
    inside = (holes[:, :2] > 0).all(axis=1) & (holes[:, :2] + holes[:, 2:] < SIDE - 1).all(axis=1)
    assert (holes[inside, 2:] == 76).all()
    # A centre lies far enough from two borders, of 256, with probability (256 - 76) / 256 each.
    assert abs(inside.mean() - (180 / 256) ** 2) < 0.05


def test_a_copy_of_no_change_is_the_picture(pixels):
    assert torch.equal(augmented(pixels, NOTHING), pixels)


def test_the_hole_is_zero_and_nothing_else_is(pixels):
    copy = augmented(pixels, replace(NOTHING, hole=(20, 30, 76, 50)))
    expected = pixels.clone()
    expected[:, 20:96, 30:80] = 0
    assert torch.equal(copy, expected)
    assert (expected == 0).sum() == 3 * 76 * 50


def test_the_hole_of_a_drawn_copy_is_zero(picture):
    for number, copy in enumerate(copies(picture, 5, 6)):
        top, left, height, width = drawn(seeded(5, number)).hole
        assert (copy[top : top + height, left : left + width] == 0).all()
        assert (copy > 0).any()


def test_the_crop_is_brought_to_256_pixels_bilinearly(pixels):
    copy = augmented(pixels, replace(NOTHING, crop=(10, 20, 230, 210)))
    part = pixels[None, :, 10:240, 20:230]
    expected = functional.interpolate(part, (SIDE, SIDE), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(copy, expected, rtol=0, atol=1e-5)


def test_two_passes_blur_as_one_square_kernel_does(pixels):
    copy = augmented(pixels, replace(NOTHING, blur=1.7))
    offsets = torch.arange(-11, 12, dtype=torch.float64)
    row = torch.exp(-(offsets**2) / (2 * 1.7**2))
    kernel = (row[:, None] * row / row.sum() ** 2).expand(3, 1, 23, 23)
    padded = functional.pad(pixels[None].double(), (11,) * 4, mode="reflect")
    expected = functional.conv2d(padded, kernel, groups=3)[0].float()
    torch.testing.assert_close(copy, expected, rtol=0, atol=1e-5)


def test_grey_is_the_luma_of_the_colours(pixels):
    copy = augmented(pixels, replace(NOTHING, grey=True))
    luma = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    for channel in copy:
        torch.testing.assert_close(channel, luma, rtol=0, atol=1e-3)


def test_colours_change_one_after_the_other(pixels):
    copy = augmented(
        pixels, replace(NOTHING, changes=(("brightness", 1.3), ("saturation", 0.8)), mirrored=True)
    )
    bright = (1.3 * pixels.flip(-1)).clamp(0, 1)
    luma = 0.299 * bright[0] + 0.587 * bright[1] + 0.114 * bright[2]
    torch.testing.assert_close(copy, 0.8 * bright + 0.2 * luma, rtol=0, atol=1e-3)


def test_a_copy_depends_on_picture_id_and_number_alone(picture):
    first = copies(picture, 11, 4)
    torch.manual_seed(99)
    assert (copies(picture, 11, 4) == first).all()
    assert (copies(picture, 11, 2) == first[:2]).all()
    assert not any((first[a] == first[b]).all() for a in range(4) for b in range(a))
    assert all((copies(picture, 12, 4) != first).reshape(4, -1).any(axis=1))


def test_copies_leave_the_global_random_state_and_the_picture_alone(picture):
    before, kept = torch.get_rng_state(), picture.copy()
    copies(picture, 1, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert (picture == kept).all()


def test_no_copies_are_an_empty_array(picture):
    assert copies(picture, 1, 0).shape == (0, SIDE, SIDE, 3)


@pytest.mark.parametrize("shape", [(425, 425), (64, 64), (300, 400), (256, 1000)])
def test_pictures_of_any_size_give_copies_of_256_pixels(shape):
    image = np.full((*shape, 3), 128, np.uint8)
    assert min(resized(image).shape[1:]) == SIDE
    assert copies(image, 3, 3).shape == (3, SIDE, SIDE, 3)


def test_a_copy_still_shows_its_picture():
    images = example_stimuli().images
    made = np.stack([copies(image, row, 8) for row, image in enumerate(images)]).astype(float)
    colour = made.reshape(3, 8, -1, 3).mean(axis=2)
    whole = images.reshape(3, -1, 3).mean(axis=1)
    far = np.linalg.norm(colour[:, :, None] - whole, axis=-1).mean(axis=1)
    assert (far.argmin(axis=1) == np.arange(3)).all()
