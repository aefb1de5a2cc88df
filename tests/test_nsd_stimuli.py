import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainkit.errors import DataError
from brainkit.nsd import load_captions, load_stimuli
from brainkit.nsd.files import CURATED
from brainkit.nsd.tables import load_stimulus_table

GOLDEN = Path(__file__).parent / "golden/nsd"
ROOT = GOLDEN / "fake_nsd"
FACTS = json.loads((GOLDEN / "expected.json").read_text())
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
ANNOTATIONS = "nsddata_stimuli/stimuli/nsd/annotations"
EVERY = range(FACTS["n_stimuli"])


@pytest.fixture
def nsd(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "nsd")


def test_pictures_are_the_golden_ones():
    ids = [int(each) for each in FACTS["stimulus_sha256"]]
    for image, expected in zip(
        load_stimuli(ROOT, ids), FACTS["stimulus_sha256"].values(), strict=True
    ):
        assert hashlib.sha256(image.tobytes()).hexdigest() == expected


def test_pictures_come_in_the_order_asked_with_duplicates():
    ids = [7, 3, 59, 3, 0, 7]
    with h5py.File(ROOT / PICTURES) as file:
        whole = file["imgBrick"][:]
    pictures = load_stimuli(ROOT, np.array(ids, dtype=np.int32))
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, whole[ids])


def test_no_ids_give_no_pictures_and_no_captions():
    assert load_stimuli(ROOT, []).shape == (0, FACTS["image_px"], FACTS["image_px"], 3)
    assert load_captions(ROOT, []) == ()


@pytest.mark.parametrize("image_id", [60, -1])
def test_an_id_beyond_the_pictures_is_refused(image_id):
    for read in (load_stimuli, load_captions):
        with pytest.raises(DataError, match=f"60 rows, but image id {image_id}"):
            read(ROOT, [0, image_id])


def test_stimulus_table_has_the_golden_coco_ids_and_splits():
    table = load_stimulus_table(ROOT)
    assert table.coco_ids.tolist() == list(FACTS["coco_id"].values())
    assert list(table.splits) == list(FACTS["coco_split"].values())


def test_captions_are_the_golden_ones():
    captions = load_captions(ROOT, EVERY)
    assert [list(each) for each in captions] == list(FACTS["captions"].values())


def test_captions_come_in_the_order_asked_with_duplicates():
    captions = load_captions(ROOT, [5, 2, 5])
    expected = [tuple(FACTS["captions"][str(each)]) for each in (5, 2, 5)]
    assert list(captions) == expected


def test_captions_fall_back_to_the_other_split(nsd):
    folder = nsd / ANNOTATIONS
    train, val = (
        json.loads((folder / f"captions_{name}2017.json").read_text()) for name in ("train", "val")
    )
    for key in ("images", "annotations"):
        train[key] += val[key]
    (folder / "captions_train2017.json").write_text(json.dumps(train))
    (folder / "captions_val2017.json").unlink()
    captions = load_captions(nsd, EVERY)
    assert [list(each) for each in captions] == list(FACTS["captions"].values())


def test_captions_of_2014_serve_when_those_of_2017_are_absent(nsd):
    for name in ("train", "val"):
        path = nsd / ANNOTATIONS / f"captions_{name}2017.json"
        path.rename(path.with_name(f"captions_{name}2014.json"))
    assert [list(each) for each in load_captions(nsd, EVERY)] == list(FACTS["captions"].values())


def test_without_any_caption_file_the_first_is_named_missing(nsd):
    for path in (nsd / ANNOTATIONS).glob("captions_*"):
        path.unlink()
    with pytest.raises(DataError, match=r"captions_train2017\.json is missing; download it"):
        load_captions(nsd, [0])


def curated(n_images=60):
    cells = np.full((n_images, 5), "", dtype="<U40")
    for image in range(n_images):
        for place in range(1 + image % 5):
            cells[image, place] = f"  picture {image} in\nwords {place} "
    return cells


def test_the_curated_array_wins_when_it_is_there(nsd):
    np.save(nsd / ANNOTATIONS / CURATED, curated())
    assert load_captions(nsd, [6]) == (("picture 6 in words 0", "picture 6 in words 1"),)
    assert load_captions(nsd, [6], curated=False) == (tuple(FACTS["captions"]["6"]),)


def test_the_curated_array_can_be_demanded():
    with pytest.raises(DataError, match=f"has no {CURATED}"):
        load_captions(ROOT, [0], curated=True)


def test_a_curated_array_of_objects_is_never_unpickled(nsd):
    np.save(nsd / CURATED, curated().astype(object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled objects, which could run code"):
        load_captions(nsd, [0])


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (np.full((60, 5), ""), "no caption of image id 0"),
        (np.zeros((60, 5)), "float64 .60, 5., expected unicode"),
        (curated()[:40], "40 rows, but image id 59"),
    ],
)
def test_a_wrong_curated_array_says_what_is_wrong(nsd, cells, says):
    np.save(nsd / CURATED, cells)
    with pytest.raises(DataError, match=says):
        load_captions(nsd, [0, 59])


def test_rows_of_the_stimulus_table_out_of_order_are_refused(nsd):
    path = nsd / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    header, first, second, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, second, first, *rest]) + "\n")
    with pytest.raises(DataError, match="row 0: nsdId is 1, expected the 0-based row"):
        load_captions(nsd, [0])


def test_an_array_that_is_no_picture_array_says_what_it_is(nsd):
    with h5py.File(nsd / PICTURES, "w") as file:
        file["imgBrick"] = np.zeros((60, 3, 8, 8), dtype=np.uint8)
    with pytest.raises(DataError, match=r"uint8 \(60, 3, 8, 8\), expected uint8 \(images, height"):
        load_stimuli(nsd, [0])
