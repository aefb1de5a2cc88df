"""What is wrong with data of one's own is one sentence, and nothing is written."""

import h5py
import numpy as np
import pytest
from PIL import Image

from brainkit.errors import BrainkitError
from brainkit.nsd import Recording, add_subject, check_data, read_layout, write_dataset

NAMES = [f"p{letter}" for letter in "abcdefgh"]
BETAS = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
MASK = np.zeros((2, 3, 2), bool)
MASK[0] = True


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for place, name in enumerate(NAMES):
        Image.new("RGB", (16, 16), (place * 20, 0, 0)).save(folder / f"{name}.png")
    return folder


def changed(row, value):
    betas = BETAS.copy()
    betas[row] = value
    return betas


RECORDINGS = {
    "counts": ({"images": [NAMES[:7]]}, "there are betas of 8 trials, but 7 pictures are named"),
    "sessions": ({"sessions": [BETAS, BETAS]}, "2 sessions of betas and 1 of trials"),
    "none": ({"sessions": [], "images": []}, "0 sessions of betas"),
    "NaN": ({"sessions": [changed((3, 2), np.nan)]}, "NaN or infinity in 1 of 6 voxels (1 value"),
    "infinity": ({"sessions": [changed(3, np.inf)]}, "NaN or infinity in 6 of 6 voxels"),
    "no signal": ({"sessions": [np.zeros((8, 6))]}, "the same numbers in all 8 trials"),
    "axes": ({"sessions": [np.zeros((8, 2, 3))]}, "betas have the shape (8, 2, 3), expected (tri"),
    "other voxels": (
        {"sessions": [BETAS, BETAS[:, :5]], "images": [NAMES, NAMES]},
        "the shape (8, 5), those of session 1 (8, 6)",
    ),
    "mask": ({"mask": ~MASK[:1]}, "the mask is (1, 3, 2) with 0 voxels above 0, expected"),
    "region": ({"regions": {"V1": np.zeros(5)}}, "region V1 has the shape (5,), expected"),
    "labels": ({"regions": {"V1": np.full(6, 0.5)}}, "region V1 holds values that are no labels"),
    "region name": ({"regions": {"lh.V1": np.zeros(6)}}, "a region is called 'lh.V1', expected"),
    "all voxels": ({"regions": {"nsdgeneral": np.zeros(6)}}, "stands for all voxels"),
    "label name": (
        {"regions": {"V1": np.ones(6)}, "labels": {"V1": {1: "the first"}}},
        "a label of region V1 is called 'the first', expected a name without spaces",
    ),
    "subject": ({"subject": "../x"}, "the name of a subject is '../x', expected a letter"),
    "subject number": (
        {"subject": 9},
        "the subject is 9, expected a number from 1 to 8 or a name",
    ),
    "subject like a number": (
        {"subject": "subj01"},
        "'subj01', which stands for a number; give 1",
    ),
    "unknown picture": (
        {"images": [[*NAMES[:7], "pz"]]},
        "saw pictures that are not there: pz; expected names of the 8 pictures, such as pa, pb, pc",
    ),
    "id out of range": ({"images": [[*range(7), 8]]}, "not there: 8; expected names of the 8"),
    "negative id": ({"images": [[*range(7), -1]]}, "not there: -1; expected names"),
    "no test image seen": (
        {"images": [["pa"] * 8]},
        "subject s saw no test image among 1; choose other test images",
    ),
    "only test images seen": ({"images": [["pb"] * 8]}, "saw no training image among 1"),
}


@pytest.mark.parametrize(("change", "sentence"), RECORDINGS.values(), ids=RECORDINGS)
def test_a_recording_that_contradicts_itself(change, sentence, pictures, tmp_path):
    values = {"subject": "s", "sessions": [BETAS], "images": [NAMES], **change}
    with pytest.raises(BrainkitError) as raised:
        write_dataset(tmp_path / "own", [Recording(**values)], pictures, test=["pb"])
    assert sentence in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


DATASETS = {
    "share of nothing": ({"test": 0.01}, "0.01 of 8 pictures leaves no test image"),
    "share of all": ({"test": 0.99}, "leaves no training image"),
    "share": ({"test": 1.5}, "the share of test images is 1.5, expected more than 0, less than 1"),
    "test names": ({"test": ["pa", "pz"]}, "test images pz are not among the 8 pictures"),
    "caption lacking": (
        {"captions": {name: ["x"] for name in NAMES[:6]}},
        "2 pictures have no caption: pg, ph; caption all of them, or leave captions out",
    ),
    "pixels": ({"pixels": 2}, "pixels is 2, expected 8 to 4096"),
    "no name": ({"name": " "}, "a dataset needs a name"),
}


@pytest.mark.parametrize(("change", "sentence"), DATASETS.values(), ids=DATASETS)
def test_a_dataset_that_cannot_be(change, sentence, pictures, tmp_path):
    values = {"test": 0.25, **change}
    with pytest.raises(BrainkitError) as raised:
        write_dataset(tmp_path / "own", [Recording("s", [BETAS], [NAMES])], pictures, **values)
    assert sentence in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_subjects_and_pictures_have_names_of_their_own(pictures, tmp_path):
    twice = [Recording("s", [BETAS], [NAMES])] * 2
    with pytest.raises(BrainkitError, match="there are two subjects s; give each a name"):
        write_dataset(tmp_path / "own", twice, pictures, test=0.25)
    root = write_dataset(tmp_path / "own", twice[:1], pictures, test=0.25)
    with pytest.raises(BrainkitError, match="there are two subjects s"):
        add_subject(root, twice[0])
    assert check_data(root).contradictions == ()
    (pictures / "pa.jpg").write_bytes((pictures / "pa.png").read_bytes())
    with pytest.raises(BrainkitError, match="are both called 'pa'; give each picture a name"):
        write_dataset(tmp_path / "two", twice[:1], pictures, test=0.25)


