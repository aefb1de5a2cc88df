import hashlib
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Selection, Stimuli
from brainkit.encoders.autokl import AutoKL
from brainkit.encoders.clip import ClipImage, ClipText
from brainkit.errors import UsageError
from brainkit.miniature import is_made, miniature
from brainkit.miniature.brain import AREAS, Difficulty, lay_out, noise_ceilings, responses
from brainkit.miniature.scenes import SUBJECT_SEEDS, captions, draw, make_scene
from brainkit.nsd import (
    check_data,
    load_captions,
    load_design,
    load_stimuli,
    load_trials,
    roi_indices,
)
from brainkit.regressors import Ridge

TINY = Difficulty(voxels=80, train_images=30, test_images=6)
MIDDLE = Difficulty(voxels=800, train_images=250, test_images=50)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return miniature(tmp_path_factory.mktemp("tiny"), TINY).nsd


@pytest.fixture(scope="module")
def middle(tmp_path_factory):
    root = miniature(tmp_path_factory.mktemp("middle"), MIDDLE).nsd
    trials = load_trials(root, 1, Selection())
    image_ids = np.concatenate([trials.train.image_ids, trials.test.image_ids])
    betas = np.concatenate([trials.train.betas, trials.test.betas])
    scenes = [make_scene(SUBJECT_SEEDS[image]) for image in image_ids]
    return root, trials, betas, scenes


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = {str(path.relative_to(root)): path.read_bytes() for path in files}
    return {name: hashlib.sha256(content).hexdigest() for name, content in names.items()}


def region(middle, name):
    root, trials, betas, _ = middle
    return betas[:, roi_indices(root, 1, name, trials.voxel_xyz)[name].positions]


def shows(scenes, category):
    return np.array([any(o.category == category for o in scene.objects) for scene in scenes])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny, tmp_path):
    again = digest(miniature(tmp_path / "again", TINY).nsd)
    assert again == digest(tiny)
    other = digest(miniature(tmp_path / "again", TINY, seed=1).nsd)
    assert set(other) == set(again)
    kept = {name for name in again if again[name] == other[name]}
    assert not any("betas_session" in name or "nsd_stimuli" in name for name in kept)


def test_two_at_once_make_one_whole_folder_and_leave_nothing_behind(tmp_path):
    assert not is_made(tmp_path, TINY)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: miniature(tmp_path, TINY).nsd, range(2)))
    assert found[0] == found[1]
    assert is_made(tmp_path, TINY)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [found[0]]


def test_a_failed_start_leaves_no_folder_that_looks_made(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("brainkit.miniature.download.write_regions", fail)
    with pytest.raises(KeyboardInterrupt):
        miniature(tmp_path, TINY)
    assert not is_made(tmp_path, TINY)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_the_cache_lies_where_brainkit_home_says(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path))
    assert miniature(difficulty=TINY).nsd.is_relative_to(tmp_path / "miniature")


def test_the_download_has_no_contradiction_and_loads_without_a_warning(tiny):
    report = check_data(tiny)
    assert report.contradictions == ()
    assert not any("captions_" in line or "ncsnr" in line for line in report.lacking)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trials = load_trials(tiny, 1, Selection())
    assert trials.train.betas.shape == (30, 80)
    assert trials.test.betas.shape == (6, 80)
    assert trials.ncsnr is not None
    assert set(trials.train.repeats) == set(trials.test.repeats) == {3}


def test_pictures_and_captions_are_those_of_the_scenes(tiny):
    image_ids = [0, 7, 9, 35]
    pictures = load_stimuli(tiny, image_ids)
    found = load_captions(tiny, image_ids)
    for row, image in enumerate(image_ids):
        scene = make_scene(SUBJECT_SEEDS[image])
        assert np.array_equal(pictures[row], draw(scene))
        assert tuple(found[row]) == captions(scene)


def test_every_image_is_shown_three_times_and_the_shared_ones_are_the_test(tiny):
    design = load_design(tiny, 1)
    assert np.array_equal(np.bincount(design.image_ids), np.full(36, 3))
    assert len(np.unique(design.image_ids[design.is_shared])) == 6


