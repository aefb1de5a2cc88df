"""Both stages of training on a tiny subject, by the command line in this process."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from tiny_training import SHAPE, networks

from brainkit.encoders.clip import CLIP_B32
from brainkit.nsd import load_stimuli
from brainkit.plugins import Registry
from brainkit.run import prepare
from brainkit.run import run as run_method
from brainkit.run.artefact import Recipe, read_recipe
from brainkit.run.config import RunConfig
from brainkit.testing.tiny import tiny_nsd
from brainkit_mindreader.train.__main__ import main
from brainkit_mindreader.train.pairs import fitted, training_pairs
from brainkit_mindreader.train.snapshots import write_checkpoint

FITTING = {
    "selection.sessions": "available",
    "encoder.clip_image.views": 1,
    "regressor.hidden": 4,
    "regressor.blocks": 1,
    "regressor.fc": 8,
    "regressor.epochs": 2,
    "regressor.batch": 8,
}
SHAPE_64 = replace(SHAPE, f_dims=(64, 64))


@pytest.fixture(scope="module", autouse=True)
def _with_the_plugin():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINKIT_PLUGINS", "mindreader")
        yield


@pytest.fixture(autouse=True)
def _fresh_accelerator():
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def stored(root: Path, shape=SHAPE_64, *, discriminator: bool = True) -> Path:
    """Write tiny networks as checkpoints into a store."""
    pair = zip(("mindreader-generator", "mindreader-discriminator"), networks(shape), strict=True)
    for name, net in list(pair)[: 1 + discriminator]:
        write_checkpoint(root / name, net, shape.config(), Recipe("test"))
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A download, a store with the small CLIP, and a work folder with fitted mappers."""
    root = tmp_path_factory.mktemp("training")
    tiny_nsd(root / "nsd")
    package = Path(__import__("brainkit").__file__).parent / "miniature" / "checkpoints"
    folder = CLIP_B32.miniature.rpartition(":")[2].rpartition("/")[2]
    shutil.copytree(package / folder, root / "store" / CLIP_B32.name)
    main(["mappers", *arguments(root)])
    return root


def arguments(root: Path, work: Path | None = None) -> list[str]:
    given = ["--nsd", str(root / "nsd"), "--checkpoints", str(root / "store"), "--device", "cpu"]
    options = [word for name, value in FITTING.items() for word in ("-o", f"{name}={value}")]
    return [*given, "--work", str(work or root / "work"), *options]


TUNING = ["--batch", "4", "--snapshot-kimg", "0.012", "--weight", "clip=0", "--weight", "paired=5"]


def generator(root: Path, *more: str, work: Path | None = None) -> None:
    main(["generator", *arguments(root, work), *TUNING, *more])


@pytest.fixture
def work(place, tmp_path):
    """A copy of the work folder with fitted mappers."""
    return Path(shutil.copytree(place / "work", tmp_path / "work"))


def config(root: Path, work: Path) -> RunConfig:
    return RunConfig(
        "mindreader", nsd=root / "nsd", work=work, checkpoints=root / "store", device="cpu",
        options=FITTING,
    )  # fmt: skip


def training_folder(work: Path) -> Path:
    (folder,) = work.glob("*/subj01/runs/*/training")
    return folder


