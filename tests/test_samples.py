"""Several reconstructions of each image: batches, kills, seeds, and what is scored."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from shared_files import shared
from trees import tree

from brainkit import hookimpl, metrics
from brainkit.checkpoints import CheckpointStore
from brainkit.errors import UsageError
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig, read_config
from brainkit.run.shared import image_seed


@pytest.fixture
def registry(toy) -> Registry:
    """The toy's parts and its method, once as it is and once as a paper with samples."""
    paper = dataclasses.replace(
        toy.TOY, name="paper", samples=2, scores=("target_identification", "ssim_variants")
    )

    class Hooks:
        @hookimpl
        def register_methods(self, register):
            register(paper)

    sources = [
        Source("toy", "brainkit-toy 1.0", lambda: toy),
        Source("paper", "brainkit-paper 1.0", Hooks),
    ]
    return Registry(sources)


@pytest.fixture
def do(nsd, registry, tmp_path):
    def doing(work: str, **settings) -> Path:
        settings = {"method": "toy", "nsd": nsd, "work": tmp_path / work, **settings}
        return run(prepare(RunConfig(**settings), registry, lambda line: None)).parent

    return doing


def lines(folder: Path) -> list[dict]:
    return [json.loads(each) for each in (folder / "captions.jsonl").read_text().splitlines()]


def scores(folder: Path) -> dict[str, dict]:
    found = json.loads((folder / "metrics.json").read_text())["scores"]
    return {each["name"]: each for each in found}


def pictures(folder: Path, sample: int) -> np.ndarray:
    paths = sorted((folder / "images").glob("nsd*.png"))
    wanted = [p for p in paths if int(p.stem.partition("-")[2] or 1) == sample]
    return np.stack([np.asarray(Image.open(each)) for each in wanted])


def test_batch_size_changes_no_sample(do):
    one, seven = (do(f"b{size}", samples=3, batch_size=size) for size in (1, 7))
    names = {path.name for path in (one / "images").glob("nsd*")}
    assert len(names) == 30
    for path in sorted(one.rglob("nsd*.safetensors")):
        other = load_file(seven / path.relative_to(one))["latent"]
        np.testing.assert_allclose(load_file(path)["latent"], other, atol=1e-6)
    assert {n: s["value"] for n, s in scores(one).items()} == pytest.approx(
        {n: s["value"] for n, s in scores(seven).items()}, abs=1e-4, nan_ok=True
    )
    assert [each["caption"] for each in lines(one)] == [each["caption"] for each in lines(seven)]


def test_the_first_sample_is_what_a_run_of_one_sample_makes(do):
    single, several = do("single"), do("several", samples=3)
    before, after = tree(single), tree(several)
    # The null draws as many samples of each image in a run of one, and in a run of three.
    of_images = {name for name in after if "/nsd" in name and "null/" not in name}
    first = {name for name in of_images if "-" not in name.rpartition("/")[2]}
    assert first == {name for name in before if "/nsd" in name and "null/" not in name}
    assert [name for name in first if before[name] != after[name]] == []
    assert [each for each in lines(several) if "sample" not in each] == lines(single)
    assert {each.get("sample", 1) for each in lines(several)} == {1, 2, 3}
    assert before["captions.jsonl"].count(b"sample") == 0
    assert b"samples" not in before["run.toml"]


def test_fewer_samples_are_taken_from_a_run_of_more(do, tmp_path):
    do("same", samples=3, null=False)
    several = tree(tmp_path)
    folder = do("same", samples=2, null=False)
    made = {n for n, content in tree(tmp_path).items() if several.get(n) != content}
    assert made
    assert [name for name in made if f"/runs/{folder.name}/" not in name] == []
    assert "mean over 2 samples of each image" in scores(folder)["SSIM"]["notes"]


def test_samples_differ_by_noise_of_their_own(do):
    folder = do("noise", samples=3, ceiling=False)
    first, second, third = (pictures(folder, sample).astype(float) for sample in (1, 2, 3))
    # The toy leaves noise of about 4 grey levels; that of two samples is independent.
    for a, b in ((first, second), (second, third), (first, third)):
        assert 2 < np.abs(a - b).mean() < 10
    seeds = {image_seed(0, i, out, s) for i in range(9) for out in ("a", "b") for s in range(1, 4)}
    assert len(seeds) == 54


