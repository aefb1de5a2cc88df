"""The recipes of docs/own-data.md, run as they stand on small folders of the published layouts."""

import csv
import re
import shlex
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np
import scipy.io
from PIL import Image

from brainkit.data import Selection
from brainkit.nsd import check_data, load_design, load_trials, read_layout, roi_indices

DOCS = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text(encoding="utf-8")
RAW = Selection(standardise="none")


def pictures(folder, names, ending=".jpg"):
    for name in names:
        shade = zlib.crc32(name.encode()) % 256
        path = folder / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 24), (shade, 50, 255 - shade)).save(path)


def told(name):
    """Return a recipe's code: what is indented, or in a block of Python."""
    text = DOCS.split(f"<!-- recipe {name} -->\n\n")[1]
    if text.startswith("```python\n"):
        return text.removeprefix("```python\n").split("```")[0]
    lines = []
    for line in text.splitlines():
        if not line.startswith("    "):
            break
        lines.append(line.strip())
    return "\n".join(lines)


def follow(name, cli, monkeypatch, root):
    """Run a recipe in the command's folder; return the folder it writes."""
    code = told(name)
    if code.startswith("brainkit"):
        cli(*shlex.split(code.replace("\\\n", " "))[1:])
    else:
        monkeypatch.chdir(cli.folder)
        exec(compile(code, name, "exec"), {"__name__": name})
    written = cli.folder / root
    report = check_data(written)
    assert report.contradictions == ()
    assert read_layout(written).dataset
    return written


def nifti(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)


def volumes(n, seed=0, dtype=np.float32):
    return (np.random.default_rng(seed).normal(size=(4, 3, 5, n)) * 300).astype(dtype)


MASK = (np.arange(60).reshape(4, 3, 5) % 3 == 0).astype(np.uint8)


def test_every_recipe_has_a_test():
    named = re.findall(r"<!-- recipe (\w+) -->", DOCS)
    assert named == ["glmsingle", "bold5000", "things", "god", "nsdsynthetic", "nsdimagery"]
    assert all(f"test_{name}" in globals() for name in named)


def test_glmsingle(cli, monkeypatch):
    names = [f"img{n}" for n in range(10)]
    pictures(cli.folder / "pictures", names)
    order = [*range(10), *range(10)]
    (cli.folder / "order.txt").write_text("\n".join(map(str, order)))
    betas = volumes(20)
    with h5py.File(cli.folder / "TYPED_FITHRF_GLMDENOISE_RR.hdf5", "w") as file:
        file["betasmd"], file["R2"] = betas, betas[..., 0]
        file["HRFindex"] = betas[..., 0]
    nifti(cli.folder / "brainmask.nii.gz", MASK)
    root = follow("glmsingle", cli, monkeypatch, "lab")
    trials = load_trials(root, "sub-01", RAW)
    image = int(trials.test.image_ids[0])
    expected = betas[MASK > 0][:, [image, image + 10]].mean(1)
    np.testing.assert_allclose(trials.test.betas[0], expected, rtol=1e-5)


def test_bold5000(cli, monkeypatch):
    scenes = {"COCO": ["COCO_train2014_000000001", "COCO_train2014_000000002"]}
    scenes |= {"ImageNet": [f"n0{n}_1" for n in range(6)], "Scene": ["airport1", "attic2"]}
    for source, names in scenes.items():
        pictures(cli.folder / "Scene_Stimuli" / source, names)
    every = [name for names in scenes.values() for name in names]
    shown = [*every[:6], *every[4:], *every[:3]]
    (cli.folder / "CSI1_imgnames.txt").write_text("\n".join(f"{name}.jpg" for name in shown))
    for number, n in ((1, 6), (2, 9)):
        stem = f"CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-{number:02d}.nii.gz"
        nifti(cli.folder / stem, volumes(n, number))
    root = follow("bold5000", cli, monkeypatch, "bold")
    assert read_layout(root).dataset == "BOLD5000"
    assert load_design(root, "CSI1").lengths == (6, 9)


