"""Files whose numbers lie: each gives one sentence, none a traceback, a shift or much memory."""

import csv
import gzip
import os
import shutil
import struct
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from brainkit.data import Selection
from brainkit.errors import DataError
from brainkit.nsd import check_data, load_captions, load_stimuli, load_trials, read_layout
from brainkit.nsd.files import CURATED

ROOT = Path(__file__).parent / "golden/nsd/fake_nsd"
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
ROIS = "nsddata/ppdata/subj01/func1pt8mm/roi"
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
ANNOTATIONS = "nsddata_stimuli/stimuli/nsd/annotations"
TABLE = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
RESPONSES = "nsddata/ppdata/subj01/behav/responses.tsv"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
LITTLE = 50_000_000  # bytes

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")


@pytest.fixture
def nsd(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "nsd")


def refusal(call, *arguments, **options):
    """The one line that a call is refused with, and that in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            call(*arguments, **options)
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert said.isprintable()
    return said


def loading(root, beta_format="auto", **selection):
    return refusal(load_trials, root, 1, Selection(**selection), beta_format=beta_format)


def change_header(path, place, form, *values):
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, content, place, *values)
    path.write_bytes(gzip.compress(bytes(content)))


def test_hdf5_into_which_nothing_was_written(nsd):
    path = nsd / BETAS / "betas_session01.hdf5"
    for chunks in ((78, 1, 1, 1), (6, 7, 9, 8), None):
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", (78, 7, 9, 8), np.int16, chunks=chunks)
        said = loading(nsd, "hdf5")
        assert f"{path}: nothing was ever written into 'betas'" in said
        assert said in check_data(nsd).contradictions
    with h5py.File(nsd / PICTURES, "w") as file:
        file.create_dataset("imgBrick", (60, 32, 32, 3), np.uint8, chunks=(1, 32, 32, 3))
    assert "nothing was ever written into 'imgBrick'" in refusal(load_stimuli, nsd, [0])


def test_hdf5_that_holds_its_data_elsewhere_is_read(nsd):
    path = nsd / PICTURES
    whole = load_stimuli(ROOT, range(60))
    path.rename(path.with_name("source.hdf5"))
    layout = h5py.VirtualLayout((60, 32, 32, 3), np.uint8)
    layout[:] = h5py.VirtualSource("source.hdf5", "imgBrick", (60, 32, 32, 3))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("imgBrick", layout)
    np.testing.assert_array_equal(load_stimuli(nsd, range(60)), whole)


def test_pictures_of_an_absurd_size(nsd):
    with h5py.File(nsd / PICTURES, "w") as file:
        shape = (60, 32767, 32767, 3)
        pictures = file.create_dataset("imgBrick", shape, np.uint8, chunks=(1, 64, 64, 3))
        pictures[0, 0, 0] = 1
    assert "32767" in refusal(load_stimuli, nsd, [0])


@pytest.mark.parametrize(
    "name",
    [f"{BETAS}/betas_session01.nii.gz", f"{ROIS}/nsdgeneral.nii.gz", f"{BETAS}/ncsnr.nii.gz"],
)
@pytest.mark.parametrize("dims", [(32767,) * 3, (0, 0, 0), (-8, 9, 7)])
def test_dimensions_that_lie(nsd, name, dims):
    change_header(nsd / name, 42, "<3h", *dims)
    said = loading(nsd, "nifti")
    assert str(nsd / name) in said
    assert "expected (8, 9, 7)" in said or "are (8, 9, 7)" in said or "damaged" in said


@pytest.mark.parametrize(
    "name",
    [f"{BETAS}/betas_session01.nii.gz", f"{ROIS}/nsdgeneral.nii.gz", f"{BETAS}/ncsnr.nii.gz"],
)
@pytest.mark.parametrize("offset", [0.0, 3e9, -5.0, float("nan"), float("inf")])
def test_an_offset_that_lies(nsd, name, offset):
    change_header(nsd / name, 108, "<f", offset)
    said = loading(nsd, "nifti")
    assert str(nsd / name) in said
    assert "vox_offset" in said or "damaged" in said
    if name.startswith(ROIS) or "session" in name:
        assert any(str(nsd / name) in each for each in check_data(nsd).contradictions)


@pytest.mark.parametrize("code", [(32, 64), (128, 24), (1536, 128)])
@pytest.mark.parametrize("name", [f"{ROIS}/nsdgeneral.nii.gz", f"{BETAS}/ncsnr.nii.gz"])
def test_volumes_of_numbers_that_are_none(nsd, name, code):
    change_header(nsd / name, 70, "<2h", *code)
    assert str(nsd / name) in loading(nsd)


def test_labels_too_large_to_be_labels(nsd):
    path = nsd / ROIS / "nsdgeneral.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    code, first = struct.unpack_from("<h", content, 70)[0], 352
    form = {16: "<f", 64: "<d"}[code]
    struct.pack_into(form, content, first, 70_000.0)
    path.write_bytes(gzip.compress(bytes(content)))
    said = loading(nsd)
    assert "70000" in said
    assert str(path) in said


def test_a_place_in_space_that_is_no_number(nsd):
    for place in (280, 296, 312):  # srow_x, srow_y, srow_z
        change_header(nsd / ROIS / "nsdgeneral.nii.gz", place, "<4f", *[float("nan")] * 4)
    assert "lie apart" in loading(nsd, "nifti")


@pytest.mark.parametrize("split", ["members", "blocks"])
def test_gzip_of_several_members_is_read_and_no_damage(nsd, split):
    path = nsd / BETAS / "betas_session01.nii.gz"
    content = gzip.decompress(path.read_bytes())
    parts = [content[start : start + 20_000] for start in range(0, len(content), 20_000)]
    ending = BLOCK_END if split == "blocks" else b""
    path.write_bytes(b"".join(map(gzip.compress, parts)) + ending)
    assert check_data(nsd).contradictions == ()
    for session in (1, 2):
        (nsd / BETAS / f"betas_session0{session}.hdf5").unlink()
    loaded, expected = (load_trials(root, 1, Selection()) for root in (nsd, ROOT))
    np.testing.assert_array_equal(loaded.train.betas, expected.train.betas)


# The empty block that bgzip ends a file with (SAM specification, section 4.1.2).
BLOCK_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def test_gzip_of_several_members_that_is_cut_is_damage(nsd):
    path = nsd / BETAS / "betas_session01.nii.gz"
    content = gzip.decompress(path.read_bytes())
    parts = [content[start : start + 20_000] for start in range(0, len(content), 20_000)]
    path.write_bytes(b"".join(map(gzip.compress, parts[:-2])))
    assert f"{path} is truncated" in loading(nsd, "nifti")
    assert any(f"{path} seems truncated" in each for each in check_data(nsd).contradictions)


def rewrite_csv(path, column, row, cell, delimiter=","):
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter=delimiter))
    rows[row + 1][rows[0].index(column)] = cell
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


NO_NUMBERS = ["inf", "nan", "1" * 23, "1.5", "1e300", "-inf"]


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_ids_that_are_no_whole_numbers(nsd, cell):
    rewrite_csv(nsd / RESPONSES, "73KID", 4, cell, "\t")
    said = loading(nsd)
    assert f"column 73KID, data row 5: {cell!r}" in said
    assert said in check_data(nsd).contradictions


@pytest.mark.parametrize("column", ["cocoId", "nsdId"])
@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_coco_ids_that_are_no_whole_numbers(nsd, column, cell):
    rewrite_csv(nsd / TABLE, column, 0, cell)
    said = refusal(load_captions, nsd, [0])
    assert f"column {column}, data row 1: {cell!r}" in said
    assert said in check_data(nsd).contradictions


def rewrite_design(root, **fields):
    kept = {k: v for k, v in scipy.io.loadmat(root / DESIGN).items() if not k.startswith("__")}
    scipy.io.savemat(root / DESIGN, {**kept, **fields})


def design_of(root):
    return scipy.io.loadmat(root / DESIGN)


@pytest.mark.parametrize("value", [1.5, np.nan, np.inf, 1e300])
@pytest.mark.parametrize("key", ["masterordering", "subjectim", "sharedix"])
def test_a_design_of_fractions(nsd, key, value):
    numbers = design_of(nsd)[key].astype(np.float64)
    numbers.flat[3] = value
    rewrite_design(nsd, **{key: numbers})
    said = loading(nsd)
    assert f"{key} holds {value}" in said
    assert "whole numbers" in said
    assert said in check_data(nsd).contradictions


@pytest.mark.parametrize(
    "numbers", ["text", {"a": 1}, np.array([[1j]]), np.array([["a", 2]], dtype=object)]
)
def test_a_design_of_other_things(nsd, numbers):
    rewrite_design(nsd, masterordering=numbers)
    assert "masterordering" in loading(nsd)


def test_an_image_in_training_and_test_at_once_is_refused(nsd):
    design = design_of(nsd)
    order, images = design["masterordering"].ravel(), design["subjectim"].copy()
    images[0, int(order.max()) - 1] = images[0, 0]
    rewrite_design(nsd, subjectim=images)
    (nsd / RESPONSES).unlink()
    said = loading(nsd)
    assert f"image {int(images[0, 0]) - 1} (0-based)" in said
    assert "training and test" in said


@pytest.mark.parametrize("standardise", ["session", "train", "none"])
def test_no_test_image_at_all_is_said_before_anything_is_read(nsd, standardise):
    order = design_of(nsd)["masterordering"].ravel()
    rewrite_design(nsd, masterordering=np.where(order <= 12, 13, order))
    (nsd / RESPONSES).unlink()
    said = loading(nsd, standardise=standardise)
    assert "none of the images in these sessions (40) is a test image" in said
    assert "selection.split" in said


@pytest.mark.parametrize("standardise", ["train", "none"])
def test_no_training_image_at_all_is_said(nsd, standardise):
    order = design_of(nsd)["masterordering"].ravel()
    rewrite_design(nsd, masterordering=np.where(order > 12, 1, order))
    (nsd / RESPONSES).unlink()
    assert "is a training image" in loading(nsd, standardise=standardise)


def test_a_table_of_responses_with_its_header_alone(nsd):
    path = nsd / RESPONSES
    path.write_text(path.read_text().splitlines()[0] + "\n")
    said = loading(nsd)
    assert f"{path} has a header, but no trials" in said
    assert said in check_data(nsd).contradictions


def copy_session(root, suffix):
    first, second = (root / BETAS / f"betas_session0{n}{suffix}" for n in (1, 2))
    shutil.copy(first, second)
    os.utime(first, (1e9, 1e9))
    os.utime(second, (1e9, 1e9))


@pytest.mark.parametrize(("beta_format", "suffix"), [("hdf5", ".hdf5"), ("nifti", ".nii.gz")])
def test_one_session_under_two_names(nsd, beta_format, suffix):
    copy_session(nsd, suffix)
    said = loading(nsd, beta_format)
    assert f"betas_session02{suffix} holds the same betas as betas_session01{suffix}" in said
    (told,) = check_data(nsd).contradictions
    assert f"betas_session02{suffix} is the same as betas_session01{suffix}" in told


def test_sessions_that_begin_alike_are_no_copies(nsd):
    path = nsd / BETAS / "betas_session02.hdf5"
    copy_session(nsd, ".hdf5")
    with h5py.File(path, "r+") as file:
        betas = file["betas"][:]
        betas[40:] = betas[40:][::-1]
        file["betas"][:] = betas
    assert check_data(nsd).contradictions == ()
    load_trials(nsd, 1, Selection(), beta_format="hdf5")


def fill(root, session, change):
    for path in (root / BETAS).glob("betas_session*.nii.gz"):
        path.unlink()
    with h5py.File(root / BETAS / f"betas_session0{session}.hdf5", "r+") as file:
        file["betas"][:] = change(file["betas"][:])


@pytest.mark.parametrize("value", [0, 32767, -32768])
def test_a_session_without_any_signal(nsd, value):
    fill(nsd, 2, lambda betas: np.full_like(betas, value))
    said = loading(nsd)
    assert f"betas_session02.hdf5 holds {value} in all 78 trials of all 147 voxels" in said


def test_betas_that_were_cut_off_at_the_largest_number_give_a_warning(nsd):
    fill(nsd, 2, lambda betas: np.clip(betas.astype(int) * 100, -32768, 32767))
    trials = load_trials(nsd, 1, Selection())
    (told,) = [each for each in trials.warnings if "largest number" in each]
    x, y, z = trials.voxel_xyz.T
    with h5py.File(nsd / BETAS / "betas_session02.hdf5") as file:
        betas = file["betas"][:][:, z, y, x]
    extreme = (betas == 32767) | (betas == -32768)
    assert f"{extreme.any(axis=0).sum()} voxels" in told
    assert f"{extreme.sum()} values" in told
    assert not any("largest number" in each for each in load_trials(ROOT, 1, Selection()).warnings)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("shared = 0", "shared is 0"),
        ("stimuli = -3", "stimuli is -3"),
        ("trials_per_session = true", "trials_per_session is True"),
        ("voxel_size = nan", "voxel_size is nan"),
        ("subjects = {}", "subjects"),
        ("[subjects.0]\nvolume = [8, 9, 7]\nsessions = 2", "subject 0"),
        ("[subjects.1]\nvolume = [32767, 32767, 32767]\nsessions = 2", "volume"),
        ("[subjects.1]\nvolume = [8, -9, 7]\nsessions = 2", "volume"),
        ("[subjects.1]\nvolume = [8, 9, 7]\nsessions = 1000000000", "sessions is 1000000000"),
        ("subjects = 3", "subjects"),
    ],
)
def test_a_layout_of_absurd_sizes(tmp_path, entry, says):
    (tmp_path / "brainkit-layout.toml").write_text(entry)
    said = refusal(read_layout, tmp_path)
    assert says in said
    assert "brainkit-layout.toml" in said


def test_a_curated_array_that_is_an_archive(nsd):
    path = nsd / ANNOTATIONS / CURATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("captions.npy", b"")
    assert f"{path} is an archive" in refusal(load_captions, nsd, [0])


def test_a_curated_array_of_what_is_no_text(nsd):
    path = nsd / ANNOTATIONS / CURATED
    cells = np.full((60, 5), "words")
    cells.view(np.uint32)[0] = 0x7FFFFFFF
    np.save(path, cells)
    assert "what is no character" in refusal(load_captions, nsd, [0])