def test_a_picture_that_is_none_is_named(pictures, tmp_path):
    (pictures / "pc.png").write_bytes(b"no picture")
    with pytest.raises(BrainkitError, match=r"pc\.png is truncated or damaged"):
        write_dataset(tmp_path / "own", [Recording("s", [BETAS], [NAMES])], pictures, test=0.25)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.fixture
def lab(cli, pictures):
    """Files that can be imported, in the folder where the command is called."""
    np.save(cli.folder / "betas.npy", BETAS)
    np.save(cli.folder / "pickled.npy", {"betasmd": BETAS}, allow_pickle=True)
    np.savez(cli.folder / "several.npz", BETAS)
    (cli.folder / "order.txt").write_text("\n".join(NAMES))
    (cli.folder / "short.txt").write_text("\n".join(NAMES[:5]))
    (cli.folder / "empty.txt").write_text("\n")
    (cli.folder / "strange.tsv").write_text("onset\tkind\n0\tpa\n")
    (cli.folder / "ragged.tsv").write_text("onset\timage\n0\tpa\n1\n")
    (cli.folder / "captions.csv").write_text("image,caption\npa,one\n")
    with h5py.File(cli.folder / "two.h5", "w") as file:
        file["first"], file["second"] = BETAS, BETAS
    return cli


GIVEN = {"--betas": "betas.npy", "--trials": "order.txt", "--stimuli": "pictures", "--test": "0.25"}
FILES = {
    "missing": ({"--betas": "none.npy"}, "none.npy is missing"),
    "ending": ({"--betas": "several.npz"}, "several.npz ends in none of .nii, .nii.gz, .npy"),
    "pickle": ({"--betas": "pickled.npy"}, "pickled.npy holds pickled objects, which could run"),
    "dataset": ({"--betas": "two.h5"}, "two.h5 holds first, second; say which to read, as two.h5:"),
    "no dataset": (
        {"--betas": "two.h5:third"},
        "has no dataset 'third' (it has 'first', 'second')",
    ),
    "axes": (
        {"--axes": "xyzt"},
        "betas.npy has the shape (8, 6), but the axes are xyzt; give --axes",
    ),
    "turned": ({"--axes": "vt"}, "there are betas of 6 trials, but 8 pictures are named"),
    "counts": ({"--trials": "short.txt"}, "betas of 8 trials, but 5 pictures are named"),
    "no trials": ({"--trials": "empty.txt"}, "empty.txt names no picture"),
    "column": (
        {"--trials": "strange.tsv"},
        "strange.tsv has no column of pictures (it has: onset,",
    ),
    "named column": (
        {"--trials": "strange.tsv", "--image-column": "kid"},
        "has no column 'kid' (it has: onset, kind)",
    ),
    "ragged": ({"--trials": "ragged.tsv"}, "ragged.tsv, line 3: 1 cells, expected 2"),
    "pattern": ({"--betas": "*.nii"}, "*.nii holds no file that ends in"),
    "stimuli": (
        {"--stimuli": "nowhere"},
        "there is no nowhere; give --stimuli a folder of pictures",
    ),
    "captions": ({"--captions": "captions.csv"}, "7 pictures have no caption: pb, pc, pd, pe, pf"),
    "test": ({"--test": "none.txt"}, "none.txt is missing"),
    "roi": ({"--roi": "V1"}, "--roi is 'V1', expected NAME=FILE"),
    "mask": (
        {"--mask": "betas.npy"},
        "betas.npy has the shape (8, 6), expected a volume (X, Y, Z)",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), FILES.values(), ids=FILES)
def test_files_that_cannot_be_imported(change, sentence, lab):
    words = [word for pair in {**GIVEN, **change}.items() for word in pair]
    ended = lab("import-data", "own", "--subject", "s", *words, code=None)
    assert ended.code in (1, 2)
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (lab.folder / "own").exists()


def test_what_a_second_subject_may_not_bring(lab):
    words = [word for pair in GIVEN.items() for word in pair]
    lab("import-data", "own", "--subject", "s", *words)
    ended = lab("import-data", "own", "--subject", "t", *words, code=2)
    assert "has pictures and captions already; leave out --stimuli" in ended.stderr
    few = ("--betas", "betas.npy", "--trials", "order.txt")
    assert "give --stimuli" in lab("import-data", "new", "--subject", "t", *few, code=2).stderr
    lab("import-data", "own", "--subject", "t", *few)
    assert read_layout(lab.folder / "own").known == ["s", "t"]


def test_a_layout_with_names_but_no_dataset_is_refused(lab):
    words = [word for pair in GIVEN.items() for word in pair]
    lab("import-data", "own", "--subject", "s", *words)
    path = lab.folder / "own/brainkit-layout.toml"
    text = path.read_text()
    path.write_text(text.replace('dataset = "own"\n', ""))
    assert (
        "'s' has a name, but there is no entry dataset" in lab("check-data", "own", code=1).stderr
    )
    path.write_text(text.replace("trials = [8]", "trials = [9]"))
    told = lab("check-data", "own", code=1).stdout
    assert "trials.tsv has 8 trials, expected sessions of 9 trials" in told
