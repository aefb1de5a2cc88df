"""What any program made is scored as a run's own outputs are, and whatever does not fit is told."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from brainkit.errors import BrainkitError
from brainkit.evaluate.items import ImageSample, in_order, item_of
from brainkit.evaluate.pictures import as_uint8, read_pictures
from brainkit.evaluate.texts import read_captions, read_ids, read_references

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")
SMALL = ("-o", "miniature.train_images=60", "-o", "miniature.test_images=10")
DRAW = np.random.default_rng(0)
PICTURES = DRAW.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
IDS = [7, 3, 12, 1]


def scores(folder: Path) -> dict[str, dict]:
    """The scores of outputs by key, without what only a run can have."""
    found = json.loads((folder / "metrics.json").read_text())["scores"]
    own = {"true_features", "null", "floor", "noise_ceiling", "controls", "notes"}
    return {
        each["key"]: {name: value for name, value in each.items() if name not in own}
        for each in found
        if each["group"] != "features"
    }


def evaluated(brainkit, *words: object) -> Path:
    """Evaluate and return the folder of the report."""
    return (brainkit.folder / brainkit("evaluate", *words).stdout.splitlines()[-1]).parent


def written(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("how", ["run", "parts", "arrays"])
def test_a_runs_own_outputs_get_its_own_numbers(finished, tmp_path, how):
    run = finished("unibrain")
    images, captions = run.folder / "images", run.folder / "captions.jsonl"
    words: list[object] = [run.folder]
    if how == "parts":
        words = [captions, images]
    if how == "arrays":
        words = [tmp_path / "recons.npz", tmp_path / "told.csv"]
        _as_arrays(images, words[0])
        _as_table(captions, words[1])
    folder = evaluated(run.brainkit, *words, *SMALL, "--images", "given", "--work", tmp_path)
    ours, theirs = scores(folder), scores(run.folder)
    assert ours == theirs
    assert len(ours) > 12
    assert any(each["interval"] and each["exchange"] for each in ours.values())
    mine, runs = written(folder, "metrics.json"), written(run.folder, "metrics.json")
    assert mine["test_set"] == runs["test_set"]
    assert [each["image_id"] for each in mine["images"]] == [
        each["image_id"] for each in runs["images"]
    ]
    assert mine["data"] == "miniature"


def _as_arrays(images: Path, path: Path) -> None:
    """Write a folder's pictures as floats with channels first, last ones first."""
    files = sorted(images.glob("*.png"), reverse=True)
    rows = np.stack([np.asarray(Image.open(file)) for file in files])
    ids = [int(file.stem[3:]) for file in files]
    floats = np.moveaxis(rows, 3, 1).astype(np.float32) / 255
    np.savez(path, floats=floats, image_ids=np.asarray(ids, np.int64), other=np.zeros(3))


def _as_table(captions: Path, path: Path) -> None:
    lines = [json.loads(line) for line in captions.read_text().splitlines()]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(["caption", "file_name"])
        table.writerows([each["caption"], f"recon_{each['image_id']:04d}.png"] for each in lines)


def test_all_samples_are_scored_as_a_run_scores_them(cli, tmp_path):
    tiny = ("-o", "miniature.voxels=40", *SMALL)
    run = cli.run("toy", *tiny, "--samples", 2, "--images", 4, "--use", "sampler=toy-wanderer")
    folder = evaluated(cli, run, *tiny, "--images", 4, "--samples", 2)
    assert scores(folder) == scores(run)
    assert written(folder, "metrics.json")["samples"] == 2
    page = (folder / "report.html").read_text()
    assert "Samples 2 to 2 from brain" in page


def test_it_is_compared_with_a_run(cli):
    tiny = ("-o", "miniature.voxels=40", *SMALL)
    run = cli.run("toy", *tiny, "--images", 6)
    folder = evaluated(cli, run / "images", *tiny, "--images", 6)
    table = cli("compare", f"ours={run}", f"theirs={folder}", "--score", "SSIM").stdout
    (row,) = [line.split() for line in table.splitlines() if line.startswith("SSIM ↑")]
    assert row[-1].strip("*") == row[-2].strip("*")


