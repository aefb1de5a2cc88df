import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from safetensors.numpy import load, load_file, save

from brainkit.data import Selection
from brainkit.errors import BrainkitWarning, UsageError
from brainkit.nsd import load_design, load_trials, noise_ceiling, plan_trials

GOLDEN = Path(__file__).parent / "golden/nsd"
ROOT = GOLDEN / "fake_nsd"
EXPECTED = load_file(GOLDEN / "expected.safetensors")
FACTS = json.loads((GOLDEN / "expected.json").read_text())
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
PERIODS = {"all": "available", "s1": 1}
FORMATS = ("nifti", "hdf5")
ATOL = 2e-5  # the fixture's README: float64 arithmetic stays below 5e-7

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")


def single_rows(period, test):
    """The trials of a period in the order of single rows: by image id, then as shown."""
    n_trials = len(EXPECTED[f"{period}.betas_zsession"])
    ids = EXPECTED["trial_nsd_id_0based"][:n_trials]
    trials = [t for t in range(n_trials) if EXPECTED["trial_is_test"][t] == test]
    return sorted(trials, key=lambda t: (ids[t], t))


@pytest.mark.parametrize("beta_format", FORMATS)
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize(
    ("standardise", "key"),
    [("session", "zsession_avg"), ("train", "ztrain_ddof1"), ("none", "psc_avg")],
)
def test_averaged_betas_are_the_golden_ones(beta_format, period, standardise, key):
    selection = Selection(sessions=PERIODS[period], standardise=standardise)
    trials = load_trials(ROOT, 1, selection, beta_format=beta_format)
    for name in ("train", "test"):
        split, about = getattr(trials, name), f"{period}.{name}"
        assert split.betas.dtype == np.float32
        np.testing.assert_allclose(split.betas, EXPECTED[f"{about}_{key}"], rtol=0, atol=ATOL)
        np.testing.assert_array_equal(split.image_ids, EXPECTED[f"{about}_ids"])
        np.testing.assert_array_equal(split.repeats, EXPECTED[f"{about}_counts"])
        assert split.image_ids.dtype == split.repeats.dtype == np.int32
    assert trials.units == ("percent" if standardise == "none" else "zscore")


@pytest.mark.parametrize("beta_format", FORMATS)
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize(
    ("standardise", "key", "atol"),
    [("session", "{}.betas_zsession", ATOL), ("none", "betas_psc", 1e-6)],
)
def test_single_betas_are_the_golden_ones(beta_format, period, standardise, key, atol):
    selection = Selection(sessions=PERIODS[period], standardise=standardise, repeats="single")
    trials = load_trials(ROOT, 1, selection, beta_format=beta_format)
    for test, split in enumerate((trials.train, trials.test)):
        rows = single_rows(period, test)
        expected = EXPECTED[key.format(period)][rows]
        np.testing.assert_allclose(split.betas, expected, rtol=0, atol=atol)
        np.testing.assert_array_equal(split.image_ids, EXPECTED["trial_nsd_id_0based"][rows])
        assert set(split.repeats.tolist()) == {1}


@pytest.mark.parametrize("standardise", ["session", "train", "none"])
def test_both_file_formats_give_identical_matrices(standardise):
    selection = Selection(standardise=standardise)
    one, other = (load_trials(ROOT, 1, selection, beta_format=each) for each in FORMATS)
    np.testing.assert_array_equal(one.train.betas, other.train.betas)
    np.testing.assert_array_equal(one.test.betas, other.test.betas)


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (78, 1, 1, 1), "compression": "gzip"},
        {"chunks": (78, 3, 2, 4), "compression": "gzip"},
        {"chunks": (1, 7, 9, 8)},
        {"chunks": (32, 7, 9, 8), "shuffle": True},
        {"dtype": ">i2", "chunks": (78, 1, 1, 1)},
    ],
    ids=str,
)
def test_hdf5_stored_otherwise_gives_the_same_numbers(tmp_path, storage):
    root = shutil.copytree(ROOT, tmp_path / "nsd")
    for session in (1, 2):
        path = root / BETAS / f"betas_session0{session}.hdf5"
        with h5py.File(path) as file:
            betas = file["betas"][:]
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", data=betas, **storage)
    trials = load_trials(root, 1, Selection(), beta_format="hdf5")
    released = load_trials(ROOT, 1, Selection(), beta_format="nifti")
    np.testing.assert_array_equal(trials.train.betas, released.train.betas)


