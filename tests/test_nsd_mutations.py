"""Every mutation of the fixture gives its own error or warning; `mutations.json` says which."""

import csv
import json
import shutil
import warnings
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from brainkit.data import Selection
from brainkit.errors import BrainkitWarning, DataError
from brainkit.nsd import load_captions, load_stimuli, load_trials

GOLDEN = Path(__file__).parent / "golden/nsd"
MUTATIONS = {each["id"]: each for each in json.loads((GOLDEN / "mutations.json").read_text())}


def rewrite_nifti(path, mutation):
    image = nibabel.load(path)
    data, affine = np.asanyarray(image.dataobj).copy(), image.affine
    name = mutation["id"]
    if name == "mask_other_grid":
        data = np.pad(data, ((0, 1), (0, 0), (0, 0)), constant_values=-1)
    elif name == "mask_other_resolution":
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
    elif name == "empty_mask":
        data[data > 0] = 0
    elif name == "wrong_trial_count":
        data = data[..., :-1]
    elif name == "mixed_subjects":
        data = data[:-1]
    elif name in {"already_divided", "nan_betas"}:
        data = (data / 300).astype(np.float32)
    if name == "nan_betas":
        mask = nibabel.load(roi_path(path)).get_fdata() > 0
        data[(*np.argwhere(mask)[30], slice(3, 6))] = np.nan
    written = nibabel.Nifti1Image(data, affine)
    zooms = mutation["args"].get("zooms") or image.header.get_zooms()[:3]
    written.header.set_zooms((*zooms, *written.header.get_zooms()[3:]))
    nibabel.save(written, path)
    if "new_shape" in mutation["args"]:
        assert list(nibabel.load(path).shape) == mutation["args"]["new_shape"]


def roi_path(path):
    root = next(each for each in path.parents if each.name == "nsd")
    return root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz"


def rewrite_hdf5(path, mutation):
    name = mutation["args"]["dataset"]
    with h5py.File(path) as file:
        data = file[name][:]
    if mutation["id"] == "hdf5_axis_order":
        data = data.transpose()
    elif mutation["id"] == "hdf5_missing_dataset":
        name = "data"
    elif mutation["id"] == "stimuli_too_few":
        data = data[:40]
    with h5py.File(path, "w") as file:
        file[name] = data


def rewrite_mat(path, mutation):
    loaded = scipy.io.loadmat(path)
    fields = {key: value for key, value in loaded.items() if not key.startswith("__")}
    key = mutation["args"]["key"]
    if mutation["id"] == "expdesign_zero_based":
        fields[key] = fields[key] - 1
    else:
        del fields[key]
    scipy.io.savemat(path, fields)


def rewrite_tsv(path, mutation):
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    column = rows[0].index("73KID")
    other = next(row for row in rows[2:] if row[column] != rows[1][column])
    rows[1][column], other[column] = other[column], rows[1][column]
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")


def rewrite_csv(path, mutation):
    rows = list(csv.reader(path.read_text().splitlines()))
    place = rows[0].index("cocoId")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*row[:place], *row[place + 1 :]] for row in rows)


def rewrite_json(path, mutation):
    content = json.loads(path.read_text())
    gone = mutation["args"]["image_id"]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] != gone]
    path.write_text(json.dumps(content))


def truncate(path, mutation):
    content = path.read_bytes()
    path.write_bytes(content[: int(mutation["args"]["keep_fraction"] * len(content))])


OPERATIONS = {
    "delete": lambda path, mutation: path.unlink(),
    "truncate_bytes": truncate,
    "replace_with_text": lambda path, mutation: path.write_text(mutation["args"]["text"]),
    "rename": lambda path, mutation: path.rename(path.with_name(Path(mutation["args"]["to"]).name)),
    "nifti_rewrite": rewrite_nifti,
    "hdf5_rewrite": rewrite_hdf5,
    "mat_rewrite": rewrite_mat,
    "csv_rewrite": rewrite_csv,
    "tsv_rewrite": rewrite_tsv,
    "json_rewrite": rewrite_json,
}


def mutated(mutation, tmp_path):
    root = shutil.copytree(GOLDEN / "fake_nsd", tmp_path / "nsd")
    for name in mutation["files"]:
        OPERATIONS[mutation["op"]](root / name, mutation)
    return root


def load(root, options):
    sessions = options.get("sessions", "available")
    selection = Selection(sessions=tuple(sessions) if isinstance(sessions, list) else sessions)
    known = {name: options[name] for name in ("beta_format", "units") if name in options}
    trials = load_trials(root, 1, selection, **known)
    shown = np.concatenate([trials.train.image_ids, trials.test.image_ids])
    if options.get("images"):
        load_stimuli(root, shown)
    if options.get("captions"):
        load_captions(root, shown)
    return trials


def test_there_are_21_mutations():
    assert len(MUTATIONS) == 21


@pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")
@pytest.mark.parametrize("name", [n for n, m in MUTATIONS.items() if m["severity"] == "error"])
def test_a_mutation_gives_one_sentence_that_names_it(name, tmp_path):
    mutation = MUTATIONS[name]
    root = mutated(mutation, tmp_path)
    with pytest.raises(DataError) as caught:
        load(root, mutation["loader_options"])
    message = str(caught.value)
    for part in mutation["message_must_contain"]:
        assert part.lower() in message.lower()
    assert "\n" not in message
    assert str(root) in message


@pytest.mark.parametrize("name", [n for n, m in MUTATIONS.items() if m["severity"] == "warning"])
def test_a_harmless_oddity_loads_and_warns(name, tmp_path):
    mutation = MUTATIONS[name]
    root = mutated(mutation, tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trials = load(root, mutation["loader_options"])
    said = [str(each.message) for each in caught if each.category is BrainkitWarning]
    for part in mutation["message_must_contain"]:
        assert any(part.lower() in sentence.lower() for sentence in said)
    assert np.isfinite(trials.train.betas).all()
    assert np.isfinite(trials.test.betas).all()


@pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")
def test_damage_found_by_a_reader_keeps_its_cause(tmp_path):
    mutation = MUTATIONS["truncated_nifti"]
    root = mutated(mutation, tmp_path)
    with pytest.raises(DataError) as caught:
        load(root, mutation["loader_options"])
    assert isinstance(caught.value.__cause__, EOFError)