def test_images_that_are_not_chosen_are_passed_over(cli):
    tiny = ("-o", "miniature.voxels=40", *SMALL)
    run = cli.run("toy", *tiny, "--images", 6)
    ids = [each["image_id"] for each in written(run, "metrics.json")["images"]]
    folder = evaluated(cli, run, *tiny, "--images", f"{ids[4]},{ids[1]}")
    images = written(folder, "metrics.json")["images"]
    assert [each["image_id"] for each in images] == [ids[1], ids[4]]
    assert evaluated(cli, run, *tiny, "--images", 6) != folder
    assert evaluated(cli, run, *tiny, "--images", f"{ids[1]},{ids[4]}") == folder


def test_a_copy_among_the_training_images_is_told(nsd, cli, tmp_path):
    own = shutil.copytree(nsd, tmp_path / "own")
    from brainkit.nsd import load_design

    design = load_design(own, 1)
    train, test = (
        sorted(set(design.image_ids[design.is_shared == side].tolist())) for side in (False, True)
    )
    with h5py.File(own / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "r+") as file:
        file["imgBrick"][test[1]] = file["imgBrick"][train[3]]
        shown = file["imgBrick"][test]
    np.save(tmp_path / "perfect.npy", shown)
    (tmp_path / "ids.txt").write_text("\n".join(map(str, test)))
    words = (tmp_path / "perfect.npy", "--ids", tmp_path / "ids.txt", "--nsd", own)
    found = written(evaluated(cli, *words), "metrics.json")
    assert [(each["kind"], each["ids"]) for each in found["findings"]] == [
        ("duplicates", [test[1]])
    ]
    assert found["scores"][0]["name"] == "pixel correlation"
    assert found["scores"][0]["value"] == pytest.approx(1)
    assert found["n_train"] == len(train)
    strict = cli("evaluate", *words, "--strict", code=1)
    assert "--strict: the report begins with 1 finding" in strict.stderr
    assert strict.stdout.splitlines()[-1].endswith("report.html")
    said = cli("evaluate", *words, "--sessions", 9, code=2).stderr
    assert "--sessions is 9, but the subject did 5" in said


def test_the_test_images_of_clusters_are_read_from_their_file(cli):
    tiny = ("-o", "miniature.voxels=40", *SMALL)
    clusters = ("-o", "selection.split=clusters", "-o", "selection.clusters=12")
    run = cli.run("toy", *tiny, *clusters)
    (path,) = run.parents[1].glob("clusters-*.json")
    folder = evaluated(cli, run, *tiny, "--tests", path)
    assert scores(folder) == scores(run)
    mine, runs = written(folder, "metrics.json"), written(run, "metrics.json")
    assert mine["test_set"] == runs["test_set"]
    assert mine["n_train"] == runs["n_train"]
    assert mine["test_images"] == f"{mine['n_test']} of 70 seen, named in {path.name}"
    said = cli("evaluate", run, *tiny, code=1).stderr
    assert "not among the 10 images that can be scored" in said
    (cli.folder / "tests.txt").write_text("3\n71\n")
    said = cli("evaluate", run, *tiny, "--tests", "tests.txt", code=1).stderr
    assert "tests.txt names 71, which the subject was not shown" in said
    (cli.folder / "tests.json").write_text("[3]")
    said = cli("evaluate", run, *tiny, "--tests", "tests.json", code=1).stderr
    assert "tests.json is no file of clusters" in said