def test_things(cli, monkeypatch):
    concepts = [f"dog_{n:02d}s" for n in range(6)]
    tests = ["cat_15n", "cup_13n"]
    for name in [*concepts, *tests]:
        pictures(cli.folder / "object_images" / name.split("_")[0], [name])
    shown = [
        *((1, "train", name) for name in concepts[:3]),
        *((1, "test", name) for name in tests),
        (1, "catch", "catch_1"),
        *((2, "train", name) for name in concepts[3:]),
        *((2, "test", name) for name in tests),
    ]
    folder = cli.folder / "betas_csv"
    folder.mkdir()
    with (folder / "sub-01_StimulusMetadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["trial_type", "session", "run", "subject_id", "trial_id", "stimulus"])
        rows.writerows(
            [kind, session, 1, 1, n, f"{name}.jpg"] for n, (session, kind, name) in enumerate(shown)
        )
    with (folder / "sub-01_VoxelMetadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["voxel_id", "voxel_x", "voxel_y", "voxel_z", "V1", "V2", "V3", "IT"])
        rows.writerows([n, n, 0, 0, n < 4, 4 <= n < 7, n == 7, n > 7] for n in range(12))
    text = (folder / "sub-01_VoxelMetadata.csv").read_text()
    (folder / "sub-01_VoxelMetadata.csv").write_text(
        text.replace("True", "1").replace("False", "0")
    )
    responses = np.random.default_rng(0).normal(size=(12, len(shown)))
    with h5py.File(folder / "sub-01_ResponseData.h5", "w") as file:
        group = file.create_group("ResponseData")
        group["block0_values"] = responses
        group["block1_values"] = np.arange(12)[:, None]
    root = follow("things", cli, monkeypatch, "things")
    assert load_design(root, "sub-01").lengths == (5, 5)
    trials = load_trials(root, "sub-01", RAW)
    assert len(trials.test.image_ids) == 2
    np.testing.assert_allclose(trials.test.betas[0], responses[:8, [3, 9]].mean(1), rtol=1e-5)
    assert len(roi_indices(root, "sub-01", "V1", trials.voxel_xyz)["V1"].positions) == 4


def test_god(cli, monkeypatch):
    train, tests = [(1518878, 5958 + n) for n in range(6)], [(1943899, 24131), (1976957, 13223)]
    pictures(cli.folder / "images", [f"n{a:08d}_{b}" for a, b in [*train, *tests]], ".JPEG")
    shown = [*((1, 1, each) for each in train), *((2, 2, each) for each in [*tests, *tests])]
    shown.append((3, 3, tests[0]))  # imagery
    keys = ["VoxelData", "ROI_V1", "ROI_VC", "DataType", "stimulus_id", "Session"]
    values = np.random.default_rng(0).normal(size=(len(shown), 8))
    values[:, 5] = [kind for _, kind, _ in shown]
    values[:, 6] = [a + b / 1e6 for _, _, (a, b) in shown]
    values[:, 7] = [session for session, _, _ in shown]
    columns = np.full((len(keys), 8), np.nan)
    columns[0, :5] = columns[2, :5] = columns[1, :2] = 1
    for row, place in ((3, 5), (4, 6), (5, 7)):
        columns[row, place] = 1
    with h5py.File(cli.folder / "Subject1.h5", "w") as file:
        file["dataset"] = values
        file["metadata/key"] = np.array(keys, dtype="S")
        file["metadata/value"] = columns
    root = follow("god", cli, monkeypatch, "god")
    trials = load_trials(root, "Subject1", Selection(standardise="train"))
    assert trials.train.betas.shape == (6, 5)
    assert trials.test.repeats.tolist() == [2, 2]
    assert roi_indices(root, "Subject1", "V1", trials.voxel_xyz)["V1"].positions.tolist() == [0, 1]


def test_nsdsynthetic(cli, monkeypatch):
    root = cli.folder
    for name, n in (("nsdsynthetic_stimuli", 7), ("nsdsynthetic_colorstimuli_subj01", 5)):
        path = root / f"nsddata_stimuli/stimuli/nsdsynthetic/{name}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            noise = np.random.default_rng(n).integers(0, 256, (n, 20, 40, 3))
            file["imgBrick"] = noise.astype(np.uint8)
    path = root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
    path.parent.mkdir(parents=True)
    order = np.array([*range(1, 13), *range(1, 13)], np.uint16)
    scipy.io.savemat(path, {"masterordering": order[None]})
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm"
    betas = volumes(24, dtype=np.int16)
    name = "nsdsyntheticbetas_fithrf_GLMdenoise_RR/betas_nsdsynthetic.nii.gz"
    nifti(folder / name, betas)
    nifti(
        root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz",
        MASK.astype(np.float64) * 2 - 1,
    )
    written = follow("nsdsynthetic", cli, monkeypatch, "synthetic")
    trials = load_trials(written, 1, RAW)
    assert trials.train.betas.shape[1] == int(MASK.sum())
    image = int(trials.test.image_ids[0])
    expected = betas[MASK > 0][:, [image, image + 12]].mean(1)
    np.testing.assert_allclose(trials.test.betas[0], expected, rtol=1e-5)


def test_nsdimagery(cli, monkeypatch):
    names = [f"cue{n}" for n in range(12)]
    pictures(cli.folder / "pictures", names)
    text = "\n".join(["task\timage", *(f"vision\t{names[n % 12]}" for n in range(30))])
    (cli.folder / "rows.tsv").write_text(text)
    nifti(cli.folder / "nsdgeneral.nii.gz", MASK.astype(np.float64) * 2 - 1)
    path = cli.folder / "nsdimagerybetas_fithrf_GLMdenoise_RR/betas_nsdimagery.hdf5"
    path.parent.mkdir()
    betas = volumes(30, dtype=np.int16)
    with h5py.File(path, "w") as file:
        file["betas"] = betas.transpose(3, 2, 1, 0)
    root = follow("nsdimagery", cli, monkeypatch, "imagery")
    trials = load_trials(root, 1, RAW)
    image = int(trials.test.image_ids[0])
    shown = [n for n in range(30) if names[n % 12] == sorted(names)[image]]
    np.testing.assert_allclose(trials.test.betas[0], betas[MASK > 0][:, shown].mean(1), rtol=1e-5)