def test_regions_keep_the_rules_of_the_release(tiny):
    folder = tiny / "nsddata/ppdata/subj01/func1pt8mm"
    brain = nibabel.load(folder / "brainmask.nii.gz").get_fdata() > 0
    for path in folder.glob("roi/[!lr]*.nii.gz"):
        whole, left, right = (
            nibabel.load(path.with_name(prefix + path.name)).get_fdata()
            for prefix in ("", "lh.", "rh.")
        )
        assert np.array_equal(whole == -1, ~brain)
        assert not ((left >= 0) & (right >= 0)).any()
        assert np.array_equal(whole, np.where(left != -1, left, right))
        assert (left > 0).any()
        assert (right > 0).any()


def test_the_default_subject_has_the_areas_it_promises():
    anatomy = lay_out(2000)
    counts = {area.name: int((anatomy.area == i).sum()) for i, area in enumerate(AREAS)}
    assert counts == {area.name: area.share for area in AREAS}
    early = [counts[name] for name in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")]
    assert early == [175, 175, 150, 150, 125, 125, 250]


@pytest.mark.parametrize(
    ("name", "preferred", "other"),
    [
        ("PPA", "places", "faces"),
        ("FFA-1", "faces", "places"),
        ("FFA-2", "faces", "vehicles"),
        ("EBA", "bodies", "food"),
        ("VWFA-1", "words", "faces"),
    ],
)
def test_category_regions_answer_their_category(middle, name, preferred, other):
    scenes = middle[3]
    with_it, with_other = shows(scenes, preferred), shows(scenes, other)
    mean = region(middle, name).mean(1)
    answer = mean[with_it & ~with_other].mean() - mean[with_other & ~with_it].mean()
    shuffled = np.random.default_rng(0).permutation(mean)
    chance = shuffled[with_it & ~with_other].mean() - shuffled[with_other & ~with_it].mean()
    assert answer > 0.3
    assert abs(chance) < answer / 2


def test_early_voxels_do_not_care_for_category(middle):
    scenes = middle[3]
    faces, places = shows(scenes, "faces"), shows(scenes, "places")
    contrasts = {}
    for name in ("V1v", "V1d", "FFA-1", "PPA"):
        betas = region(middle, name)
        gap = betas[faces & ~places].mean(0) - betas[places & ~faces].mean(0)
        contrasts[name] = np.abs(gap.mean())
    assert max(contrasts["V1v"], contrasts["V1d"]) < min(contrasts["FFA-1"], contrasts["PPA"]) / 2


def test_each_quarter_of_v1_sees_the_opposite_quarter_of_the_field():
    quarters = {
        ("V1v", True): (slice(0, 32), slice(32, 64)),
        ("V1v", False): (slice(0, 32), slice(0, 32)),
        ("V1d", True): (slice(32, 64), slice(32, 64)),
        ("V1d", False): (slice(32, 64), slice(0, 32)),
    }
    rng = np.random.default_rng(0)
    textured = rng.random((120, 4)) < 0.5
    noise = rng.integers(0, 256, (120, 64, 64, 3)).astype(np.uint8)
    pictures = np.full_like(noise, 128)
    for number, place in enumerate(quarters.values()):
        rows = np.flatnonzero(textured[:, number])
        pictures[(rows, *place)] = noise[(rows, *place)]
    anatomy = lay_out(800)
    found = responses(pictures, [make_scene(SUBJECT_SEEDS[0])] * 120, anatomy, 0)
    names = np.array([area.name for area in AREAS] + [""])[anatomy.area]
    for number, (name, left) in enumerate(quarters):
        voxels = found[:, (names == name) & (anatomy.left == left)]
        linked = np.abs(np.corrcoef(textured.T, voxels.T)[:4, 4:]).mean(1)
        assert linked.argmax() == number
        assert linked[number] > 2 * np.delete(linked, number).max()


def estimated_ncsnr(root):
    single = load_trials(root, 1, Selection(repeats="single"))
    betas = np.concatenate([single.train.betas, single.test.betas]).astype(np.float64)
    image_ids = np.concatenate([single.train.image_ids, single.test.image_ids])
    thrice = betas[np.argsort(image_ids, kind="stable")].reshape(-1, 3, betas.shape[1])
    noise = thrice.var(1, ddof=1).mean(0)
    total = betas.var(0, ddof=1)
    return np.sqrt((total - noise).clip(0) / noise), single.ncsnr


def test_the_ncsnr_file_says_how_much_the_repeats_agree(middle):
    estimated, said = estimated_ncsnr(middle[0])
    assert np.abs(np.median(estimated) / np.median(said) - 1) < 0.05
    assert spearmanr(estimated, said).statistic > 0.9


def test_the_noise_ceiling_of_the_default_subject_has_the_median_of_nsd():
    ncsnr = noise_ceilings(lay_out(2000), 0.40, 0)
    ncsnr = ncsnr[ncsnr > 0]
    share = ncsnr**2 / (ncsnr**2 + 1 / 3)
    assert np.median(share) == pytest.approx(0.40, abs=0.02)
    harder = noise_ceilings(lay_out(2000), 0.15, 0)
    harder = harder[harder > 0]
    assert np.median(harder**2 / (harder**2 + 1 / 3)) == pytest.approx(0.15, abs=0.02)


def test_signal_space_noise_is_shared_by_voxels_and_leaves_the_ceiling_alone(tmp_path):
    size = {"voxels": 200, "train_images": 250, "test_images": 50}
    shared = {}
    for share in (0.0, 0.5):
        root = miniature(tmp_path, Difficulty(signal_space_noise=share, **size)).nsd
        estimated, said = estimated_ncsnr(root)
        assert np.abs(np.median(estimated) / np.median(said) - 1) < 0.1
        single = load_trials(root, 1, Selection(repeats="single"))
        thrice = single.train.betas.reshape(-1, 3, 200)
        assert len(np.unique(single.train.image_ids.reshape(-1, 3), axis=0)) == 250
        noise = (thrice - thrice.mean(1, keepdims=True)).reshape(-1, 200)
        values = np.linalg.svd(noise, compute_uv=False) ** 2
        shared[share] = values[:5].sum() / values.sum()
    assert shared[0.5] > 2 * shared[0.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("voxels", 10),
        ("noise_ceiling", 1.0),
        ("signal_space_noise", -0.1),
        ("train_images", 1),
        ("test_images", 0),
    ],
)
def test_a_difficulty_that_makes_no_sense_is_refused(field, value):
    with pytest.raises(UsageError, match=rf"difficulty\.{field} is {value}"):
        Difficulty(**{field: value})