def test_chunks_never_written_are_the_fill_value(tmp_path):
    root = shutil.copytree(ROOT, tmp_path / "nsd")
    whole = load_trials(ROOT, 1, Selection(standardise="none"))
    x, y, z = whole.voxel_xyz[20].tolist()
    path = root / BETAS / "betas_session01.hdf5"
    with h5py.File(path, "w") as file:
        betas = file.create_dataset("betas", (78, 7, 9, 8), np.int16, chunks=(78, 1, 1, 1))
        betas[:, z, y, x] = 600
        betas[0, z, y, x] = 601
    selection = Selection(sessions=1, standardise="none")
    trials = load_trials(root, 1, selection, beta_format="hdf5")
    expected = np.zeros(len(whole.voxel_xyz))
    expected[20] = 2.0
    np.testing.assert_allclose(trials.train.betas, np.tile(expected, (33, 1)), atol=1 / 300)


def test_voxels_are_the_masks_in_c_order():
    trials = load_trials(ROOT, 1, Selection())
    # The fixture stored a transposed array; see its README.
    np.testing.assert_array_equal(
        trials.voxel_xyz, EXPECTED["voxel_xyz"].reshape(3, FACTS["n_nsdgeneral"]).T
    )
    volume = nibabel.load(
        ROOT / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz"
    ).get_fdata()
    numbered = np.arange(volume.size).reshape(volume.shape)
    np.testing.assert_array_equal(numbered[tuple(trials.voxel_xyz.T)], numbered[volume > 0])


def test_arrays_survive_a_safetensors_round_trip():
    trials = load_trials(ROOT, 1, Selection())
    arrays = {"xyz": trials.voxel_xyz, "train": trials.train.betas, "test": trials.test.betas}
    for name, array in load(save(arrays)).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_ncsnr_is_read_from_the_preparation():
    trials = load_trials(ROOT, 1, Selection())
    np.testing.assert_array_equal(trials.ncsnr, EXPECTED["ncsnr_nsdgeneral"])
    assert np.flatnonzero(np.isnan(trials.ncsnr)).tolist() == [FACTS["never_valid_voxel"]]


def test_design_gives_each_trials_image_and_split():
    design = load_design(ROOT, 1)
    np.testing.assert_array_equal(design.image_ids, EXPECTED["trial_nsd_id_0based"])
    np.testing.assert_array_equal(design.is_shared, EXPECTED["trial_is_test"])
    sessions = design.trials([1, 2]) // design.lengths[0] + 1
    np.testing.assert_array_equal(sessions, EXPECTED["trial_session"])
    shared = sorted(set((design.image_ids[design.is_shared] + 1).tolist()))
    assert shared == FACTS["sharedix_1based"]


@pytest.mark.parametrize(("period", "sessions"), [("all", [1, 2]), ("s1", [1])])
def test_design_gives_the_order_of_first_presentation(period, sessions):
    design = load_design(ROOT, 1)
    for test, name in enumerate(("train", "test")):
        np.testing.assert_array_equal(
            design.presented(sessions, test=bool(test)),
            EXPECTED[f"{period}.{name}_ids_presentation_order"],
        )


def test_a_number_a_list_and_available_select_the_same_sessions():
    counted = load_trials(ROOT, 1, Selection(sessions=2))
    listed = load_trials(ROOT, 1, Selection(sessions=(2, 1)))
    available = load_trials(ROOT, 1, Selection())
    assert counted.sessions == listed.sessions == available.sessions == (1, 2)
    np.testing.assert_array_equal(counted.train.betas, listed.train.betas)
    np.testing.assert_array_equal(counted.train.betas, available.train.betas)


