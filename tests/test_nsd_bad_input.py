"""The bad input that NSD downloads are known for, one test a case; the mutations are the rest."""

import gzip
import os
import shutil
import struct
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from brainkit.data import Selection
from brainkit.errors import DataError
from brainkit.nsd import load_stimuli, load_trials, plan_trials
from brainkit.nsd.files import flaw

ROOT = Path(__file__).parent / "golden/nsd/fake_nsd"
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
ROIS = "nsddata/ppdata/subj01/func1pt8mm/roi"
RESPONSES = "nsddata/ppdata/subj01/behav/responses.tsv"
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")


@pytest.fixture
def nsd(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "nsd")


def refusal(root, beta_format="auto", sessions="available", **options):
    """The sentence that loading is refused with; nothing large may have been read by then."""
    with pytest.raises(DataError) as caught:
        plan_trials(root, 1, Selection(sessions=sessions), beta_format=beta_format, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def declare_more_sessions(root, n_sessions):
    """Let the layout promise more sessions than there are files for."""
    path = root / "brainkit-layout.toml"
    path.write_text(path.read_text().replace("sessions = 2", f"sessions = {n_sessions}"))


def rewrite_nifti(path, change):
    image = nibabel.load(path)
    data = change(np.asanyarray(image.dataobj))
    nibabel.save(nibabel.Nifti1Image(data, image.affine), path)


def test_all_missing_sessions_are_named_at_once(nsd):
    declare_more_sessions(nsd, 5)
    said = refusal(nsd, sessions=5)
    assert "missing session 03, 04, 05" in said
    assert "present: 01, 02" in said
    assert str(nsd / BETAS) in said


def test_a_folder_without_sessions_says_so(nsd):
    shutil.rmtree(nsd / BETAS)
    said = refusal(nsd)
    assert "betas_session01.hdf5 or .nii.gz" in said
    assert "present: none" in said


def test_a_cut_hdf5_is_truncated(nsd):
    path = nsd / BETAS / "betas_session02.hdf5"
    path.write_bytes(path.read_bytes()[:60_000])
    said = refusal(nsd, "hdf5")
    assert f"{path} is truncated or damaged (60000 bytes found" in said


def test_a_cut_nifti_is_found_before_any_session_is_loaded(nsd):
    path = nsd / BETAS / "betas_session02.nii.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    assert f"{path} is truncated" in refusal(nsd, "nifti")


def test_a_damaged_byte_in_a_nifti_is_found_by_its_checksum(nsd):
    path = nsd / BETAS / "betas_session01.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"betas_session01\.nii\.gz is truncated or damaged"):
        load_trials(nsd, 1, Selection(), beta_format="nifti")


def test_a_git_lfs_pointer_names_the_command(nsd):
    path = nsd / BETAS / "betas_session01.nii.gz"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    said = refusal(nsd, "nifti")
    assert f"{path} is a Git LFS pointer" in said
    assert "git lfs pull" in said


def test_a_dangling_annex_link_names_the_command(nsd):
    path = nsd / BETAS / "betas_session01.nii.gz"
    path.unlink()
    path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s9--0.nii.gz")
    said = refusal(nsd, "nifti")
    assert f"{path} is a git-annex pointer without content" in said
    assert "datalad get" in said


def test_a_link_to_nowhere_names_its_target(nsd):
    path = nsd / BETAS / "betas_session01.nii.gz"
    path.unlink()
    path.symlink_to("/mnt/gone/betas_session01.nii.gz")
    assert "is a link to /mnt/gone/betas_session01.nii.gz" in refusal(nsd, "nifti")


def test_with_one_format_unfetched_the_other_is_used(nsd):
    for session in (1, 2):
        (nsd / BETAS / f"betas_session0{session}.hdf5").write_text("/annex/objects/MD5E-s9--0")
    plan = plan_trials(nsd, 1, Selection())
    assert [file.path.suffix for file in plan.files] == [".gz", ".gz"]


@pytest.mark.parametrize("body", ["<?xml version='1.0'?><Error/>", "<!DOCTYPE html><html>"])
@pytest.mark.parametrize("name", [f"{BETAS}/betas_session01.hdf5", DESIGN, RESPONSES])
def test_a_saved_refusal_is_recognised(nsd, name, body):
    (nsd / name).write_text(body)
    said = refusal(nsd, "hdf5")
    assert f"{nsd / name} holds a web page" in said
    assert "access was refused" in said


def test_only_values_above_zero_are_in_a_roi():
    values = nibabel.load(ROOT / ROIS / "nsdgeneral.nii.gz").get_fdata()
    n_voxels = len(plan_trials(ROOT, 1, Selection()).voxel_xyz)
    assert n_voxels == (values > 0).sum() == 147
    assert n_voxels < (values != 0).sum()


def test_a_mask_shifted_in_space_is_refused(nsd):
    path = nsd / ROIS / "nsdgeneral.nii.gz"
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 1.8
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), affine), path)
    said = refusal(nsd, "nifti")
    assert "lie apart" in said
    assert "betas_session01.nii.gz" in said