def test_a_seed_out_of_range_is_refused(tmp_path):
    with pytest.raises(UsageError, match="seed is 100; give a number from 0 to 99"):
        miniature(tmp_path, TINY, seed=100)


def test_the_coco_files_hold_every_picture_once(tiny):
    folder = Path(tiny, "nsddata_stimuli/stimuli/nsd/annotations")
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("captions_*.json"))]
    ids = [image["id"] for content in contents for image in content["images"]]
    assert len(set(ids)) == len(ids) == 36
    assert all(len(content["images"]) > 0 for content in contents)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "least_r2", "least_two_way"),
    [(AutoKL(), 0.5, 0.95), (ClipImage(), 0.6, 0.97), (ClipText(), 0.6, 0.97)],
    ids=["image_latent", "clip_image", "clip_text"],
)
def test_the_default_subject_can_be_decoded(tmp_path_factory, encoder, least_r2, least_two_way):
    root = miniature(tmp_path_factory.getbasetemp() / "default").nsd
    trials = load_trials(root, 1, Selection())
    load = encoder.load(CheckpointStore(root, miniature=True))

    def encode(image_ids):
        captioned = tuple(tuple(each) for each in load_captions(root, image_ids))
        return load(Stimuli(load_stimuli(root, image_ids), captioned, image_ids))

    train, test = encode(trials.train.image_ids), encode(trials.test.image_ids)
    ridge = Ridge(alpha="cv", scaling="none")
    weights = ridge.fit(torch.from_numpy(trials.train.betas), train)
    predicted = ridge.predict(weights, torch.from_numpy(trials.test.betas), train)
    missed = (test - predicted).square().sum() / (test - train.mean(0)).square().sum()
    assert 1 - float(missed) >= least_r2
    linked = np.corrcoef(predicted.flatten(1), test.flatten(1))[: len(test), len(test) :]
    own = np.diag(linked)[:, None]
    assert (own > linked).sum() / (len(test) * (len(test) - 1)) >= least_two_way
    shuffled = np.diag(np.roll(linked, 1, axis=0))[:, None]
    assert (shuffled > linked).mean() < 0.7
