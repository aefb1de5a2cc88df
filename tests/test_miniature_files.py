"""Files of the miniature hold what NSD's hold, in the types and places where readers look."""

import nibabel
import numpy as np
import pytest
import scipy.io

from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.miniature import miniature
from brainkit.miniature.brain import AREAS, Difficulty, lay_out, responses
from brainkit.miniature.scenes import SUBJECT_SEEDS, make_scene
from brainkit.nsd import check_data, load_trials, roi_indices
from brainkit.nsd.atlases import built_in_names

SMALL = {"voxels": 200, "train_images": 300, "test_images": 20}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return miniature(tmp_path_factory.mktemp("files"), Difficulty(**SMALL)).nsd


@pytest.fixture(scope="module")
def design(root):
    return root / "nsddata/experiments/nsd/nsd_expdesign.mat"


def test_the_design_is_of_doubles_kept_in_the_least_integers_as_matlab_does(design):
    assert {kind for _, _, kind in scipy.io.whosmat(design)} == {"double"}
    stored, matlab = scipy.io.loadmat(design), scipy.io.loadmat(design, mat_dtype=True)
    types = {name: stored[name].dtype.name for name in stored if not name.startswith("__")}
    assert types == {
        "masterordering": "uint16",  # ids up to 320
        "subjectim": "uint16",
        "sharedix": "uint16",
        "basiccnt": "uint8",  # counts up to 96
        "stimpattern": "uint8",
    }
    for name in types:
        assert matlab[name].dtype == np.float64
        assert np.array_equal(matlab[name], stored[name])


def test_what_public_readers_do_with_the_design_gives_the_images_shown(root, design):
    loaded = scipy.io.loadmat(design)
    shown = loaded["subjectim"][0, loaded["masterordering"].squeeze() - 1] - 1
    table = np.genfromtxt(
        root / "nsddata/ppdata/subj01/behav/responses.tsv", delimiter="\t", names=True
    )
    assert np.array_equal(shown, table["73KID"] - 1)


@pytest.mark.parametrize("volume", ["nsdgeneral", "streams", "Kastner2015"])
def test_names_of_volumes_drawn_on_fsaverage_lie_there(root, volume):
    table = root / f"nsddata/freesurfer/fsaverage/label/{volume}.mgz.ctab"
    lines = [line.split() for line in table.read_text().splitlines()]
    assert lines[0] == ["0", "Unknown"]
    assert {int(number): name for number, name in lines[1:]} == built_in_names(volume)


def test_rings_of_eccentricity_see_the_middle_or_the_edge_of_pictures(root):
    anatomy = lay_out(200)
    rng = np.random.default_rng(0)
    down, across = np.mgrid[-1:1:64j, -1:1:64j]
    far = np.hypot(down, across)
    textured = rng.random((200, 2)) < 0.5
    noise = rng.integers(0, 256, (200, 64, 64, 3)).astype(np.uint8)
    pictures = np.full_like(noise, 128)
    for number, place in enumerate((far < 0.35, far > 0.8)):
        rows = textured[:, number]
        pictures[np.ix_(rows, *map(np.arange, (64, 64)))] = np.where(
            place[None, :, :, None], noise[rows], pictures[rows]
        )
    found = responses(pictures, [make_scene(SUBJECT_SEEDS[0])] * 200, anatomy, 0)
    regions = roi_indices(root, 1, "prf-eccrois", anatomy.xyz)
    assert list(regions) == ["ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"]
    linked = {
        name: np.abs(np.corrcoef(textured.T, found[:, region.positions].T)[:2, 2:]).mean(1)
        for name, region in regions.items()
    }
    assert linked["ecc1"][0] > 2 * linked["ecc1"][1]
    assert linked["ecc4+"][1] > 2 * linked["ecc4+"][0]
    early = roi_indices(root, 1, "prf-visualrois", anatomy.xyz)
    assert sum(len(each.positions) for each in regions.values()) == sum(
        len(each.positions) for each in early.values()
    )


@pytest.mark.filterwarnings("ignore:label .* of Kastner2015 has no voxels")
def test_kastner_agrees_with_the_mapped_areas_and_parts_the_others(root):
    trials = load_trials(root, 1, Selection())
    kastner = roi_indices(root, 1, "Kastner2015", trials.voxel_xyz)
    mapped = roi_indices(root, 1, "prf-visualrois", trials.voxel_xyz)
    for name, region in mapped.items():
        assert np.array_equal(region.positions, kastner[name].positions)
    lateral = sorted([*kastner["LO1"].positions, *kastner["LO2"].positions])
    columns = roi_indices(root, 1, "streams", trials.voxel_xyz)["lateral"].positions
    assert set(lateral) < set(columns)
    assert len(lateral) == round(200 * next(a.share for a in AREAS if a.name == "LO") / 2000)


def test_betas_as_nifti_are_the_same_numbers(root, tmp_path):
    other = miniature(tmp_path, Difficulty(**SMALL, format="nifti")).nsd
    assert not list(other.rglob("betas_session*.hdf5"))
    series = nibabel.load(next(other.rglob("betas_session01.nii.gz")))
    assert series.get_data_dtype() == np.int16
    assert series.header.get_zooms()[3] == pytest.approx(4 / 3)
    assert check_data(other).contradictions == ()
    packed, plain = (load_trials(each, 1, Selection()) for each in (other, root))
    assert np.array_equal(packed.train.betas, plain.train.betas)
    assert np.array_equal(packed.test.betas, plain.test.betas)


def test_a_format_that_is_none_is_one_sentence():
    with pytest.raises(UsageError, match=r"difficulty\.format is zip; give hdf5 or nifti"):
        Difficulty(format="zip")
