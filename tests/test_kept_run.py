"""What an earlier brainkit computed stays current: it is neither computed nor written again."""

from __future__ import annotations

import gzip
import importlib
import importlib.metadata
import json
import sys
import tarfile
import warnings
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import pytest
from safetensors.numpy import save_file

import brainkit
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.artefact import RECIPE_KEY, sidecar
from brainkit.run.config import RunConfig
from brainkit.run.finished import finished, map_runs
from brainkit.run.publish import SCORING

KEPT = Path(__file__).parent / "golden" / "kept_run"
RECORD = json.loads(gzip.decompress((KEPT / "recipes.json.gz").read_bytes()))
STEPS = {
    *("trials", "features/picture", "features/length", "weights/picture", "decoded/picture"),
    *("weights/length", "decoded/length", "latents/brain", "images/brain", "captions/brain"),
    *("latents/true", "images/true", "captions/true", "metrics", "report"),
}
# Since then the design has MATLAB's integer types and there are more ROI volumes, so that a run on
# a miniature of today loads its trials anew; the record stands for a folder made then.
TODAY = {**RECORD["fingerprints"], "betas": "df5baf510db8f0b8"}
SCORED = ("leaks-", "metrics.json", "report.html", "run.toml")
IMAGES = {"unibrain": 4, "minddiffuser": 4, "takagi": 20, "mindreader": 4}


