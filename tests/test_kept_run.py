"""Results of an earlier brainkit: what is shared stays current, its runs are left as they are."""

from __future__ import annotations

import gzip
import importlib
import importlib.metadata
import json
import re
import sys
import tarfile
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import pytest
from safetensors.numpy import save_file

import brainkit
from brainkit.errors import UsageError
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.artefact import RECIPE_KEY, Recipe, sidecar
from brainkit.run.config import RunConfig
from brainkit.run.finished import chosen_runs
from brainkit.run.folder import Folder
from brainkit.run.publish import SCORING

KEPT = Path(__file__).parent / "golden" / "kept_run"
RECORD = json.loads(gzip.decompress((KEPT / "recipes.json.gz").read_bytes()))
SHARED = {"trials", "features/picture", "features/length"}
METHODS = ("unibrain", "minddiffuser", "takagi", "mindreader")
# Since then the design has MATLAB's integer types and there are more ROI volumes, so that a run on
# a miniature of today loads its trials anew; the record stands for a folder made then.
TODAY = {**RECORD["fingerprints"], "betas": "df5baf510db8f0b8"}


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


def test_a_run_of_an_earlier_brainkit_is_left_as_it_is_and_told(kept, registry):
    before, old = tree(kept), Path("work/nsd/subj01/toy")
    lines: list[str] = []
    folder = run(prepare(toy_settings(), registry, lines.append)).parent
    (told,) = [line for line in lines if "earlier brainkit" in line]
    assert str(old) in told
    assert str(folder) in told
    after = tree(kept)
    assert {name: after[name] for name in before} == before
    lines.clear()
    assert chosen_runs(Path("work"), None, lines.append) == [Folder(folder.absolute())]
    assert [line for line in lines if str(old) in line and "earlier brainkit" in line]


def test_where_all_runs_are_of_an_earlier_brainkit_that_is_the_sentence(kept, registry):
    lines: list[str] = []
    with pytest.raises(UsageError, match="holds no finished run"):
        chosen_runs(Path("work"), None, lines.append)
    assert [line for line in lines if "earlier brainkit" in line]


def test_what_its_runs_shared_is_taken_up_once_the_folder_is_called_as_now(kept, registry):
    looking = prepare(toy_settings(), registry, lambda line: None, dry=True)
    Path("work/nsd").rename(looking.folder.subject.parent)
    again = prepare(toy_settings(), registry, lambda line: None)
    report = run(again)
    assert set(again.work.kept) >= SHARED
    assert "weights/picture" in again.work.computed
    assert report.is_file()


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
    """Write each recorded file that runs share now without its content, only with its recipe."""
    count = 0
    for name, recipe in RECORD["recipes"].items():
        owner, _, rest = name.partition("/")
        if owner in METHODS and (owner != method or not re.match("weights|decoded", rest)):
            continue
        path = root / name
        if owner in METHODS:
            stem, ending = rest.split(".")
            path = root / f"{stem}-{stamp_of(recipe)}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_skeleton(path, json.dumps(recipe))
        if path.name.startswith("trials-"):
            path.with_suffix(".json").write_text('{"sessions": ["01"], "warnings": []}')
        count += 1
    return count


def stamp_of(recipe: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in recipe.items() if name != "layout"}
    return Recipe(**fields).stamp


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("_miniature_of_then")
def test_what_a_method_computed_before_its_latents_stays_current(method, tmp_path):
    assert write_skeletons(tmp_path / "miniature" / "subj01", method) > 5
    settings = RunConfig(method, images=RECORD["images"], work=tmp_path)
    lines: list[str] = []
    dry = prepare(settings, method_registry(), lines.append, dry=True)
    run(dry)
    early = ("trials", "factor", "features", "weights", "decoded")
    computed = set(dry.work.computed) - {*SCORING}
    assert [step for step in computed if step.startswith(early)] == [], "\n".join(lines)
    assert {f"decoded/{name}" for name in dry.method.encoders} <= set(dry.work.kept)
    changed = {"mindreader": {"regressor.epochs": 3}, "takagi": {"regressor.alphas": [3.0]}}
    options = changed.get(method, {"regressor.alpha": 3.0})
    other = prepare(replace(settings, options=options), method_registry(), list, dry=True)
    run(other)
    assert "trials" in other.work.kept
    assert {f"weights/{name}" for name in dry.method.encoders} <= set(other.work.computed)
