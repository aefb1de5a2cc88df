"""Data of one's own, in whatever format they lie, load as what they are."""

import csv
import json

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from brainkit.data import Selection
from brainkit.errors import DataError
from brainkit.nsd import (
    Recording,
    add_subject,
    check_data,
    load_captions,
    load_design,
    load_stimuli,
    load_trials,
    plan_trials,
    read_layout,
    roi_indices,
    write_dataset,
)

RAW = Selection(standardise="none")
LENGTHS = (14, 9, 11)
VOLUME = (4, 5, 6)
NAMES = [f"picture{number:02d}" for number in range(12)]


@pytest.fixture
def lab(tmp_path):
    """What a lab has: pictures, a mask, and three sessions of unequal length on its grid."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, picture in zip(NAMES, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    mask = rng.random(VOLUME) < 0.5
    betas = [rng.normal(1, 2, (*VOLUME, n)).astype(np.float32) for n in LENGTHS]
    shown = [rng.permutation([*range(12), 0, 1, 2])[:n].tolist() for n in LENGTHS]
    names = [[NAMES[number] for number in each] for each in shown]
    return {"pictures": pictures, "folder": folder, "mask": mask, "betas": betas, "shown": names}


def flat(lab):
    """The betas as (trials, voxels)."""
    return [each[lab["mask"]].T for each in lab["betas"]]


def averaged(lab, name):
    """The mean response to a picture, by hand."""
    sessions = zip(flat(lab), lab["shown"], strict=True)
    trials = [row for betas, names in sessions for row, shown in zip(betas, names, strict=True)]
    shown = [each for names in lab["shown"] for each in names]
    return np.mean([row for row, each in zip(trials, shown, strict=True) if each == name], axis=0)


def write_nifti(path, array):
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 2.5, 1.0])), path)


def write_betas(folder, kind, lab):
    """Write each session in a format; return what `--betas` and `--axes` are told."""
    folder.mkdir()
    for number, (volumes, rows) in enumerate(zip(lab["betas"], flat(lab), strict=True), start=1):
        stem = folder / f"sub-01_ses-{number:02d}_betas"
        if kind in ("nii", "nii.gz"):
            write_nifti(f"{stem}.{kind}", volumes)
        elif kind == "npy":
            np.save(f"{stem}.npy", rows)
        elif kind == "npy volumes":
            np.save(f"{stem}.npy", volumes)
        elif kind == "safetensors":
            save_file({"betas": np.ascontiguousarray(rows)}, f"{stem}.safetensors")
        elif kind == "hdf5":
            with h5py.File(f"{stem}.h5", "w") as file:
                file["betas"], file["other"] = rows, np.zeros(3)
        else:  # as MATLAB leaves (X, Y, Z, trials)
            with h5py.File(f"{stem}.mat", "w") as file:
                file["modelmd"] = volumes.transpose(3, 2, 1, 0)
    return {"matlab": ("*.mat", "tzyx")}.get(kind, ("", ""))


def write_events(folder, lab):
    folder.mkdir()
    for number, names in enumerate(lab["shown"], start=1):
        with (folder / f"sub-01_ses-{number:02d}_events.tsv").open("w", newline="") as file:
            rows = csv.writer(file, delimiter="\t")
            rows.writerow(["onset", "duration", "stim_file"])
            rows.writerow([0, 4, "n/a"])
            rows.writerows(
                [4 * place, 4, f"stimuli/{name}.png"] for place, name in enumerate(names)
            )


KINDS = ["nii", "nii.gz", "npy", "npy volumes", "hdf5", "matlab", "safetensors"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_data_in_every_format_load_as_the_same_arrays(kind, lab, cli):
    pattern, axes = write_betas(cli.folder / "betas", kind, lab)
    write_events(cli.folder / "events", lab)
    write_nifti(cli.folder / "mask.nii.gz", lab["mask"].astype(np.uint8))
    told = cli(
        *("import-data", "own", "--subject", "sub-CSI1", "--betas", f"betas/{pattern}"),
        *("--trials", "events", "--stimuli", "pictures", "--mask", "mask.nii.gz"),
        *("--axes", axes, "--test", "0.25"),
    )
    assert "sub-CSI1: betas: sessions 1-3 as .hdf5, 3 test images" in told.stdout
    root = cli.folder / "own"
    assert check_data(root).contradictions == ()
    trials = load_trials(root, "sub-CSI1", RAW)
    assert len(trials.train.image_ids) == 9
    for split in (trials.train, trials.test):
        for image, betas in zip(split.image_ids, split.betas, strict=True):
            np.testing.assert_allclose(betas, averaged(lab, NAMES[image]), atol=1e-5)
    assert np.array_equal(trials.voxel_xyz, np.argwhere(lab["mask"]))
    assert np.array_equal(load_stimuli(root, range(12)), lab["pictures"])
    layout = read_layout(root)
    assert layout.subject("sub-CSI1").trials == LENGTHS
    assert layout.dataset == "own"


def recording(lab, subject="sub-01", **more):
    return Recording(subject, flat(lab), lab["shown"], **more)


def test_python_writes_what_the_command_writes(lab, tmp_path):
    root = write_dataset(tmp_path / "one", [recording(lab)], lab["folder"], test=NAMES[:3])
    design = load_design(root, "sub-01")
    assert [NAMES[each] for each in design.image_ids] == [n for s in lab["shown"] for n in s]
    assert {NAMES[each] for each in design.image_ids[design.is_shared]} == set(NAMES[:3])
    trials = load_trials(root, "sub-01", RAW)
    assert trials.voxel_xyz.tolist() == [[place, 0, 0] for place in range(lab["mask"].sum())]
    np.testing.assert_allclose(trials.test.betas[1], averaged(lab, NAMES[1]), atol=1e-5)


def test_sessions_are_standardised_each_by_its_own_training_trials(lab, tmp_path):
    root = write_dataset(tmp_path / "one", [recording(lab)], lab["folder"], test=NAMES[:3])
    trials = load_trials(root, "sub-01", Selection(repeats="single"))
    sums, counts = {}, {}
    for betas, names in zip(flat(lab), lab["shown"], strict=True):
        train = np.array([name not in NAMES[:3] for name in names])
        scores = (betas - betas[train].mean(0)) / betas[train].std(0)
        for name, row in zip(names, scores, strict=True):
            sums[name] = sums.get(name, 0) + row
            counts[name] = counts.get(name, 0) + 1
    for split in (trials.test, trials.train):
        for image in np.unique(split.image_ids):
            found = split.betas[split.image_ids == image].mean(0)
            name = NAMES[image]
            np.testing.assert_allclose(found, sums[name] / counts[name], atol=1e-4)


def test_integers_and_memory_maps_are_taken_as_they_are(lab, tmp_path):
    whole = [np.rint(each * 100).astype(np.int16) for each in flat(lab)]
    np.save(tmp_path / "first.npy", whole[0])
    sessions = [np.load(tmp_path / "first.npy", mmap_mode="r"), *whole[1:]]
    root = write_dataset(
        tmp_path / "own", [Recording("a", sessions, lab["shown"])], lab["folder"], test=NAMES[:3]
    )
    trials = load_trials(root, "a", Selection(standardise="none", repeats="single"))
    numbers = np.concatenate([trials.train.betas, trials.test.betas])
    assert sorted(numbers.ravel()) == sorted(np.concatenate(whole).astype(np.float32).ravel())


def test_a_held_out_share_is_drawn_by_image_and_seed(lab, tmp_path):
    def tests(name, seed):
        root = write_dataset(tmp_path / name, [recording(lab)], lab["folder"], test=0.25, seed=seed)
        trials = load_trials(root, "sub-01", RAW)
        assert not set(trials.train.image_ids) & set(trials.test.image_ids)
        return trials.test.image_ids.tolist()

    assert tests("one", 0) == tests("again", 0)
    assert len({tuple(tests(f"seed{seed}", seed)) for seed in range(1, 5)}) > 1


def test_regions_have_names_and_the_voxels_they_were_given(lab, tmp_path):
    areas = np.zeros(VOLUME, np.int16)
    areas[:2], areas[2:, :2] = 1, 2
    row = np.arange(int(lab["mask"].sum())) < 5
    root = write_dataset(
        tmp_path / "own",
        [
            recording(
                lab,
                mask=lab["mask"],
                regions={"areas": areas, "first": row},
                labels={"areas": {1: "early", 2: "late"}},
            )
        ],
        lab["folder"],
        test=0.25,
    )
    xyz = load_trials(root, "sub-01", RAW).voxel_xyz
    found = roi_indices(root, "sub-01", "areas", xyz)
    assert set(found) == {"early", "late"}
    assert np.array_equal(found["late"].positions, np.flatnonzero(areas[tuple(xyz.T)] == 2))
    assert roi_indices(root, "sub-01", "first", xyz)["first"].positions.tolist() == [*range(5)]
    early = load_trials(root, "sub-01", Selection(roi="areas:early"))
    assert early.train.betas.shape[1] == int((areas[lab["mask"]] == 1).sum())


def test_maps_average_over_the_regions_that_were_given(lab, tmp_path):
    from brainkit.run.maps.regions import regions

    own = np.arange(int(lab["mask"].sum())) % 3
    root = write_dataset(
        tmp_path / "own",
        [recording(lab, regions={"thirds": own}, labels={"thirds": {1: "one", 2: "two"}})],
        lab["folder"],
        test=0.25,
    )
    where = regions(root, "sub-01", load_trials(root, "sub-01", RAW).voxel_xyz)
    assert where == {
        ("thirds", "one"): np.flatnonzero(own == 1).tolist(),
        ("thirds", "two"): np.flatnonzero(own == 2).tolist(),
    }


@pytest.mark.parametrize("kind", ["csv", "tsv", "json"])
def test_captions_come_from_tables_and_from_coco(kind, lab, cli):
    np.save(cli.folder / "betas.npy", np.concatenate(flat(lab)))
    (cli.folder / "order.txt").write_text("\n".join(n for s in lab["shown"] for n in s))
    texts = [(name, f"caption {k} of {name}") for name in NAMES for k in range(2)]
    path = cli.folder / f"captions.{kind}"
    if kind == "json":
        content = {
            "images": [{"id": 7 + i, "file_name": f"{name}.png"} for i, name in enumerate(NAMES)],
            "annotations": [
                {"id": n, "image_id": 7 + NAMES.index(name), "caption": text}
                for n, (name, text) in enumerate(texts)
            ],
        }
        path.write_text(json.dumps(content))
    else:
        with path.open("w", newline="") as file:
            rows = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            rows.writerows([("image", "caption"), *texts])
    cli(
        *("import-data", "own", "--subject", 2, "--betas", "betas.npy", "--trials", "order.txt"),
        *("--stimuli", "pictures", "--captions", path.name, "--test", "0.25"),
    )
    captions = load_captions(cli.folder / "own", [3, 0])
    assert captions[0] == ("caption 0 of picture03", "caption 1 of picture03")
    assert "subj02: trials.tsv, 34 trials" in cli("check-data", "own").stdout


def test_one_file_of_trials_is_parted_among_sessions(lab, cli):
    write_betas(cli.folder / "betas", "npy", lab)
    with (cli.folder / "trials.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["session", "image"])
        rows.writerows((n, name) for n, names in enumerate(lab["shown"]) for name in names)
    (cli.folder / "order.txt").write_text("\n".join(n for s in lab["shown"] for n in s))
    for folder, trials in (("one", "trials.csv"), ("two", "order.txt")):
        cli(
            *("import-data", folder, "--subject", "s", "--betas", "betas", "--trials", trials),
            *("--stimuli", "pictures", "--test", "0.25"),
        )
    one, two = (load_design(cli.folder / each, "s") for each in ("one", "two"))
    assert np.array_equal(one.image_ids, two.image_ids)
    assert one.lengths == two.lengths == LENGTHS


def test_betas_in_one_file_are_parted_by_the_sessions_of_the_table(lab, cli):
    order = np.random.default_rng(3).permutation(sum(LENGTHS))
    np.save(cli.folder / "betas.npy", np.concatenate(flat(lab))[order])
    rows = [(n, name) for n, names in enumerate(lab["shown"]) for name in names]
    text = "\n".join(["session,image", *(f"{n},{name}" for n, name in (rows[k] for k in order))])
    (cli.folder / "trials.csv").write_text(text)
    cli(
        *("import-data", "own", "--subject", "s", "--betas", "betas.npy"),
        *("--trials", "trials.csv", "--stimuli", "pictures", "--test", "0.25"),
    )
    assert sorted(load_design(cli.folder / "own", "s").lengths) == sorted(LENGTHS)
    trials = load_trials(cli.folder / "own", "s", RAW)
    for image, betas in zip(trials.test.image_ids, trials.test.betas, strict=True):
        np.testing.assert_allclose(betas, averaged(lab, NAMES[image]), atol=1e-5)


def test_runs_of_one_session_are_joined(lab, cli):
    (cli.folder / "betas").mkdir()
    (cli.folder / "events").mkdir()
    rows, names = flat(lab)[0], lab["shown"][0]
    for run, part in enumerate((slice(0, 6), slice(6, 14)), start=1):
        np.save(cli.folder / f"betas/sub-1_ses-a_run-{run}.npy", rows[part])
        text = "\n".join(["image", *names[part]])
        (cli.folder / f"events/sub-1_ses-a_run-{run}.tsv").write_text(text)
    cli(
        *("import-data", "own", "--subject", "s", "--betas", "betas", "--trials", "events"),
        *("--stimuli", "pictures", "--test", "0.25"),
    )
    assert load_design(cli.folder / "own", "s").lengths == (14,)


def test_sessions_are_in_the_order_of_their_numbers(lab, cli):
    (cli.folder / "betas").mkdir()
    for number in (2, 10, 1):
        np.save(cli.folder / f"betas/ses-{number}.npy", np.full((4, 3), number) * np.eye(4, 3))
    (cli.folder / "order.txt").write_text("\n".join(NAMES[:12]))
    cli(
        *("import-data", "own", "--subject", "s", "--betas", "betas", "--trials", "order.txt"),
        *("--stimuli", "pictures", "--test", "0.25"),
    )
    trials = load_trials(cli.folder / "own", "s", RAW)
    both = np.concatenate([trials.train.betas, trials.test.betas])
    ids = np.concatenate([trials.train.image_ids, trials.test.image_ids])
    largest = both[np.argsort(ids)].max(1)
    assert largest.tolist() == [1, 1, 1, 0, 2, 2, 2, 0, 10, 10, 10, 0]


def test_a_second_subject_is_added_and_shares_pictures_and_test_images(lab, tmp_path):
    root = write_dataset(tmp_path / "own", [recording(lab)], lab["folder"], test=0.25)
    before = load_trials(root, "sub-01", RAW)
    add_subject(root, Recording("sub-02", flat(lab)[:2], lab["shown"][:2], mask=lab["mask"]))
    assert check_data(root).contradictions == ()
    after = load_trials(root, "sub-01", RAW)
    assert np.array_equal(before.train.betas, after.train.betas)
    other = load_trials(root, "sub-02", RAW)
    assert set(other.test.image_ids) <= set(after.test.image_ids)


def test_volumes_without_a_mask_are_taken_where_they_are_finite_and_vary(lab, tmp_path):
    volumes = [each.copy() for each in lab["betas"]]
    for each in volumes:
        each[0] = 0
    volumes[1][3, 4, 5, 2] = np.nan
    root = write_dataset(
        tmp_path / "own", [Recording("a", volumes, lab["shown"])], lab["folder"], test=0.25
    )
    assert len(load_trials(root, "a", RAW).voxel_xyz) == 3 * 5 * 6 - 1


def test_more_voxels_than_a_nifti_1_can_count_are_read_again(tmp_path, lab):
    rng = np.random.default_rng(1)
    betas = [rng.normal(size=(n, 33_000)).astype(np.float32) for n in LENGTHS]
    root = write_dataset(
        tmp_path / "own", [Recording("a", betas, lab["shown"])], lab["folder"], test=0.25
    )
    trials = load_trials(root, "a", Selection(standardise="none", sessions=1))
    assert trials.train.betas.shape[1] == 33_000


def test_pictures_of_other_sizes_are_cut_to_squares_and_resized(tmp_path, lab):
    Image.new("RGB", (60, 30), (10, 200, 30)).save(lab["folder"] / "wide.jpg")
    Image.new("L", (30, 30), 99).save(lab["folder"] / "grey.png")
    root = write_dataset(tmp_path / "own", [recording(lab)], lab["folder"], test=0.25, pixels=48)
    # In order of their names: grey, the twelve, wide.
    pictures = load_stimuli(root, [0, 13])
    assert pictures.shape == (2, 48, 48, 3)
    assert (pictures[0] == 99).all()
    assert np.abs(pictures[1].astype(int) - [10, 200, 30]).max() < 6


def test_the_plan_says_what_test_images_are(lab, tmp_path):
    root = write_dataset(tmp_path / "own", [recording(lab)], lab["folder"], test=0.25)
    plan = plan_trials(root, "sub-01", RAW)
    assert plan.test_images == "the 3 that the data name (of 12 seen)"
    assert "9 training and 3 test rows (3 images)" in plan.text()


def test_nothing_is_left_of_a_dataset_that_could_not_be_written(lab, tmp_path):
    sessions = flat(lab)
    sessions[2] = np.full_like(sessions[2], np.nan)
    with pytest.raises(DataError, match="session 3 holds NaN"):
        write_dataset(
            tmp_path / "own", [Recording("a", sessions, lab["shown"])], lab["folder"], test=0.25
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]
    root = write_dataset(tmp_path / "own", [recording(lab)], lab["folder"], test=0.25)
    with pytest.raises(DataError, match="session 3 holds NaN"):
        add_subject(root, Recording("b", sessions, lab["shown"]))
    assert read_layout(root).known == ["sub-01"]
    assert {path.name for path in (root / "nsddata_betas/ppdata").iterdir()} == {"sub-01"}