@pytest.mark.parametrize("split", ["shared", "first-seen-85"])
def test_test_images_are_called_as_a_run_calls_them(split, cli):
    tiny = ("-o", "miniature.voxels=40", *SMALL)
    run = cli.run("toy", *tiny, "-o", f"selection.split={split}")
    folder = evaluated(cli, run, *tiny, "--split", split)
    mine, runs = written(folder, "metrics.json"), written(run, "metrics.json")
    for name in ("test_images", "test_set", "n_train", "n_test", "data", "subject"):
        assert mine[name] == runs[name]
    assert mine["options"] == {"selection.split": split}


@pytest.fixture
def own(tmp_path) -> Path:
    """Pictures with names, what a program made of them, and what people wrote."""
    for name in ("shown", "made"):
        (tmp_path / name).mkdir()
        for row, each in enumerate(("ape", "bee", "cat", "dog")):
            picture = PICTURES[row] if name == "shown" else PICTURES[row] // 2
            Image.fromarray(np.kron(picture, np.ones((8, 8, 1), np.uint8))).save(
                tmp_path / name / f"{each}.png"
            )
    rows = [("ape.png", "an ape"), ("bee", "a bee"), ("bee", "one bee"), ("cat", "a cat")]
    lines = [json.dumps({"image": name, "caption": text}) for name, text in [*rows, ("dog", "dog")]]
    (tmp_path / "truth.jsonl").write_text("\n".join(lines))
    table = "id\tcaption\ndog\tdog\ncat\ta cat\nbee\tone bee\nape\tan ape\n"
    (tmp_path / "told.tsv").write_text(table)
    return tmp_path


def test_data_of_ones_own_are_scored_by_name(own, cli):
    folder = evaluated(
        cli, own / "made", own / "told.tsv", "--stimuli", own / "shown", "--captions",
        own / "truth.jsonl",
    )  # fmt: skip
    found = written(folder, "metrics.json")
    values = {each["name"]: each["value"] for each in found["scores"]}
    assert values["pixel correlation"] == pytest.approx(1, abs=1e-3)  # halves are rounded
    assert values["BLEU-1@allref"] == pytest.approx(1)
    assert (found["data"], found["n_test"], found["n_train"]) == ("shown", 4, 0)
    assert found["test_images"] == "all 4 of shown"
    assert any("0 is ape, 1 is bee, 2 is cat, 3 is dog" in each for each in found["footnotes"])
    missing = [each for each in found["scores"] if each["value"] is None]
    assert missing
    assert all("not computed" in each["notes"][0] for each in missing)
    page = (folder / "report.html").read_text()
    assert "made on shown" in page
    assert "0 training images" not in page


def test_a_null_is_what_its_outputs_score_when_every_image_has_them(own, cli):
    draws = [np.kron(each, np.ones((8, 8, 1), np.uint8)) for each in PICTURES[1:3]]
    np.save(own / "draws.npy", np.stack(draws))
    (own / "null").mkdir()
    for row, each in enumerate(draws):
        Image.fromarray(each).save(own / "null" / f"draw-{row}.png")
    truth = ("--stimuli", own / "shown", "--captions", own / "truth.jsonl")

    def of(*words: object) -> dict[str, dict]:
        found = written(evaluated(cli, *words, *truth), "metrics.json")["scores"]
        return {each["key"]: each for each in found if each["value"] is not None}

    alone = []
    for row, each in enumerate(draws):
        np.savez(own / f"same{row}.npz", r=np.stack([each] * 4), ids=["ape", "bee", "cat", "dog"])
        alone.append(of(own / f"same{row}.npz"))
    for null in (own / "draws.npy", own / "null"):
        scored = of(own / "made", "--null", null)
        assert len(scored) > 1
        for key, each in scored.items():
            values = [of_draw[key]["value"] for of_draw in alone]
            assert each["null"]["value"] == pytest.approx(np.mean(values))
            assert each["null"]["sd"] == pytest.approx(np.std(values, ddof=1))
            assert each["null"]["n"] == 2
    assert of(own / "made")["ssim"]["null"] is None
    (own / "generic.jsonl").write_text('{"id": "x", "caption": "a bee"}')
    everywhere = "id,caption\n" + "".join(
        f"{name},a bee\n" for name in ("ape", "bee", "cat", "dog")
    )
    (own / "everywhere.csv").write_text(everywhere)
    scored = of(own / "told.tsv", "--null", own / "generic.jsonl")
    same = of(own / "everywhere.csv")
    assert len(scored) >= 5
    for key, each in scored.items():
        assert each["null"]["value"] == pytest.approx(same[key]["value"]), key
    said = cli("evaluate", own / "made", *truth, "--null", own / "generic.jsonl", code=2).stderr
    assert "generic.jsonl has neither pictures nor captions of the kind scored" in said