def test_scores_are_means_over_the_samples_of_the_written_files(do, nsd):
    from brainkit.nsd import load_stimuli

    folder = do("means", method="paper", samples=3, ceiling=False)
    images = sorted(int(p.stem[3:]) for p in (folder / "images").glob("nsd?????.png"))
    shown = load_stimuli(nsd, images).astype(float)
    by_hand = np.mean(
        [
            [
                np.corrcoef(a.ravel(), b.ravel())[0, 1]
                for a, b in zip(shown, made.astype(float), strict=True)
            ]
            for made in (pictures(folder, sample) for sample in (1, 2, 3))
        ],
        axis=0,
    )
    score = scores(folder)["pixel correlation"]
    np.testing.assert_allclose(score["per_image"], by_hand, atol=1e-6)
    assert score["value"] == pytest.approx(by_hand.mean(), abs=1e-6)
    assert score["sem"] == pytest.approx(by_hand.std(ddof=1) / len(by_hand) ** 0.5, abs=1e-6)
    assert score["exchange"]["value"] < score["value"]
    assert "the method asks for it" in scores(folder)["SSIM (uniform 7, RGB)"]["notes"][-1]
    page = (folder / "report.html").read_text()
    assert "3 samples of each image are drawn" in page
    assert 'alt="Sample 3 of image' in page


def test_identification_by_target_averages_samples_before_comparing(
    registry, tmp_path, monkeypatch
):
    from brainkit.networks.clip import CLIP_L14
    from brainkit.networks.clip.network import load_image_embedding

    monkeypatch.setenv("BRAINKIT_HOME", str(tmp_path / "home"))
    few = {"miniature.train_images": 40, "miniature.test_images": 8, "miniature.voxels": 60}
    config = RunConfig(method="paper", work=tmp_path / "work", options=few, ceiling=False)
    prepared = prepare(config, registry, lambda line: None)
    folder = run(prepared).parent
    from brainkit.nsd import load_stimuli

    store = CheckpointStore(root=tmp_path, miniature=True)
    embed = load_image_embedding(store, CLIP_L14)
    shown = embed(load_stimuli(prepared.nsd, prepared.chosen)).numpy()
    made = [embed(pictures(folder, sample)).numpy() for sample in (1, 2)]
    n = len(shown)
    r = np.array(
        [[np.mean([np.corrcoef(s, m[j])[0, 1] for m in made]) for j in range(n)] for s in shown]
    )
    wins = [np.mean([r[i, i] > r[i, j] for j in range(n) if j != i]) for i in range(n)]
    score = scores(folder)["two-way identification, CLIP (miniature), by target"]
    assert score["value"] == pytest.approx(np.mean(wins), abs=1e-9)
    assert "each stimulus is held against all reconstructions" in score["notes"][0]
    assert "two-way identification, CLIP (miniature)" in scores(folder)


def test_a_methods_own_number_of_samples_counts_unless_another_is_asked_for(registry, nsd):
    def samples(**settings):
        config = RunConfig(method="paper", nsd=nsd, **settings)
        method = config.applied(registry.get)
        return method.samples, config.resolved(method).samples

    assert samples() == (2, 2)
    assert samples(samples=1) == (1, 1)
    assert samples(samples=5) == (5, 5)


def test_a_run_file_asks_for_the_same_samples(do, tmp_path, registry):
    from brainkit.run.config import read_config

    folder = do("file", method="paper", samples=1)
    again = RunConfig(**{**read_config(folder / "run.toml"), "work": tmp_path / "again"})
    other = run(prepare(again, registry, lambda line: None)).parent
    assert {n: b for n, b in tree(folder).items() if "nsd" in n} == {
        n: b for n, b in tree(other).items() if "nsd" in n
    }


@pytest.mark.parametrize("samples", [0, -2, 2.5, True])
def test_impossible_numbers_of_samples_are_refused(samples, nsd):
    with pytest.raises(UsageError, match=rf"--samples is {str(samples).lower()}, .* of 1 or more"):
        RunConfig(method="toy", nsd=nsd, samples=samples).check()


def test_methods_with_unknown_scores_or_no_samples_are_refused(toy):
    wrong = dataclasses.replace(toy.TOY, scores=("ssim_variant",))
    with pytest.raises(UsageError, match=r"toy: scores has 'ssim_variant'.*Did you mean 'ssim_va"):
        RunConfig("toy").applied(lambda kind, name: wrong)
    with pytest.raises(UsageError, match="toy: samples is 0, expected 1 or more"):
        dataclasses.replace(toy.TOY, samples=0).check()
    right = dataclasses.replace(toy.TOY, scores=tuple(metrics.GROUPS), samples=3)
    assert RunConfig("toy").applied(lambda kind, name: right) == right