def lines(work: Path) -> list[dict[str, float]]:
    text = (training_folder(work) / "generator" / "curve.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_finds_the_mappers_of_the_first_stage_current(place, work):
    stored(place / "store")
    said: list[str] = []
    run_method(prepare(config(place, work), Registry.installed(), said.append))
    fits = [line for line in said if line.startswith(("trials", "features", "weights", "decoded"))]
    assert len(fits) == 7
    assert all(line.endswith(": kept") for line in fits)


def test_pairs_are_pictures_with_what_the_mapper_predicts_for_their_trials(place, work):
    init = stored(work / "init")
    generator(place, "--init", str(init), "--kimg", "0.004", work=work)
    run = prepare(config(place, work), Registry.installed(), lambda text: None, generating=False)
    found = fitted(run)
    kept = load_file(training_folder(work) / "embeddings.safetensors")
    weights = load_file(found.weights["clip_text"].path)
    trials = load_file(found.trials.path)
    betas, ids = trials["train_betas"], trials["train_image_ids"]
    some = torch.tensor([7, 0, 41])
    target = torch.zeros(1, 5, 64)
    expected = run.method.regressors["clip_text"].predict(weights, betas[some], target)
    torch.testing.assert_close(kept["clip_text"][some], expected[:, 0], rtol=1e-4, atol=1e-5)
    pairs = training_pairs(
        run, found, replace(found.trials, path=training_folder(work) / "embeddings.safetensors"),
        SHAPE_64.resolution, torch.device("cpu"),
    )  # fmt: skip
    whole = load_stimuli(run.nsd, ids.numpy()[some])
    for trial, picture in zip(some.tolist(), whole, strict=True):
        small = pairs.pictures[int(pairs.rows[trial])].astype(float)
        boxed = picture.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
        # Another filter than the mean of boxes, so only alike.
        assert np.corrcoef(small.ravel(), boxed.ravel())[0, 1] > 0.95
    assert not set(ids.tolist()) & set(trials["test_image_ids"].tolist())


def test_snapshots_hold_pictures_a_curve_and_checkpoints_that_load(place, work):
    init = stored(work / "init")
    to = work / "store"
    generator(place, "--init", str(init), "--kimg", "0.024", "--to", str(to), work=work)
    folder = training_folder(work) / "generator"
    assert [line["kimg"] for line in lines(work)] == [0.012, 0.024]
    assert {"adversarial", "heads", "paired", "real", "fake"} <= set(lines(work)[-1])
    grids = sorted((folder / "pictures").iterdir())
    assert [each.name for each in grids] == ["000000012.png", "000000024.png"]
    assert Image.open(grids[0]).size == (4 * 16, 2 * 16), "true test images above generated ones"
    judging = {"use_norm": False, "mbstd_group_size": 4}
    for name, more in (("mindreader-generator", {}), ("mindreader-discriminator", judging)):
        written = load_file(to / name / "model.safetensors")
        last = load_file(folder / "last" / name / "model.safetensors")
        assert all(torch.equal(last[key], written[key]) for key in last)
        config = json.loads((to / name / "config.json").read_text())
        assert config == SHAPE_64.config() | {"f_dims": [64, 64]} | more
    began = load_file(init / "mindreader-generator" / "model.safetensors")
    ended = load_file(to / "mindreader-generator" / "model.safetensors")
    assert not torch.equal(began["synthesis.b16.conv1.weight"], ended["synthesis.b16.conv1.weight"])
    assert not list(to.glob("*.part"))


def test_a_training_in_two_calls_is_bit_identical_to_one_in_one(place, work):
    init = stored(work / "init")
    other = Path(shutil.copytree(work, work.with_name("other")))
    generator(place, "--init", str(init), "--kimg", "0.032", work=work)
    generator(place, "--init", str(init), "--kimg", "0.016", work=other)
    generator(place, "--init", str(init), "--kimg", "0.032", work=other)
    one, two = (training_folder(each) / "generator/state.safetensors" for each in (work, other))
    first, second = load_file(one), load_file(two)
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert read_recipe(one) == read_recipe(two)


def test_a_state_of_other_settings_is_refused_until_it_is_given_up(place, work, capsys):
    init = stored(work / "init")
    generator(place, "--init", str(init), "--kimg", "0.004", work=work)
    more = ["--init", str(init), "--kimg", "0.008", "--rate", "0.001"]
    with pytest.raises(SystemExit):
        generator(place, *more, work=work)
    assert "other settings (rate 0.0025 -> 0.001)" in capsys.readouterr().err
    generator(place, *more, "--resume", "no", work=work)
    assert [line["step"] for line in lines(work)] == [2]


def test_a_training_that_wrote_to_its_own_store_goes_on(place, work):
    init = stored(work / "init")
    same = ["--init", str(init), "--to", str(init)]
    generator(place, *same, "--kimg", "0.012", work=work)
    generator(place, *same, "--kimg", "0.024", work=work)
    assert [line["kimg"] for line in lines(work)] == [0.012, 0.024]


def test_a_generator_without_its_discriminator_gets_a_new_one_with_a_warning(place, work, capsys):
    init = stored(work / "init", discriminator=False)
    generator(place, "--init", str(init), "--kimg", "0.004", work=work)
    assert "there is no mindreader-discriminator" in capsys.readouterr().err


def test_a_generator_of_one_branch_gets_a_second_by_copying(place, work):
    single = replace(SHAPE, f_dims=(64,))
    init = stored(work / "init", single)
    generator(place, "--init", str(init), "--kimg", "0.004", work=work)
    last = training_folder(work) / "generator" / "last" / "mindreader-generator"
    assert json.loads((last / "config.json").read_text())["f_dims"] == [64, 64]


def test_joint_training_keeps_the_mappers_it_changed(place, work):
    init = stored(work / "init")
    more = ["--init", str(init), "--kimg", "0.008", "--joint", "--mirror"]
    generator(place, *more, work=work)
    folder = training_folder(work) / "generator-joint"
    mappers = load_file(folder / "last" / "mappers" / "clip_text.safetensors")
    fitted_ones = load_file(next(work.rglob("weights/clip_text-????????????????.safetensors")))
    name = "encoder.0.0.weight"
    assert not torch.equal(mappers[name], fitted_ones[name])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--kimg", "0"], "--kimg is 0, expected more than 0"),
        (["--batch", "6"], "multiple of 4"),
        (["--device", "cuda"], "torch sees 0 CUDA devices"),
        (["--mixed-precision", "fp16"], "CPUs do not train in"),
        (["--weight", "clop=3"], "Did you mean 'clip'"),
        (["--weight", "clip"], "expected TERM=FACTOR"),
        (["--weight", "clip=-1"], "expected a number of 0 or more"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--rate", "0"], "--rate is 0"),
        (["--weight", "resnet=10"], "resnet50-vicreg"),
        (
            ["--take", "best", "--to", "somewhere", "--kimg", "0.004"],
            "no network that compares pictures",
        ),
    ],
)
def test_bad_input_gets_one_sentence(place, tmp_path, capsys, more, said):
    if more[1] == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    init = stored(tmp_path / "init")
    work = Path(shutil.copytree(place / "work", tmp_path / "work"))
    with pytest.raises(SystemExit) as found:
        generator(place, "--init", str(init), *more, work=work)
    assert found.value.code in (1, 2)
    told = capsys.readouterr().err
    assert len([line for line in told.splitlines() if line.startswith("Error")]) == 1
    assert said in " ".join(told.split())


def test_a_work_folder_without_mappers_is_refused(place, tmp_path, capsys):
    with pytest.raises(SystemExit):
        generator(place, "--init", str(stored(tmp_path / "init")), work=tmp_path / "work")
    assert "has no fitted mappers of these settings" in capsys.readouterr().err


def test_a_generator_for_other_embeddings_is_refused(place, work, capsys):
    init = stored(work / "init", SHAPE)
    with pytest.raises(SystemExit):
        generator(place, "--init", str(init), work=work)
    assert "reads embeddings of (6, 6) numbers, but the mappers predict (64, 64)" in (
        capsys.readouterr().err
    )
