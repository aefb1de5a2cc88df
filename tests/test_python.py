"""Methods, runs and results from Python, as a notebook uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import brainkit
from brainkit import Method, load_method, load_part, load_result, run_method
from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.metrics import pixel_correlation, two_way_identification
from brainkit.options import option
from brainkit.plugins import Registry, Source
from brainkit.regressors import FoldRidge, Ridge, VoxelSelectedRidge
from brainkit.run import RunConfig
from brainkit.run.config import read_config, to_toml

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    monkeypatch.setenv("BRAINKIT_PLUGINS", "toy")


@pytest.fixture
def quick(nsd, tmp_path):
    """Return a function that runs a method on the tiny download."""

    def run(method, **settings):
        told = []
        given = {"nsd": nsd, "work": tmp_path / "w", "images": 3, **settings}
        result = run_method(method, say=told.append, **given)
        return result, told

    return run


def test_importing_brainkit_names_everything_and_imports_nothing_heavy():
    code = (
        "import sys, brainkit; names = dir(brainkit); "
        "print([n for n in ('torch', 'numpy', 'pandas', 'rich') if n in sys.modules], "
        "sorted(set(brainkit.__all__) - set(names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
    for name in brainkit.__all__:
        assert getattr(brainkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_methods'"):
        _ = brainkit.load_methods


def test_a_run_from_python_is_the_run_of_the_command_line(quick, cli, nsd, tmp_path):
    result, told = quick("toy", options={"sampler.steps": 3})
    assert any("latents/brain: computing" in line for line in told)
    words = ("--nsd", nsd, "--images", 3, "--work", "w", "-o", "sampler.steps=3")
    again = cli("run", "toy", *words)
    assert "0 steps computed" in again.stderr
    assert tmp_path / again.stdout.splitlines()[-1] == result.report


def test_a_changed_method_is_run_by_its_changes(quick, tmp_path):
    method = load_method("toy").replace({"sampler.steps": 4, "regressor": Ridge(alpha=5.0)})
    result, _ = quick(method, ceiling=False)
    settings = read_config(result.folder / "run.toml")
    assert settings["method"] == "toy"
    assert settings["options"]["regressor.picture.alpha"] == 5.0
    assert not settings.get("composition")
    assert "sampler.steps=4" in result.folder.name


@dataclass(frozen=True)
class Brightest:
    """Predict every trial as the training trial with the largest feature."""

    name = "brightest"
    rowwise = True
    gain: float = option(1.0, "factor", gt=0)

    def fit(self, betas, feature):
        """Keep the feature of one trial."""
        best = feature.reshape(len(feature), -1).float().sum(1).argmax()
        return {"best": feature[best].float().clone() * self.gain}

    def predict(self, weights, betas, feature):
        """Return it for each trial."""
        return weights["best"].expand(len(betas), *weights["best"].shape).clone()


def test_a_method_of_a_notebook_runs_and_the_command_line_reports_it(quick, cli, tmp_path):
    mine = load_method("toy").replace(
        {"regressor.picture": Brightest(gain=0.5)}, name="mine", summary="one picture for all"
    )
    result, _ = quick(mine)
    assert result.method == "mine"
    decoded = [load_file(path) for path in tmp_path.glob("w/*/subj01/decoded/picture-*")]
    assert [len(np.unique(each["decoded"].reshape(10, -1), axis=0)) for each in decoded] == [1]
    settings = read_config(result.folder / "run.toml")
    assert settings["composition"]["regressor.picture"] == "brightest"
    assert settings["options"]["regressor.picture.gain"] == 0.5
    # Its parts are known to the notebook alone: what there is is shown.
    before = result.report.read_bytes()
    told = cli("report", "w", code=0)
    assert tmp_path / told.stdout.strip() == result.report
    assert "keeps the report it has: no plugin registers" in told.stderr
    assert result.report.read_bytes() == before
    assert load_result(tmp_path / "w", result.folder.name).method == "mine"
    again, lines = quick(mine)
    assert any("0 steps computed" in line for line in lines)
    assert again.folder == result.folder


def test_parts_that_nobody_registers_need_a_name_of_their_own(quick):
    with pytest.raises(UsageError, match=r"method.replace\(name='my-toy'\)"):
        quick(load_method("toy").replace({"regressor.picture": Brightest()}))


@pytest.mark.parametrize(
    ("name", "said"), [("../evil", "expected a word"), ("report", "a command of brainkit")]
)
def test_a_name_that_cannot_be_typed_is_refused(quick, name, said):
    with pytest.raises(UsageError, match=said):
        quick(load_method("toy").replace(name=name))


def test_a_setting_that_is_none_is_told(quick):
    with pytest.raises(UsageError, match="a run has no setting 'steps'"):
        quick("toy", steps=3)
    with pytest.raises(UsageError, match="subject is 9"):
        quick("toy", subject=9)
    with pytest.raises(UsageError, match="no method named 'tpy'"):
        load_method("tpy")
    with pytest.raises(UsageError, match="kind is 'model'"):
        load_part("model", "ddim")


@pytest.fixture
def parts_registry(toy):
    """Everything of the toy method registered by itself, and no method."""
    from types import SimpleNamespace

    from brainkit import hookimpl

    def registering(kind):
        @hookimpl
        def registered(register):
            found = {p.name: p for a, p in toy.TOY.parts() if a.partition(".")[0] == kind}
            for part in found.values():
                if part.name not in ("ridge", "ddim"):  # core's
                    register(part)

        return registered

    kinds = ("encoder", "regressor", "conditioner", "sampler", "decoder")
    plugin = SimpleNamespace(**{f"register_{kind}s": registering(kind) for kind in kinds})
    return Registry([Source("parts", "brainkit-parts 1.0", lambda: plugin)])


def test_a_method_is_put_together_again_from_its_run_file(parts_registry, toy, tmp_path):
    mine = toy.TOY.replace(
        {"sampler.steps": 4, "selection": Selection(sessions=2)},
        name="mine",
        footnotes=("No paper.", "Two sentences."),
        presets={},
    )
    config = RunConfig("mine", composition=mine.composition, samples=mine.samples)
    (tmp_path / "run.toml").write_text(to_toml(config.resolved(mine), "brainkit run"))
    settings = read_config(tmp_path / "run.toml")
    assert RunConfig(**settings).composed(parts_registry.get) == mine


def test_a_composition_that_lacks_a_part_is_told(parts_registry, toy):
    names = {k: v for k, v in toy.TOY.composition.items() if k != "sampler"}
    with pytest.raises(UsageError, match="the composition of mine lacks sampler"):
        Method.of_parts("mine", names, parts_registry.get)


def test_a_result_has_scores_pictures_captions_and_a_report(quick):
    result, _ = quick("toy")
    assert result.images.shape == (3, *result.images.shape[1:3], 3)
    assert result.images.dtype == np.uint8
    assert len(result.captions) == len(result.image_ids) == 3
    assert result.report.read_text().startswith("<!doctype html>")
    assert not np.array_equal(result.images, result.images_from("true"))
    stimuli = brainkit.load_stimuli(
        Path(read_config(result.folder / "run.toml")["nsd"]), result.image_ids
    )
    # The table says what the metrics say of the arrays.
    mine = pixel_correlation(stimuli, result.images).mean
    assert result.scores["pixel correlation"]["value"] == pytest.approx(mine)
    assert result.scores["pixel-correlation"] == result.scores[0]
    assert len(result.scores[:2]) == 2
    with pytest.raises(KeyError, match="there are"):
        _ = result.scores["nothing"]


def test_a_result_is_short_in_words_and_a_page_in_a_notebook(quick):
    result, _ = quick("toy", ceiling=False)
    assert len(repr(result)) < 250
    assert repr(result).startswith("<Result of toy, subj01, 3 images, pixel correlation ")
    lines = repr(result.scores).splitlines()
    assert len(lines) == 1 + len(result.scores)
    page = result._repr_html_()
    assert page.count("<img ") == 3
    assert page.count("<tr>") == 1 + len(result.scores)
    assert "<script" not in page


def test_scores_become_a_data_frame(quick):
    pandas = pytest.importorskip("pandas")
    result, _ = quick("toy", ceiling=False)
    frame = result.scores.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["name"]) == [row["name"] for row in result.scores]


def test_without_pandas_that_is_one_sentence(quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    result, _ = quick("toy", ceiling=False)
    with pytest.raises(UsageError, match="pip install pandas"):
        result.scores.to_pandas()


def test_several_runs_are_chosen_by_name(quick, tmp_path):
    first, _ = quick("toy", ceiling=False)
    quick("toy", ceiling=False, options={"sampler.steps": 2})
    with pytest.raises(UsageError, match="2 runs; choose one by name"):
        load_result(tmp_path / "w")
    assert load_result(tmp_path / "w", first.folder.name) == first
    with pytest.raises(UsageError, match="no run"):
        load_result(tmp_path / "nothing")


@pytest.mark.parametrize(
    "regressor", [Ridge(), Ridge(alpha="cv"), FoldRidge(), VoxelSelectedRidge()]
)
def test_regressors_take_arrays_as_they_take_tensors(regressor):
    generator = np.random.default_rng(0)
    betas = generator.normal(size=(40, 12)).astype(np.float32)
    feature, new = betas @ generator.normal(size=(12, 5)).astype(np.float32), betas[:7]
    arrays = regressor.predict(regressor.fit(betas, feature), new, feature)
    tensors = [torch.from_numpy(each) for each in (betas, feature, new)]
    expected = regressor.predict(regressor.fit(*tensors[:2]), tensors[2], tensors[1])
    assert torch.equal(arrays.nan_to_num(), expected.nan_to_num())


def test_metrics_take_tensors_as_they_take_arrays():
    generator = np.random.default_rng(0)
    true, found = generator.normal(size=(2, 20, 8)).astype(np.float32)
    tensors = torch.from_numpy(true), torch.from_numpy(found)
    expected = two_way_identification(true, found, network="any").mean
    assert two_way_identification(*tensors, network="any").mean == expected


NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_example_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch, cli_with):
    cli_with("unibrain")  # skips where that is not installed
    monkeypatch.setenv("BRAINKIT_PLUGINS", "unibrain")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [each for each in notebook["cells"] if each["cell_type"] == "code"]
    assert [each for each in cells if each["outputs"] or each["execution_count"]] == []
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in cells:
        exec(compile("".join(cell["source"]), str(path), "exec"), names)
    assert names["result"].image_ids


def test_there_is_an_example_notebook():
    assert NOTEBOOKS