def test_a_rescaled_nifti_is_refused(nsd):
    path = nsd / BETAS / "betas_session01.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[112:116] = struct.pack("<f", 2.0)  # scl_slope of the NIfTI-1 header
    path.write_bytes(gzip.compress(content))
    assert "scl_slope 2.0" in refusal(nsd, "nifti")


def test_another_number_of_trials_in_hdf5_is_refused(nsd):
    path = nsd / BETAS / "betas_session01.hdf5"
    with h5py.File(path) as file:
        betas = file["betas"][:-1]
    with h5py.File(path, "w") as file:
        file["betas"] = betas
    assert "has 77 trials, expected 78" in refusal(nsd, "hdf5")


def as_percent(path, broken=()):
    def change(data):
        data = (data / 300).astype(np.float32)
        for place in broken:
            data[place] = np.nan
        return data

    rewrite_nifti(path, change)


def test_percent_files_load_as_the_integers_do_when_said_so(nsd):
    for session in (1, 2):
        as_percent(nsd / BETAS / f"betas_session0{session}.nii.gz")
    percent = load_trials(nsd, 1, Selection(), beta_format="nifti", units="percent")
    released = load_trials(ROOT, 1, Selection())
    np.testing.assert_allclose(percent.train.betas, released.train.betas, rtol=0, atol=2e-5)


def test_released_and_converted_sessions_may_stand_side_by_side(nsd):
    as_percent(nsd / BETAS / "betas_session02.nii.gz")
    selection = Selection(standardise="none")
    mixed = load_trials(nsd, 1, selection, beta_format="nifti", units="percent")
    released = load_trials(ROOT, 1, selection)
    np.testing.assert_allclose(mixed.train.betas, released.train.betas, rtol=0, atol=2e-5)


def test_numbers_that_are_neither_int16_nor_float_are_refused(nsd):
    rewrite_nifti(nsd / BETAS / "betas_session01.nii.gz", lambda data: data.astype(np.int32))
    assert "holds int32, expected int16" in refusal(nsd, "nifti", units="percent")


def test_nan_voxels_can_be_dropped_or_zeroed(nsd):
    whole = load_trials(ROOT, 1, Selection(standardise="none"))
    x, y, z = whole.voxel_xyz[30].tolist()
    as_percent(nsd / BETAS / "betas_session01.nii.gz", [(x, y, z, slice(3, 6))])
    as_percent(nsd / BETAS / "betas_session02.nii.gz")
    options = {"beta_format": "nifti", "units": "percent"}
    selection = Selection(standardise="none")
    dropped = load_trials(nsd, 1, selection, nan_policy="drop", **options)
    assert [x, y, z] not in dropped.voxel_xyz.tolist()
    others = np.delete(np.arange(147), 30)
    np.testing.assert_allclose(dropped.train.betas, whole.train.betas[:, others], atol=1e-6)
    np.testing.assert_array_equal(dropped.ncsnr, whole.ncsnr[others])
    zeroed = load_trials(nsd, 1, selection, nan_policy="zero", **options)
    assert np.isfinite(zeroed.train.betas).all()
    for trials, done in ((dropped, "left out"), (zeroed, "set to 0")):
        assert any(
            f"1 voxel with 3 values that are NaN or infinite, {done}" in each
            for each in trials.warnings
        )


