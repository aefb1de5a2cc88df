"""The straight line: what is kept, what is computed again and why, and what a failure says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from shared_files import shared
from trees import tree

from brainkit.errors import BrainkitError, PartError, UsageError
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig


@pytest.fixture
def do(nsd: Path, registry, tmp_path: Path):
    """Run the toy method with settings and give (lines said, folder of results)."""

    def doing(**settings):
        said: list[str] = []
        settings = {"method": "toy", "nsd": nsd, "work": tmp_path, **settings}
        dry = settings.pop("dry", False)
        report = run(prepare(RunConfig(**settings), registry, said.append, dry=dry))
        return said, report.parent

    return doing


def computing(said: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in said if "comput" in line.partition(":")[2]} - {
        line for line in said if " steps " in line
    }


def test_a_run_writes_pictures_captions_scores_and_a_report(do):
    _, folder = do()
    assert len(list((folder / "images").glob("nsd*.png"))) == 10
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    assert [line["image_id"] for line in lines] == sorted(line["image_id"] for line in lines)
    assert len(lines) == 10
    scores = json.loads((folder / "metrics.json").read_text())
    names = [each["name"] for each in scores["scores"]]
    assert "pixel correlation" in names
    assert "BLEU-4@allref" in names
    assert "<html" in (folder / "report.html").read_text()


def test_the_ceiling_shows_the_stimulus_itself(do, nsd):
    from brainkit.nsd import load_stimuli

    _, folder = do(options={"sampler.steps": 50})
    for path in (folder / "true" / "images").glob("*.png"):
        shown = load_stimuli(nsd, [int(path.stem[3:])])[0].astype(float)
        coarse = shown.reshape(8, 8, 8, 8, 3).mean((1, 3)).repeat(8, 0).repeat(8, 1)
        # The toy's lowest noise level is 0.03 of the range of 2, about 4 grey levels.
        assert np.abs(np.asarray(Image.open(path)) - coarse).mean() < 8


def test_an_identical_second_run_computes_nothing(do):
    first, folder = do()
    before = tree(folder.parents[1])
    second, _ = do()
    assert computing(first)
    assert [line for line in first if "computing" in line and "(new" not in line] == []
    assert not computing(second)
    assert tree(folder.parents[1]) == before


@pytest.mark.parametrize(
    ("options", "again", "why"),
    [
        ({"sampler.steps": 4}, {"latents", "images", "captions"}, "steps 6 -> 4"),
        ({"regressor.length.alpha": 3.0}, {"weights/length", "decoded/length", "latents"}, "10.0"),
        ({"conditioner.words": 2}, {"latents", "captions"}, "words 1 -> 2"),
        ({"encoder.picture.gain": 2.0}, {"features/picture", "weights/picture"}, "1.0 -> 2.0"),
        ({"selection.standardise": "none"}, {"trials", "factor", "weights/length"}, "session"),
    ],
)
def test_one_changed_option_recomputes_what_depends_on_it_and_says_why(do, options, again, why):
    do()
    said, _ = do(options=options)
    done = computing(said)
    for step in again:
        assert any(each == step or each.startswith(f"{step}/") for each in done), (step, done)
    assert any(why in line for line in said)
    untouched = {
        "sampler.steps": "weights",
        "regressor.length.alpha": "weights/picture",
        "conditioner.words": "decoded",
        "encoder.picture.gain": "features/length",
        "selection.standardise": "features",
    }[next(iter(options))]
    assert not any(each.startswith(untouched) for each in done)


def test_a_deleted_picture_is_made_again_with_its_batch(do):
    _, folder = do()
    picture = sorted((folder / "images").glob("*.png"))[3]
    before = picture.read_bytes()
    picture.unlink()
    said, _ = do()
    assert "images/brain: computing 10 of 10 images (new, 9 with their batch)" in said
    assert any(line.startswith("latents/brain: kept") for line in said)
    assert picture.read_bytes() == before


def test_batch_size_and_subsets_do_not_change_an_image(do, nsd, registry, tmp_path):
    _, whole = do(work=tmp_path / "a", batch_size=10)
    _, parts = do(work=tmp_path / "b", batch_size=3, images=4)
    _, parts = do(work=tmp_path / "b", batch_size=1)
    a, b = tree(whole / "images"), tree(parts / "images")
    assert a == b
    assert (whole / "captions.jsonl").read_bytes() == (parts / "captions.jsonl").read_bytes()


def test_another_seed_changes_the_noise(do, tmp_path):
    _, first = do(work=tmp_path / "a")
    _, second = do(work=tmp_path / "b", seed=1)
    assert tree(first / "images") != tree(second / "images")


def test_chosen_images_are_the_only_ones_reconstructed(do, nsd, registry):
    _, folder = do(images=3)
    ids = [int(each.stem[3:]) for each in sorted((folder / "images").glob("*.png"))]
    assert len(ids) == 3
    _, folder = do(images=(ids[1],), work=folder.parents[3] / "other")
    assert [int(each.stem[3:]) for each in (folder / "images").glob("*.png")] == [ids[1]]


def test_a_dry_run_writes_nothing_and_tells_the_steps(do, tmp_path):
    said, _ = do(dry=True, work=tmp_path / "dry")
    assert not (tmp_path / "dry").exists()
    assert {"trials", "features/picture", "weights/length", "latents/brain"} <= computing(said)
    assert any("trials" in line and "writes" in line for line in said)


def test_without_a_ceiling_nothing_is_made_from_true_features(do):
    _, folder = do(ceiling=False)
    assert not (folder / "true").exists()
    scores = json.loads((folder / "metrics.json").read_text())["scores"]
    assert all(each["true_features"] is None for each in scores)


def test_single_trials_train_but_one_picture_is_made_of_each_image(do):
    _, folder = do(options={"selection.repeats": "single"})
    assert len(list((folder / "images").glob("*.png"))) == 10


def test_test_betas_never_reach_another_images_prediction(do, nsd, registry, tmp_path):
    from safetensors.numpy import load_file

    _, folder = do(work=tmp_path / "a")
    predicted = load_file(shared(folder, "decoded/picture"))["decoded"]
    alone = registry.get("method", "toy").regressors["picture"]
    import torch

    trials = load_file(shared(folder, "trials"))
    features = load_file(shared(folder, "features/picture"))
    train, feature = torch.tensor(trials["train_betas"]), torch.tensor(features["train"])
    weights = alone.fit(train, feature)
    single = alone.predict(weights, torch.tensor(trials["test_betas"][:1]), feature)
    # Stored as float16: 1e-3 of values around 1.
    np.testing.assert_allclose(predicted[:1].astype(float), single.numpy(), atol=3e-3)


def test_test_batch_scaling_heads_the_report(do):
    _, folder = do(options={"regressor.picture.scaling": "test-batch"})
    found = json.loads((folder / "metrics.json").read_text())["findings"]
    said = [each["sentence"] for each in found if each["kind"] == "test-statistics"]
    assert [each.split()[0] for each in said] == ["regressor.picture"]
    assert "depends on the others" in said[0]


def test_a_failing_part_is_named_with_its_distribution_and_cause(do):
    with pytest.raises(PartError) as caught:
        do(use={"regressor.length": "toy-failing"})
    assert "regressor 'toy-failing' (brainkit-toy 1.0) failed fitting length" in str(caught.value)
    assert "the voxels are upside down" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "tpy"}, ("no method named 'tpy'", "Did you mean 'toy'")),
        ({"options": {"sampler.stpes": 3}}, ("ddim has no option 'stpes'", "steps")),
        ({"options": {"smplr.steps": 3}}, ("toy has no part 'smplr'", "sampler")),
        ({"options": {"sampler.steps": 0}}, ("sampler.steps is 0", "a whole number of 1 or more")),
        ({"options": {"steps": 3}}, ("'steps'", "sampler.steps=20")),
        ({"use": {"regressor": "rigde"}}, ("no regressor named 'rigde'", "ridge")),
        ({"images": 11}, ("--images is 11", "10 test images")),
        ({"images": (999_999,)}, ("999999", "10 test images")),
        ({"subject": 9}, ("--subject is 9", "1 to 8")),
        ({"device": "gpu"}, ("--device is 'gpu'", "cuda")),
        ({"dtype": "float8"}, ("--dtype is 'float8'", "float32")),
        ({"batch_size": 0}, ("--batch-size is 0",)),
        ({"nsd": Path("/nowhere")}, ("/nowhere",)),
        ({"options": {"miniature.voxels": 50}}, ("miniature.*", "--nsd")),
        ({"nsd": None, "options": {"miniature.voxles": 50}}, ("'voxles'", "voxels")),
        ({"nsd": None, "options": {"miniature.voxels": 5}}, ("voxels is 5", "at least 40")),
        ({"nsd": None, "subject": 3}, ("--subject is 3", "subjects 1, 2, 5 and 7")),
    ],
)
def test_wrong_input_gets_one_sentence(do, settings, words, tmp_path):
    with pytest.raises(BrainkitError) as caught:
        do(**settings)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir()), "something was computed before the input was checked"


def test_cuda_asked_for_but_absent_is_a_usage_error(do):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UsageError, match="0 CUDA devices"):
        do(device="cuda")


def test_a_run_file_gives_the_same_results(do, tmp_path):
    from brainkit.run.config import read_config

    _, first = do(work=tmp_path / "a", options={"sampler.steps": 5}, seed=3)
    values = read_config(first / "run.toml")
    assert values["options"]["sampler.steps"] == 5
    _, second = do(**{**values, "work": tmp_path / "b"})
    assert tree(first / "images") == tree(second / "images")


def test_a_feature_may_have_voxels_of_its_own(do):
    both = {"selection.roi": "streams:early,streams:ventral"}
    own = {"selection.by_feature": ["picture=streams:early", "length=streams:ventral"]}
    _, folder = do(options=both | own, images=2)
    _, early = do(
        options={"selection.roi": "streams:early"}, work=folder.parents[3] / "early", images=2
    )
    _, ventral = do(
        options={"selection.roi": "streams:ventral"}, work=folder.parents[3] / "v", images=2
    )
    for feature, alone in (("picture", early), ("length", ventral)):
        mixed = load_file(shared(folder, f"decoded/{feature}"))["decoded"]
        only = load_file(shared(alone, f"decoded/{feature}"))["decoded"]
        torch.testing.assert_close(mixed, only, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("picture", "expected FEATURE=ROI"),
        ("pictures=streams:early", "a feature among .'length', 'picture'."),
        ("picture=streams:parietal", "none of them is in selection.roi"),
        ("picture=streams:nowhere", "nowhere"),
    ],
)
def test_wrong_voxels_of_a_feature_are_told_in_a_sentence(do, entry, said):
    options = {"selection.roi": "streams:early", "selection.by_feature": [entry]}
    with pytest.raises(UsageError, match=said):
        do(options=options)