FILES = {
    "npy": lambda path: np.save(path, PICTURES),
    "npz": lambda path: np.savez(path, recons=PICTURES, nsd_id=IDS),
    "safetensors": lambda path: save_file({"r": PICTURES, "ids": np.asarray(IDS)}, path),
    "h5": lambda path: _hdf5(path),
}


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["r"], file["ids"] = PICTURES, np.asarray(IDS, np.float64)[:, None]


@pytest.mark.parametrize("kind", FILES)
def test_arrays_are_read_from_each_kind_of_file(kind, tmp_path):
    path = tmp_path / f"made.{kind}"
    FILES[kind](path)
    ids = [str(each) for each in IDS] if kind == "npy" else None
    given = read_pictures(path, numbered=True, ids=ids)
    assert list(given) == [ImageSample(str(each), 1) for each in IDS]
    np.testing.assert_array_equal(np.stack(list(given.values())), PICTURES)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tiff", ".webp"])
def test_a_folder_is_read_by_the_numbers_in_its_names(ending, tmp_path):
    for row, number in enumerate(IDS):
        kind = {"lossless": True} if ending == ".webp" else {}
        Image.fromarray(PICTURES[row]).save(tmp_path / f"recon{number:03d}{ending}", **kind)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._recon003.png").write_text("what macOS leaves")
    given = read_pictures(tmp_path, numbered=True)
    assert {item.image for item in given} == {str(each) for each in IDS}
    for row, number in enumerate(IDS):
        np.testing.assert_array_equal(given[ImageSample(str(number), 1)], PICTURES[row])


def test_floats_and_samples_are_brought_to_one_form():
    floats = PICTURES.astype(np.float64) / 255
    for array in (PICTURES, floats, floats.astype(np.float32), np.moveaxis(floats, 3, 1)):
        np.testing.assert_array_equal(as_uint8(array, "x")[:, 0], PICTURES)
    several = np.stack([PICTURES, 255 - PICTURES], axis=1)
    np.testing.assert_array_equal(as_uint8(several, "x"), several)
    np.testing.assert_array_equal(as_uint8(np.moveaxis(several, 4, 2) / 255, "x"), several)


@pytest.mark.parametrize(
    ("stem", "numbered", "several", "item"),
    [
        ("nsd00012", True, False, ("12", 1)),
        ("nsd00012-3", True, False, ("12", 3)),
        ("sub-01_img_0040", True, False, ("40", 1)),
        ("0040_2", True, True, ("40", 2)),
        ("cat", False, False, ("cat", 1)),
        ("cat-2", False, True, ("cat", 2)),
        ("cat-2", False, False, ("cat-2", 1)),
        ("007", False, False, ("7", 1)),
    ],
)
def test_names_tell_image_and_sample(stem, numbered, several, item):
    assert item_of(stem, numbered=numbered, several=several) == item