def test_sessions_of_two_subjects_are_refused_in_hdf5_too(nsd):
    path = nsd / BETAS / "betas_session02.hdf5"
    with h5py.File(path, "w") as file:
        file["betas"] = np.zeros((78, 7, 9, 6), dtype=np.int16)
    said = refusal(nsd, "hdf5")
    assert "(78, 7, 9, 6), expected (78, 7, 9, 8)" in said


def test_unpadded_names_are_never_taken_for_sessions(nsd):
    for suffix in (".hdf5", ".nii.gz"):
        path = nsd / BETAS / f"betas_session01{suffix}"
        path.rename(path.with_name(f"betas_session1{suffix}"))
    said = refusal(nsd, sessions=2)
    assert "missing session 01" in said
    assert "there is betas_session1.hdf5" in said


def test_a_design_shifted_without_a_zero_is_caught_by_the_responses(nsd):
    path = nsd / DESIGN
    fields = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    for key in ("subjectim", "sharedix"):
        shifted = fields[key] % 60 + 1
        fields[key] = shifted
    scipy.io.savemat(path, fields)
    said = refusal(nsd)
    assert "73KID" in said
    assert "156 of 156 trials disagree" in said


def test_responses_of_another_subject_are_refused(nsd):
    path = nsd / RESPONSES
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *("2" + row[1:] for row in rows)]) + "\n")
    assert "trials of subject 2 in column SUBJECT, expected 1" in refusal(nsd)


def test_too_few_pictures_are_noticed_before_any_is_read(nsd):
    with h5py.File(nsd / PICTURES, "w") as file:
        file["imgBrick"] = np.zeros((40, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"nsd_stimuli\.hdf5 has 40 rows, but image id 59"):
        load_stimuli(nsd, [0, 59])


def test_a_packed_file_is_recognised(nsd):
    with h5py.File(nsd / BETAS / "betas_session01.hdf5", "w") as file:
        file["betas"] = np.zeros((156, 147), dtype=np.float32)
    said = refusal(nsd, "hdf5")
    assert "packed array of (156, 147)" in said
    assert "z-scored already" in said


def test_fewer_sessions_than_there_were_are_remarked_on_with_counts(nsd):
    for suffix in (".hdf5", ".nii.gz"):
        (nsd / BETAS / f"betas_session02{suffix}").unlink()
    trials = load_trials(nsd, 1, Selection())
    assert trials.sessions == (1,)
    assert any("1 of 2 sessions are there" in each for each in trials.warnings)
    assert (len(trials.train.image_ids), len(trials.test.image_ids)) == (33, 9)


def test_a_partial_later_session_is_left_out_and_remarked_on(nsd):
    (nsd / BETAS / "betas_session02.nii.gz").unlink()
    path = nsd / BETAS / "betas_session02.hdf5"
    path.rename(path.with_name(path.name + ".6eF3a1B2"))
    trials = load_trials(nsd, 1, Selection())
    assert any("only partial downloads of sessions 02" in each for each in trials.warnings)


def test_a_file_that_just_changed_may_still_be_downloading(nsd):
    path = nsd / BETAS / "betas_session01.hdf5"
    path.write_bytes(path.read_bytes()[:60_000])
    assert "is it still downloading?" in refusal(nsd, "hdf5")
    os.utime(path, (1e9, 1e9))
    assert "downloading?" not in refusal(nsd, "hdf5")


def test_a_session_of_test_trials_alone_cannot_be_standardised_by_itself(nsd):
    (nsd / RESPONSES).unlink()
    fields = {k: v for k, v in scipy.io.loadmat(nsd / DESIGN).items() if not k.startswith("__")}
    fields["masterordering"].flat[:78] = np.arange(78) % 12 + 1
    scipy.io.savemat(nsd / DESIGN, fields)
    with pytest.raises(DataError, match="session 1 has no training trials"):
        load_trials(nsd, 1, Selection())


def test_a_folder_that_is_no_download_is_named(tmp_path):
    assert f"there is no folder {tmp_path / 'none'}" in refusal(tmp_path / "none")
    assert f"{tmp_path} holds none of nsddata/" in refusal(tmp_path)


def test_a_healthy_file_has_no_flaw():
    assert flaw(ROOT / DESIGN) is None
