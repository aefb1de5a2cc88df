"""Samplers and fits of many steps: resuming, what is kept, and its picture in the report."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import shared_files
import torch
from PIL import Image
from safetensors.torch import load_file

from brainkit.errors import UsageError
from brainkit.run import prepare, run
from brainkit.run.artefact import Artefact, Recipe
from brainkit.run.config import RunConfig
from brainkit.run.journal import FileJournal, strip_frames


@pytest.fixture
def wander(nsd: Path, registry, tmp_path: Path):
    def wandering(work: str, **settings) -> Path:
        use = {"sampler": "toy-wanderer"}
        settings = {"method": "toy", "nsd": nsd, "work": tmp_path / work, "use": use, **settings}
        return run(prepare(RunConfig(**settings), registry, lambda line: None)).parent

    return wandering


def latents(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {each.name: load_file(each) for each in shared_files.latents(folder)}


def test_a_killed_iteration_goes_on_to_the_same_result(wander, tmp_path, monkeypatch):
    whole = latents(wander("whole", batch_size=4))
    monkeypatch.setenv("TOY_STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        wander("killed", batch_size=4)
    states = list((tmp_path / "killed").rglob("*.state.safetensors"))
    assert {len(load_file(each)["path.losses"]) for each in states} == {3, 6}
    monkeypatch.delenv("TOY_STOP_AT")
    resumed = latents(wander("killed", batch_size=3))
    assert resumed.keys() == whole.keys()
    for name, tensors in whole.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(resumed[name][key], tensor, atol=0, rtol=0)


def test_the_way_lies_beside_the_latent_and_in_the_report(wander):
    folder = wander("way", images=2)
    for tensors in latents(folder).values():
        assert set(tensors) == {"latent", "path.losses", "path.latents", "path.iterations"}
        torch.testing.assert_close(tensors["path.latents"][-1], tensors["latent"].half())
        assert (tensors["path.losses"].diff() < 0).all()
    for strip in (folder / "paths").glob("nsd*"):
        assert Image.open(strip).size == (7 * 64, 64)
        last = np.asarray(Image.open(strip))[:, -64:]
        final = np.asarray(Image.open(folder / "images" / strip.name))
        assert np.abs(last.astype(int) - final).max() <= 1
    page = (folder / "report.html").read_text()
    assert page.count("<polyline") >= 2
    assert [int(each) for each in re.findall(r'alt="Iteration (\d+)"', page)] == 2 * [*range(7)]


def test_a_state_of_other_options_is_not_taken_up(tmp_path):
    path = tmp_path / "nsd00001.safetensors"
    before, now = Recipe("latents", ("rate=1",)), Recipe("latents", ("rate=2",))
    FileJournal([Artefact(path, before)]).keep(0, {"latent": torch.ones(2)})
    assert FileJournal([Artefact(path, before)]).state(0)["latent"].tolist() == [1, 1]
    assert FileJournal([Artefact(path, now)]).state(0) == {}


def test_a_killed_fit_goes_on_from_its_state_to_the_same_weights(wander, tmp_path, monkeypatch):
    fitted = {"images": 2, "use": {"regressor.picture": "toy-descending"}}
    whole = load_file(shared_files.shared(wander("whole", **fitted), "weights/picture"))
    monkeypatch.setenv("TOY_STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        wander("killed", **fitted)
    (state,) = (tmp_path / "killed").rglob("*.state.safetensors")
    assert re.fullmatch(r"picture-[0-9a-f]{16}\.state\.safetensors", state.name)
    assert int(load_file(state)["done"]) == 3
    assert not list(state.parent.glob("picture-????????????????.safetensors"))
    monkeypatch.delenv("TOY_STOP_AT")
    folder = wander("killed", **fitted)
    resumed = load_file(shared_files.shared(folder, "weights/picture"))
    assert (float(whole["began"]), float(resumed["began"])) == (0, 1)
    torch.testing.assert_close(resumed["slope"], whole["slope"], atol=0, rtol=0)
    assert not list(folder.rglob("*.state.safetensors"))


def test_a_fit_of_other_options_begins_anew(wander, monkeypatch):
    fitted = {"images": 2, "use": {"regressor.picture": "toy-descending"}}
    monkeypatch.setenv("TOY_STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        wander("killed", **fitted)
    monkeypatch.delenv("TOY_STOP_AT")
    folder = wander("killed", **fitted, options={"regressor.picture.steps": 4})
    assert float(load_file(shared_files.shared(folder, "weights/picture"))["began"]) == 0
    assert not list(folder.rglob("*.state.safetensors"))


def test_a_strip_shows_first_and_last_and_evenly_between():
    assert strip_frames(1) == [0]
    assert strip_frames(8) == list(range(8))
    frames = strip_frames(301)
    assert (frames[0], frames[-1], len(frames)) == (0, 300, 8)
    assert max(np.diff(frames)) - min(np.diff(frames)) <= 1


def test_features_with_gaps_are_kept_from_conditioners_that_need_all(wander, tmp_path):
    use = {"regressor.picture": "toy-halving"}
    with pytest.raises(UsageError, match=r"regressor.picture leaves out 96 of 192 units"):
        wander("gaps", use=use, ceiling=False)
    decoded = load_file(next((tmp_path / "gaps").rglob("decoded/picture-*.safetensors")))["decoded"]
    assert int(decoded.isnan().sum()) == 96 * len(decoded)


def test_the_report_says_that_a_preset_is_not_the_papers_settings(wander):
    said = "Run with the method&#39;s preset &#39;quick&#39;, not the paper&#39;s settings"
    assert said in (wander("quick", preset="quick", use={}, images=2) / "report.html").read_text()
    assert (
        "Run with the method" not in (wander("paper", use={}, images=2) / "report.html").read_text()
    )


def test_a_preset_sets_options_and_flags_win_over_it(nsd, registry):
    def steps(**settings):
        config = RunConfig(method="toy", nsd=nsd, **settings)
        return config.applied(registry.get).sampler.steps

    assert steps() == 6
    assert steps(preset="quick") == 3
    assert steps(preset="quick", options={"sampler.steps": 4}) == 4
    with pytest.raises(UsageError, match=r"no preset 'quik'.*quick"):
        steps(preset="quik")