def test_units_that_were_not_predicted_do_not_count_in_a_features_scores(nsd, toy, tmp_path):
    from sklearn.metrics import r2_score

    @dataclasses.dataclass(frozen=True)
    class Reading(toy.Straight):
        name = "reading"
        reads_gaps = True

        def load(self, store):
            prepare = super().load(store)
            return lambda given: prepare({n: t.nan_to_num(0.0) for n, t in given.items()})

    method = dataclasses.replace(
        toy.TOY,
        conditioner=Reading(),
        regressors={**toy.TOY.regressors, "picture": toy.Halving()},
    )
    config = RunConfig(method="toy", nsd=nsd, work=tmp_path, ceiling=False)
    lookup = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])
    prepared = dataclasses.replace(prepare(config, lookup, lambda line: None), method=method)
    folder = run(prepared).parent
    true = load_file(shared(folder, "features/picture"))["test"]
    decoded = load_file(shared(folder, "decoded/picture"))["decoded"]
    rows = (array.reshape(10, -1)[:, ::2].astype(float) for array in (true, decoded))
    found = scores(folder)["picture variance explained"]
    assert found["value"] == pytest.approx(
        r2_score(*rows, multioutput="variance_weighted"), abs=1e-5
    )
    for name in ("picture variance explained", "two-way identification, picture"):
        assert "96 of 192 units are predicted and count" in scores(folder)[name]["notes"]
    (note,) = scores(folder)["length variance explained"]["notes"]
    assert note.startswith("noise ceiling")


def test_each_sample_keeps_a_journal_of_its_own(do, tmp_path, monkeypatch):
    settings = {"use": {"sampler": "toy-wanderer"}, "samples": 3, "images": 3, "ceiling": False}
    whole = do("whole", batch_size=4, **settings)
    monkeypatch.setenv("TOY_STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        do("stopped", batch_size=4, **settings)
    left = list((tmp_path / "stopped").rglob("*.state.safetensors"))
    assert {each.name.partition(".")[0][-2:] for each in left} & {"-2", "-3"}
    monkeypatch.delenv("TOY_STOP_AT")
    resumed = do("stopped", batch_size=2, **settings)
    found, expected = tree(resumed.parents[1] / "latents"), tree(whole.parents[1] / "latents")
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    first = {path.name for path in (whole / "images").glob("nsd?????.png")}
    assert {path.name for path in (whole / "paths").glob("*.png")} == first


@pytest.mark.parametrize("images", [1, 2])
def test_few_images_with_samples_are_scored_as_far_as_they_can_be(do, images):
    found = scores(do("few", method="paper", images=images))
    assert found["pixel correlation"]["n"] == images
    assert "SSIM (one window, grey)" in found


def test_show_and_plan_tell_the_samples(registry, nsd, tmp_path):
    from brainkit.cli.described import described
    from brainkit.cli.run import plan
    from brainkit.tables import laid_out

    said = laid_out(described(registry.get("method", "paper")))
    assert "--samples 2" in said
    assert "target_identification, ssim_variants" in said
    config = RunConfig(method="paper", nsd=nsd, work=tmp_path, samples=4)
    assert "10 to be reconstructed 4 times" in plan(
        prepare(config, registry, lambda line: None, dry=True)
    )


def test_killed_runs_resume_sample_by_sample_to_the_same_bytes(nsd, cli, tmp_path):
    few = ("--nsd", nsd, "--images", 4, "--samples", 3, "--batch-size", 2)
    words = ("run", "toy", *few, "--work")
    killed = cli.process(*words, "killed", env={"TOY_SECONDS": "0.15"})
    end = time.monotonic() + 120
    while len(list((tmp_path / "killed").rglob("latents/image-*/nsd*-*.safetensors"))) < 3:
        assert time.monotonic() < end
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    made = len(list((tmp_path / "killed").rglob("latents/caption-*/nsd*.safetensors")))
    lines = cli(*words, "killed").stderr.splitlines()
    cli(*words, "whole")
    line = next(line for line in lines if line.startswith("latents/brain"))
    assert f"computing {12 - made} of 12 samples" in line
    assert 3 <= made < 12
    found, expected = tree(tmp_path / "killed"), tree(tmp_path / "whole")
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_group_of_scores_is_added_to_any_method(do, tmp_path):
    plain, more = do("plain"), do("more", scores=("ssim_variants", "mindeye2"))
    added = scores(more).keys() - scores(plain).keys()
    assert {"SSIM (one window, grey)", "SSIM (uniform 7, RGB)"} < added
    assert any(name.endswith("(mindeye2)") for name in added)
    assert read_config(more / "run.toml")["scores"] == ("ssim_variants", "mindeye2")
    with pytest.raises(UsageError, match=r"--scores has 'ssim_variant'.*Did you mean"):
        do("wrong", scores=("ssim_variant",))