def test_captions_and_ids_are_read_alike_from_each_kind_of_file(tmp_path):
    strange = 'one, "two"\u2028three\x85four'
    lines = [{"image_id": 7, "caption": strange}, {"image_id": "0003", "caption": "\ud800", "x": 1}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    told = read_captions(tmp_path / "a.jsonl", numbered=True)
    assert told == {ImageSample("7", 1): strange, ImageSample("3", 1): "\ufffd"}
    (tmp_path / "a.csv").write_text('sample,id,text\n1,7,"one, ""two"""\n2,7,other\n', "utf-8-sig")
    told = read_captions(tmp_path / "a.csv", numbered=True)
    assert told == {ImageSample("7", 1): 'one, "two"', ImageSample("7", 2): "other"}
    (tmp_path / "ids.txt").write_text("\ufeff007\n\ncat.png\n 12 \n")
    assert read_ids(tmp_path / "ids.txt") == ["7", "cat", "12"]
    np.save(tmp_path / "ids.npy", np.asarray(IDS, np.float32))
    assert read_ids(tmp_path / "ids.npy") == ["7", "3", "12", "1"]
    read = read_references(tmp_path / "a.csv", numbered=True)
    assert read == {"7": ('one, "two"', "other")}


# Each makes a file below a folder, and says with which words of the sentence it is refused.
NONSENSE = {
    "a pickle": (lambda path: np.save(path, np.array([{}])), "x.npy", "cannot be read"),
    "no array": (lambda path: path.write_bytes(b"abc"), "x.npy", "cannot be read"),
    "cut HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "x.h5", "cannot be read"),
    "cut safetensors": (lambda path: path.write_bytes(b"\x09" * 20), "x.safetensors", "be read"),
    "grey rows": (lambda path: np.save(path, PICTURES[..., 0]), "x.npy", "0 arrays that may be"),
    "two arrays": (
        lambda path: np.savez(path, a=PICTURES, b=PICTURES),
        "x.npz",
        "2 arrays that may be pictures",
    ),
    "no ids": (lambda path: np.save(path, PICTURES), "x.npy", "whose its pictures are; give"),
    "ids of another count": (
        lambda path: np.savez(path, a=PICTURES, ids=[1, 2]),
        "x.npz",
        "a has 4 images, but there are 2 ids",
    ),
    "an id twice": (
        lambda path: np.savez(path, a=PICTURES, ids=[1, 2, 1, 3]),
        "x.npz",
        "the second one of image 1",
    ),
    "ids that are fractions": (
        lambda path: np.savez(path, a=PICTURES, ids=[0.5, 1, 2, 3]),
        "x.npz",
        r"ids is float64 \(4,\), expected whole numbers",
    ),
    "floats to 255": (
        lambda path: np.savez(path, a=PICTURES * 1.0, ids=IDS),
        "x.npz",
        "numbers from 0 to 255, expected uint8, or floats from 0 to 1",
    ),
    "floats from -1": (
        lambda path: np.savez(path, a=PICTURES / 127.5 - 1, ids=IDS),
        "x.npz",
        "numbers from -1 to 1",
    ),
    "NaN": (
        lambda path: np.savez(path, a=np.full((4, 6, 5, 3), np.nan), ids=IDS),
        "x.npz",
        "with NaN, expected",
    ),
    "int64": (
        lambda path: np.savez(path, a=PICTURES.astype(int), ids=IDS),
        "x.npz",
        "is int64, expected uint8 or floats",
    ),
    "four channels": (
        lambda path: np.savez(path, a=np.zeros((4, 6, 5, 4), np.uint8), ids=IDS),
        "x.npz",
        r"shape \(4, 6, 5, 4\), expected",
    ),
    "no rows": (
        lambda path: np.savez(path, a=np.zeros((0, 6, 5, 3), np.uint8), ids=[]),
        "x.npz",
        r"shape \(0, 6, 5, 3\)",
    ),
    "an empty folder": (lambda path: path.mkdir(), "x", "has no pictures"),
    "no picture": (lambda path: _folder(path, {"nsd1.png": b"abc"}), "x", "is not a picture"),
    "no number": (lambda path: _folder(path, {"cat.png": PICTURES[0]}), "x", "'cat' has no number"),
    "two names of one image": (
        lambda path: _folder(path, {"a1.png": PICTURES[0], "b01.png": PICTURES[1]}),
        "x",
        "b01.png is the second one of image 1",
    ),
    "two sizes": (
        lambda path: _folder(path, {"1.png": PICTURES[0], "2.png": PICTURES[0, :3]}),
        "x",
        "1.png has 5 x 6 pixels but .*2.png has 5 x 3; bring",
    ),
    "sixteen bits": (
        lambda path: _folder(path, {"1.png": PICTURES[0, ..., 0].astype(np.uint16) * 200}),
        "x",
        "I;16 pixels, expected 8 bits",
    ),
    "transparent": (
        lambda path: _folder(path, {"1.png": np.full((4, 4, 4), 9, np.uint8)}),
        "x",
        "is transparent in places",
    ),
    "another kind": (lambda path: path.write_text("x"), "x.pt", "no kind of file that pictures"),
    "nothing": (lambda path: None, "x.npy", "there is no"),
}


def _folder(path: Path, files: dict) -> None:
    path.mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (path / name).write_bytes(content)
        else:
            Image.fromarray(content).save(path / name)


@pytest.mark.parametrize("case", NONSENSE)
def test_pictures_that_are_none_are_told(case, tmp_path):
    make, name, words = NONSENSE[case]
    make(tmp_path / name)
    with pytest.raises(BrainkitError, match=words) as told:
        read_pictures(tmp_path / name, numbered=True)
    assert str(tmp_path) in str(told.value) or name in str(told.value) or "cat" in words


NO_CAPTIONS = {
    "no JSON": ("x.jsonl", "{'a': 1}", "line 1 is not JSON"),
    "no object": ("x.jsonl", '{"id": 1, "caption": "a"}\n["b"]', "line 2 is no JSON object"),
    "no id": ("x.jsonl", '{"caption": "a"}', r"has no id \(it has caption\)"),
    "an id that is none": ("x.jsonl", '{"id": 1.5, "caption": "a"}', "id is 1.5, expected an id"),
    "no caption": ("x.jsonl", '{"id": 1}', "has no 'caption'"),
    "null": ("x.jsonl", '{"id": 1, "caption": null}', "caption is None, expected a text"),
    "twice": (
        "x.jsonl",
        '{"id": 1, "caption": "a"}\n{"id": "01", "caption": "b"}',
        "line 2 is the second one of image 1",
    ),
    "a sample that is none": (
        "x.jsonl",
        '{"id": 1, "caption": "a", "sample": "b"}',
        "sample is 'b', expected a whole number",
    ),
    "empty": ("x.jsonl", "\n", "holds no captions"),
    "an empty table": ("x.csv", "id,caption\n", "holds no captions"),
    "another heading": ("x.csv", "a,b\n1,c\n", r"has no id \(it has a, b\)"),
    "a cell too many": ("x.csv", "id,caption\n1,a, b\n", "line 2 has not as many cells"),
    "a cell too few": ("x.tsv", "id\tcaption\n1\n", "line 2 has not as many cells"),
    "another kind": ("x.docx", "abc", "no kind of file that captions are read"),
}


@pytest.mark.parametrize("case", NO_CAPTIONS)
def test_captions_that_are_none_are_told(case, tmp_path):
    name, text, words = NO_CAPTIONS[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(BrainkitError, match=words):
        read_captions(tmp_path / name, numbered=True)


def test_texts_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"id,caption\n1,caf\xe9\n")
    with pytest.raises(BrainkitError, match="is not UTF-8"):
        read_captions(tmp_path / "x.csv", numbered=True)
    with pytest.raises(BrainkitError, match="cannot be read: No such file"):
        read_ids(tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BrainkitError, match="holds no ids"):
        read_ids(tmp_path / "empty.txt")
    np.save(tmp_path / "ids.npy", np.zeros((2, 2), int))
    with pytest.raises(BrainkitError, match=r"int64 \(2, 2\), expected whole numbers or names"):
        read_ids(tmp_path / "ids.npy")
    (tmp_path / "t.jsonl").write_text('{"id": 1, "caption": " "}')
    with pytest.raises(BrainkitError, match="true caption of image 1 is empty"):
        read_references(tmp_path / "t.jsonl", numbered=True)


@pytest.mark.parametrize(
    ("given", "samples", "words"),
    [
        ({("1", 1): "a"}, None, "none of image 2, which is to be scored, 1 of 2"),
        ({("1", 1): "a", ("2", 1): "b", ("9", 1): "c"}, None, "image 9, which is not among the 3"),
        ({("1", 1): "a", ("2", 1): "b", ("2", 2): "c"}, None, "image 2 has 2, expected 1 of each"),
        ({("1", 1): "a", ("2", 1): "b"}, 2, "image 1 has 1, expected 2"),
    ],
)
def test_outputs_that_do_not_fit_the_images_are_told(given, samples, words):
    items = {ImageSample(*key): value for key, value in given.items()}
    known = ("1", "2", "3")
    with pytest.raises(BrainkitError, match=f"^pictures in x: .*{words}"):
        in_order(items, ("1", "2"), known=known, what="pictures in x", samples=samples)


def test_samples_are_ordered_by_their_numbers():
    given = {ImageSample(image, sample): image * sample for image in "ab" for sample in (5, 0, 2)}
    found = in_order(given, ("b", "a"), known="ab", what="x", samples=None)
    assert found == [["", ""], ["bb", "aa"], ["bbbbb", "aaaaa"]]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing",), 1, "there is no nothing; name what"),
        (("made", "shown"), 2, "are both pictures; give one"),
        (("truth.jsonl", "told.tsv"), 2, "are both captions; give one"),
        (("made", "--nsd", "shown", "--stimuli", "shown"), 2, "leave out one"),
        (("told.tsv", "--stimuli", "shown"), 2, "these data have none; give them with --captions"),
        (("made", "--stimuli", "shown", "--images", "5"), 2, "--images is 5, but there are 4"),
        (("made", "--stimuli", "shown", "--images", "5,6"), 2, "--images has 5, 6, not among"),
        (("made", "--stimuli", "shown", "--images", "x"), 2, "--images is 'x', expected a count"),
        (("made", "--stimuli", "shown", "--samples", "2"), 1, "image ape has 1, expected 2"),
        (("made", "--stimuli", "nothing"), 1, "there is no nothing"),
        (("made", "--stimuli", "shown", "--ids", "told.tsv"), 1, "4 pictures, but there are 5 ids"),
        (("made", "--stimuli", "shown", "--scores", "x"), 2, "--scores has 'x', expected"),
        (("made", *SMALL), 1, "'ape' has no number in its name"),
        (("told.tsv", "--stimuli", "shown", "--captions", "one.csv"), 1, "no true caption of ape"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(own, cli, words, code, said):
    (own / "one.csv").write_text("id,caption\ncat,a cat\n")
    ended = cli("evaluate", *words, code=code)
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith("Error")]) == 1


def test_the_example_of_the_docs_does_what_it_says(cli, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    section = page.partition("## Outputs of another program")[2].partition("\n## ")[0]
    (made,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (command,) = re.findall(r"```sh\nbrainkit (.*?)\n```", section, re.DOTALL)
    monkeypatch.chdir(cli.folder)
    exec(compile(made, "evaluation.md", "exec"), {})
    lines = cli(*shlex.split(command)).stdout.splitlines()
    assert lines[-2] == "Test images: all 4 of shown."
    assert re.fullmatch(r"brainkit-runs/evaluations/made-[0-9a-f]{8}/report.html", lines[-1])
    assert any(line.startswith("BLEU-1@allref") for line in lines)
