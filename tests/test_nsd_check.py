import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainkit.errors import DataError, UsageError
from brainkit.nsd import Layout, SubjectLayout, check_data, read_layout, write_layout
from brainkit.nsd.layout import LAYOUT_FILE

ROOT = Path(__file__).parent / "golden/nsd/fake_nsd"
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
ROIS = "nsddata/ppdata/subj01/func1pt8mm/roi"
STIMULI = "nsddata_stimuli/stimuli/nsd"


@pytest.fixture
def nsd(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "nsd")


def test_a_whole_download_has_no_contradictions():
    report = check_data(ROOT)
    assert report.contradictions == ()
    assert any("sessions 1-2 as .hdf5, 12 test images" in each for each in report.present)
    assert any("nsdgeneral (147)" in each for each in report.present)
    assert any("betas_assumehrf: sessions 1-2" in each for each in report.lacking)
    assert any("Kastner2015" in each for each in report.lacking)


def test_what_is_gone_is_lacking(nsd):
    for path in (f"{BETAS}/betas_session02.hdf5", f"{BETAS}/betas_session02.nii.gz"):
        (nsd / path).unlink()
    (nsd / BETAS / "ncsnr.nii.gz").unlink()
    (nsd / STIMULI / "nsd_stimuli.hdf5").unlink()
    report = check_data(nsd, 1)
    assert report.contradictions == ()
    for part in ("GLMdenoise_RR: sessions 2", "ncsnr.nii.gz", "nsd_stimuli.hdf5"):
        assert any(part in each for each in report.lacking)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def point(path):
    path.write_text("/annex/objects/MD5E-s9--0")


def leave_part(path):
    path.rename(path.with_name(path.name + ".6eF3a1B2"))
    path.with_suffix("").with_suffix(".hdf5").unlink()


def keep_40_pictures(path):
    with h5py.File(path, "w") as file:
        file["imgBrick"] = np.zeros((40, 32, 32, 3), dtype=np.uint8)


def swap_presentations(path):
    header, *rows = path.read_text().splitlines()
    place = header.split(",").index("subject1_rep0")
    cells = [row.rsplit(",", 24) for row in rows]
    offset = place - len(header.split(",")) + 25
    shown = [each for each in cells if each[offset] != "0"]
    shown[0][offset], shown[1][offset] = shown[1][offset], shown[0][offset]
    path.write_text("\n".join([header, *(",".join(each) for each in cells)]) + "\n")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (f"{BETAS}/betas_session01.nii.gz", cut, "seems truncated"),
        (f"{BETAS}/betas_session01.hdf5", cut, "truncated or damaged"),
        (f"{BETAS}/betas_session02.hdf5", point, "git-annex pointer"),
        (f"{BETAS}/betas_session02.nii.gz", leave_part, "partial downloads of sessions 2"),
        (f"{ROIS}/floc-faces.nii.gz", cut, "floc-faces.nii.gz is truncated or damaged"),
        (f"{STIMULI}/nsd_stimuli.hdf5", keep_40_pictures, "40 pictures, expected 60"),
        (f"{STIMULI}/annotations/captions_train2017.json", cut, "is truncated or no JSON"),
        ("nsddata/experiments/nsd/nsd_expdesign.mat", cut, "nsd_expdesign.mat is truncated"),
        (
            "nsddata/experiments/nsd/nsd_stim_info_merged.csv",
            swap_presentations,
            "subject1_rep0 says trial",
        ),
    ],
)
def test_what_is_wrong_is_a_contradiction_and_the_rest_is_still_checked(nsd, name, change, says):
    change(nsd / name)
    report = check_data(nsd)
    assert any(says in each for each in report.contradictions)
    assert len(report.contradictions) == 1
    assert any("responses.tsv" in each for each in report.present)


def test_a_report_reads_as_text_and_as_json(nsd):
    cut(nsd / BETAS / "betas_session01.hdf5")
    report = check_data(nsd)
    lines = report.text().splitlines()
    assert lines[0] == str(nsd)
    assert [line for line in lines if line.endswith(":")] == ["has:", "lacks:", "contradictions:"]
    content = report.json()
    assert content["contradictions"] == list(report.contradictions)
    assert set(content) == {"root", "present", "lacking", "contradictions", "warnings"}


def test_another_folder_or_subject_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        check_data(tmp_path / "none")
    with pytest.raises(UsageError, match="no subject 9"):
        check_data(ROOT, 9)


def test_without_a_layout_file_the_constants_are_those_of_the_release(tmp_path):
    layout = read_layout(tmp_path)
    assert layout.subject(1) == SubjectLayout((81, 104, 83), 40)
    assert sum(each.sessions for each in layout.subjects.values()) * 750 == 213_000
    voxels = [int(np.prod(layout.subject(number).volume)) for number in range(1, 9)]
    # nsd-format.md, section 1; subject 6 has 85 x 113 x 83 voxels
    assert voxels[0] == 699_192
    assert voxels[4] == 597_714
    assert voxels[7] == 642_720


def test_a_layout_survives_its_file(tmp_path):
    layout = Layout(
        subjects={1: SubjectLayout((8, 9, 7), 2), 3: SubjectLayout((4, 5, 6), 1)},
        trials_per_session=78,
        shared=12,
        stimuli=60,
        pixels=32,
        resolution="func1mm",
        voxel_size=1.0,
    )
    assert write_layout(tmp_path, layout) == tmp_path / LAYOUT_FILE
    assert read_layout(tmp_path) == layout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("trials = 3", "unknown entry 'trials'"),
        ("shared = 'many'", "shared is 'many', expected int"),
        ("[subjects.1]\nvolume = [1, 2]\nsessions = 1", "not enough values"),
        ("shared = ", "Invalid value"),
    ],
)
def test_a_wrong_layout_file_says_where(tmp_path, text, says):
    (tmp_path / LAYOUT_FILE).write_text(text)
    with pytest.raises(DataError, match=says):
        read_layout(tmp_path)
