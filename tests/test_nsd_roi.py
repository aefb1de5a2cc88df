import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from safetensors.numpy import load_file

from brainkit.errors import BrainkitWarning, DataError, UsageError
from brainkit.nsd import roi_indices
from brainkit.nsd.roi import label_names, load_roi_volume, roi_voxels

GOLDEN = Path(__file__).parent / "golden/nsd"
ROOT = GOLDEN / "fake_nsd"
FACTS = json.loads((GOLDEN / "expected.json").read_text())
XYZ = load_file(GOLDEN / "expected.safetensors")["voxel_xyz"].reshape(3, -1).T
ROIS = "nsddata/ppdata/subj01/func1pt8mm/roi"
LABELS = "nsddata/freesurfer/subj01/label"


@pytest.fixture
def nsd(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "nsd")


@pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")
@pytest.mark.parametrize("volume", FACTS["roi_indices"])
def test_regions_are_the_golden_ones(volume):
    regions = roi_indices(ROOT, 1, volume, XYZ)
    expected = FACTS["roi_indices"][volume]
    assert list(regions) == list(expected)
    for name, region in regions.items():
        assert region.label == expected[name]["label"]
        assert region.positions.tolist() == expected[name]["indices_into_nsdgeneral"]
        assert region.n_in_volume == expected[name]["n_voxels_in_volume"]


def test_a_label_without_voxels_warns_and_is_empty():
    with pytest.warns(BrainkitWarning, match="'mTL-faces' of floc-faces has no voxels"):
        regions = roi_indices(ROOT, 1, "floc-faces", XYZ)
    assert regions["mTL-faces"].positions.size == 0


def test_positions_follow_the_order_of_the_loaded_voxels():
    shuffled = np.random.default_rng(0).permutation(XYZ)
    volume = nibabel.load(ROOT / ROIS / "floc-faces.nii.gz").get_fdata()
    region = roi_indices(ROOT, 1, "floc-faces:FFA-1", shuffled)["FFA-1"]
    expected = [place for place, (x, y, z) in enumerate(shuffled) if volume[x, y, z] == 2]
    assert region.positions.tolist() == expected


@pytest.mark.parametrize(
    ("roi", "volume", "labels"),
    [
        ("prf-visualrois", "prf-visualrois", range(1, 8)),
        ("prf-visualrois:V1", "prf-visualrois", (1, 2)),
        ("V1", "prf-visualrois", (1, 2)),
        ("V1,V2", "prf-visualrois", (1, 2, 3, 4)),
        ("hV4", "prf-visualrois", (7,)),
        ("floc-places:RSC", "floc-places", (3,)),
    ],
)
def test_a_roi_is_the_voxels_with_its_labels(roi, volume, labels):
    values = nibabel.load(ROOT / ROIS / f"{volume}.nii.gz").get_fdata()
    voxels = roi_voxels(ROOT, 1, roi)
    np.testing.assert_array_equal(voxels.xyz, np.argwhere(np.isin(values, list(labels))))


def test_a_union_spans_volumes():
    faces = nibabel.load(ROOT / ROIS / "floc-faces.nii.gz").get_fdata()
    words = nibabel.load(ROOT / ROIS / "floc-words.nii.gz").get_fdata()
    voxels = roi_voxels(ROOT, 1, "floc-faces,floc-words")
    np.testing.assert_array_equal(voxels.xyz, np.argwhere((faces > 0) | (words > 0)))


def test_an_empty_part_of_a_union_is_noted_and_alone_is_an_error():
    union = roi_voxels(ROOT, 1, "OFA,mTL-faces")
    assert len(union.xyz) == FACTS["roi_indices"]["floc-faces"]["OFA"]["n_voxels_in_volume"]
    assert "mTL-faces" in union.notes[0]
    with pytest.raises(DataError, match="'mTL-faces' has no voxels"):
        roi_voxels(ROOT, 1, "mTL-faces")


def test_hemispheres_split_the_whole():
    left, right, both = (
        roi_voxels(ROOT, 1, f"{side}floc-faces").xyz for side in ("lh.", "rh.", "")
    )
    rows = [tuple(row) for part in (left, right) for row in part.tolist()]
    assert sorted(rows) == [tuple(row) for row in both.tolist()]
    assert load_roi_volume(ROOT, 1, "lh.floc-faces").names[2] == "FFA-1"


def test_label_names_come_from_subject_then_fsaverage_then_the_built_in_table(nsd):
    own = nsd / LABELS / "floc-faces.mgz.ctab"
    shared = nsd / "nsddata/freesurfer/fsaverage/label/floc-faces.mgz.ctab"
    shared.parent.mkdir(parents=True)
    shared.write_text("0 Unknown\n1 average\n")
    own.write_text("0 Unknown\n1 own-name\n2 two+\n")
    assert label_names(nsd, 1, "floc-faces") == {1: "own-name", 2: "two+"}
    own.unlink()
    assert label_names(nsd, 1, "floc-faces") == {1: "average"}
    shared.unlink()
    assert label_names(nsd, 1, "floc-faces")[5] == "aTL-faces"


def test_the_built_in_names_are_those_of_the_colour_tables():
    from brainkit.nsd.atlases import built_in_names

    for volume in FACTS["roi_indices"]:
        assert built_in_names(volume) == label_names(ROOT, 1, volume)
    assert len(built_in_names("Kastner2015")) == 25


def test_values_between_labels_are_refused(nsd):
    path = nsd / ROIS / "floc-faces.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata() * 0.7, image.affine), path)
    with pytest.raises(DataError, match="no whole numbers"):
        roi_voxels(nsd, 1, "floc-faces")


def test_a_known_volume_that_is_absent_is_missing_and_an_unknown_one_a_typo():
    with pytest.raises(DataError, match=r"Kastner2015\.nii\.gz is missing; download it"):
        roi_voxels(ROOT, 1, "Kastner2015")
    with pytest.raises(UsageError, match=r"no ROI volume 'floc-face'.*Did you mean 'floc-faces'"):
        roi_voxels(ROOT, 1, "floc-face")