def test_one_later_session_pairs_its_own_trials():
    selection = Selection(sessions=(2,), standardise="none", repeats="single")
    trials = load_trials(ROOT, 1, selection)
    rows = [row for row in single_rows("all", 0) if row >= FACTS["trials_per_session"]]
    np.testing.assert_allclose(trials.train.betas, EXPECTED["betas_psc"][rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("preparation", ["betas_assumehrf", "betas_fithrf"])
def test_other_preparations_are_read_from_their_own_folder(tmp_path, preparation):
    root = shutil.copytree(ROOT, tmp_path / "nsd")
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm"
    (folder / "betas_fithrf_GLMdenoise_RR").rename(folder / preparation)
    trials = load_trials(root, 1, Selection(preparation=preparation))
    np.testing.assert_allclose(
        trials.test.betas, EXPECTED["all.test_zsession_avg"], rtol=0, atol=ATOL
    )


def test_a_label_loads_that_labels_voxels_only():
    selection = Selection(roi="floc-faces:FFA-1", standardise="none")
    trials = load_trials(ROOT, 1, selection)
    region = FACTS["roi_indices"]["floc-faces"]["FFA-1"]
    assert len(trials.voxel_xyz) == region["n_voxels_in_volume"]
    whole = load_trials(ROOT, 1, Selection(standardise="none"))
    inside = {tuple(xyz): place for place, xyz in enumerate(whole.voxel_xyz.tolist())}
    for column, xyz in enumerate(trials.voxel_xyz.tolist()):
        if tuple(xyz) in inside:
            place = inside[tuple(xyz)]
            np.testing.assert_array_equal(trials.test.betas[:, column], whole.test.betas[:, place])


def test_test_trials_never_change_training_scores(tmp_path):
    root = shutil.copytree(ROOT, tmp_path / "nsd")
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    tested = EXPECTED["trial_is_test"][: FACTS["trials_per_session"]].astype(bool)
    path = folder / "betas_session01.nii.gz"
    image = nibabel.load(path)
    data = np.asanyarray(image.dataobj).copy()
    data[..., tested] += 500
    nibabel.save(nibabel.Nifti1Image(data, image.affine, image.header), path)
    for standardise in ("session", "train"):
        selection = Selection(standardise=standardise)
        before = load_trials(ROOT, 1, selection, beta_format="nifti")
        after = load_trials(root, 1, selection, beta_format="nifti")
        np.testing.assert_array_equal(before.train.betas, after.train.betas)
        assert not np.array_equal(before.test.betas, after.test.betas)


def test_progress_counts_sessions():
    seen = []
    load_trials(ROOT, 1, Selection(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_plan_says_what_loading_gives():
    plan = plan_trials(ROOT, 1, Selection(sessions=1), beta_format="nifti")
    trials = load_trials(ROOT, 1, Selection(sessions=1))
    assert plan.rows.n_train == len(trials.train.image_ids) == 33
    assert plan.bytes_in_memory == trials.train.betas.nbytes + trials.test.betas.nbytes
    assert plan.bytes_read == plan.files[0].path.stat().st_size
    assert "1 of 2 sessions, 33 training and 9 test rows (9 of 12 shared images)" in plan.text()


def test_a_plan_for_hdf5_reads_at_most_the_file():
    plan = plan_trials(ROOT, 1, Selection(roi="floc-faces:FFA-1"), beta_format="hdf5")
    whole = sum(file.path.stat().st_size for file in plan.files)
    assert 0 < plan.bytes_read < whole


def test_dead_voxels_are_zero_and_warned_of_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trials = load_trials(ROOT, 1, Selection(repeats="single"))
    said = [str(each.message) for each in caught if each.category is BrainkitWarning]
    assert len(said) == 1
    assert said == list(trials.warnings)
    assert "1 voxel without signal in all sessions and 1 more in some" in said[0]
    assert np.isfinite(trials.train.betas).all()
    assert not trials.train.betas[:, FACTS["never_valid_voxel"]].any()
    second = np.array(single_rows("all", 0)) >= FACTS["trials_per_session"]
    column = trials.train.betas[:, FACTS["voxel_invalid_in_session_2"]]
    assert not column[second].any()
    assert column[~second].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sessions": "all"}, "'available', a number or a list"),
        ({"sessions": 3}, "sessions 1 to 2"),
        ({"sessions": ()}, "sessions 1 to 2"),
        ({"standardise": "sesion"}, "Did you mean 'session'"),
        ({"repeats": "mean"}, "average, single"),
        ({"preparation": "betas_fithrf_GLMdenoise"}, "betas_fithrf_GLMdenoise_RR"),
        ({"roi": "nsdgenral"}, "Did you mean 'nsdgeneral'"),
        ({"roi": "floc-faces:FFA-3"}, "FFA-1, FFA-2"),
        ({"roi": " , "}, "expected a ROI"),
    ],
)
def test_a_selection_of_something_unknown_names_what_there_is(change, says):
    with pytest.raises(UsageError, match=says):
        plan_trials(ROOT, 1, replace(Selection(), **change))


def test_an_unknown_subject_names_the_known_ones():
    with pytest.raises(UsageError, match="no subject 2; choose one of 1"):
        load_trials(ROOT, 2, Selection())


def test_noise_ceiling_follows_the_published_formula():
    ncsnr = np.array([0.0, 1.0, 2.0, np.nan], dtype=np.float32)
    thrice = noise_ceiling(ncsnr, np.array([3, 3, 3]))
    np.testing.assert_allclose(thrice, [0, 75, 100 * 4 / (4 + 1 / 3), np.nan], rtol=1e-6)
    # A = 2 images once, B = 1 twice, C = 1 three times: (2/1 + 1/2 + 1/3) / 4
    mixed = noise_ceiling(ncsnr, np.array([1, 1, 2, 3]))
    weight = (2 / 1 + 1 / 2 + 1 / 3) / 4
    np.testing.assert_allclose(mixed[1], 100 / (1 + weight), rtol=1e-6)