@pytest.fixture(autouse=True)
def _libraries_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that the libraries are those of the record, as scores and reports depend on them."""
    recorded = RECORD["versions"]
    installed = importlib.metadata.version

    def version(name: str) -> str:
        return recorded.get(name) or installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(
        sys, "version", sys.version.replace(sys.version.split()[0], recorded["python"])
    )
    monkeypatch.setattr(brainkit, "__version__", recorded["brainkit"])
    # The record is of a CPU, where networks compute in another dtype than on a GPU.
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the whole run, in the current folder: data under `nsd`, results under `work`."""
    with tarfile.open(KEPT / "run.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # Its run file names the data by the relative path `nsd`.
    return tmp_path


def toy_settings(**more: Any) -> RunConfig:
    return RunConfig(
        method="toy",
        nsd=Path("nsd"),
        work=Path("work"),
        use={"regressor.length": "toy-descending", "sampler": "toy-wanderer"},
        options={"sampler.iterations": 3, **more},
        samples=2,
    )


def passed_over(path: Path) -> bool:
    """Say whether a file is a lock, or records of when others were written."""
    return ".lock" in path.name or path.name == ".records.jsonl"


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of each file; the settings are written down by every run, so without time."""
    files = [path for path in folder.rglob("*") if path.is_file() and not passed_over(path)]
    return {
        path.relative_to(folder).as_posix(): (
            path.read_bytes(),
            0 if path.name == "run.toml" else path.stat().st_mtime_ns,
        )
        for path in files
    }


def results(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What lies in a tree but for what is scored anew: leaks and options were fewer."""
    files = tree(folder).items()
    return {name: file for name, file in files if not any(word in name for word in SCORED)}


def test_a_finished_run_of_an_earlier_brainkit_is_neither_computed_nor_written(kept, registry):
    before = results(kept)
    again = prepare(toy_settings(), registry, lambda line: None)
    run(again)
    assert set(again.work.computed) <= {*SCORING}
    assert {*again.work.kept, *SCORING} >= STEPS
    assert results(kept) == before
    scored = tree(kept)
    run(again)
    assert tree(kept) == scored


def test_a_changed_option_is_noticed_in_it(kept, registry):
    again = prepare(toy_settings(**{"sampler.iterations": 4}), registry, lambda line: None)
    run(again)
    assert set(again.work.computed) >= {"latents/brain", "images/true", "metrics", "report"}
    assert "weights/length" in again.work.kept


def test_it_counts_as_finished_and_keeps_its_maps(kept, registry):
    before = results(kept)
    (settings,) = finished(Path("work"), registry)
    assert settings.use == toy_settings().use
    lines: list[str] = []
    map_runs(Path("work"), registry, asked=["picture"], say=lines.append)
    computed = {line.partition(":")[0] for line in lines if "computing" in line}
    assert computed <= {*SCORING}
    assert "maps/picture-slices: kept" in lines
    assert results(kept) == before


def method_registry() -> Registry:
    """The plugins of the record under the versions they had, so that none need be released."""
    names = sorted({text.partition(" ")[0] for text in RECORD["distributions"].values()})
    versions = dict(text.split() for text in RECORD["distributions"].values())
    sources = []
    for name in names:
        module = name.replace("-", "_")
        pytest.importorskip(module, reason="the plugin is not installed here")
        load = partial(importlib.import_module, module)
        sources.append(Source(name, f"{name} {versions[name]}", load))
    return Registry(sources)


def write_skeletons(root: Path, method: str) -> int:
    """Write each recorded file of a method without its content, only with its recipe."""
    own = {"unibrain", "minddiffuser", "takagi", "mindreader"} - {method}
    chosen = {k: v for k, v in RECORD["recipes"].items() if k.partition("/")[0] not in own}
    for name, recipe in chosen.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_skeleton(path, json.dumps(recipe))
        if path.name.startswith("trials-"):
            path.with_suffix(".json").write_text('{"sessions": ["01"], "warnings": []}')
    for name, text in RECORD["texts"].items():
        if name.startswith(f"{method}/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
    return len(chosen)


def _write_skeleton(path: Path, recipe: str) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if path.suffix == ".safetensors":
        save_file({}, path, metadata={RECIPE_KEY: recipe})
    elif path.suffix == ".png":
        info = PngInfo()
        info.add_text(RECIPE_KEY, recipe)
        Image.new("RGB", (1, 1)).save(path, pnginfo=info)
    else:
        path.write_text("")
        sidecar(path).write_text(recipe, encoding="utf-8")


@pytest.fixture
def _miniature_of_then(monkeypatch: pytest.MonkeyPatch, shared_home: Path) -> None:
    """Recognise the miniature made here as the recorded one, also if libraries wrote other bytes.

    A gzip or HDF5 file of the same content has other bytes when other versions of zlib or HDF5
    wrote it, and brainkit tells files by their bytes. Written by the versions of the record, they
    have to be the same.
    """
    from brainkit.nsd import fingerprint

    monkeypatch.setenv("BRAINKIT_HOME", str(shared_home))
    compute, recorded = fingerprint.fingerprints, RECORD["fingerprints"]
    writers = {"zlib": zlib.ZLIB_RUNTIME_VERSION, "hdf5": h5py.version.hdf5_version}

    def fingerprints(*arguments: Any) -> dict[str, str]:
        here = compute(*arguments)
        if here != TODAY:
            assert writers != RECORD["writers"], "the miniature has other content than before"
            warnings.warn(f"the miniature was written by {writers}, not as recorded", stacklevel=2)
        return recorded

    monkeypatch.setattr(fingerprint, "fingerprints", fingerprints)


@pytest.mark.parametrize("method", IMAGES)
@pytest.mark.usefixtures("_miniature_of_then")
def test_a_finished_run_of_a_method_stays_current(method, tmp_path):
    root = tmp_path / "miniature" / "subj01"
    assert write_skeletons(root, method) > 10
    settings = RunConfig(method, images=RECORD["images"], work=tmp_path)
    lines: list[str] = []
    dry = prepare(settings, method_registry(), lines.append, dry=True)
    run(dry)
    assert set(dry.work.computed) <= {*SCORING}, "\n".join(lines)
    assert any(f"latents/brain: kept ({IMAGES[method]} " in line for line in lines)
    assert "images/true" in dry.work.kept
    other = prepare(replace(settings, seed=1), method_registry(), lines.append, dry=True)
    run(other)
    assert {"latents/brain", "images/true"} <= set(other.work.computed)
