# torch is imported inside functions: one check imports this file afresh and looks for it.
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.samplers.diffusion import DDIM
from brainkit.testing import (
    Check,
    checks,
    conditioner,
    decoder,
    encoder,
    method,
    part,
    plugin,
    regressor,
    sampler,
    tiny_nsd,
)
from brainkit.testing.promise import failing
from brainkit.testing.toys import TOYS, Around, LeastSquares, Told, toy_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store(tmp_path_factory.mktemp("store"))


class Restless(Around):
    times = count()

    def recipe(self, output):
        return f"Restless {next(self.times)}"


class Absent(Around):
    def load(self, store):
        raise RuntimeError("no network")


@dataclass(frozen=True)
class Unexplained:
    name = "unexplained"
    penalty: float = 0.1
    fit, predict = LeastSquares.fit, LeastSquares.predict


BROKEN_METHODS = [
    ("says_what_it_is", {"summary": "two\nlines"}),
    ("says_what_it_is", {"source": " "}),
    ("its_parts_fit_together", {"decoders": {"caption": Told()}}),
    ("its_parts_fit_together", {"selection": Selection(sessions=0)}),
    ("its_parts_fit_together", {"scores": ("ssim_variant",)}),
    ("its_parts_keep_the_common_promises", {"regressors": {"thumbnail": Unexplained()}}),
]


@pytest.mark.parametrize(("promise", "changes"), BROKEN_METHODS)
def test_a_method_that_breaks_one_promise_fails_its_check_alone(promise, changes):
    assert failing(checks.for_method(replace(TOYS, **changes))) == {promise}


@pytest.mark.parametrize("broken", [Restless(), Absent()])
def test_a_method_that_cannot_be_run_and_kept_fails_that_check_alone(broken, store):
    changed = replace(TOYS, conditioner=broken)
    assert failing(checks.for_method(changed, store)) == {"a_run_is_made_once"}


def test_a_whole_method_of_toys_runs_on_the_tiny_nsd(store):
    assert failing(checks.for_method(TOYS, store)) == set()


PLUGIN = """
from dataclasses import dataclass
from brainkit import hookimpl, option

@dataclass(frozen=True)
class Still:
    name = "still"
    pause: int = option(1, "how long to stand still", ge=1)
    def sample(self, condition, seeds, progress=None):
        return condition.start

@hookimpl
def register_samplers(register):
    register(Still())
"""
MISFIT = """
from brainkit.method import Method
from brainkit.encoders.clip import ClipImage
class Nothing:
    name = "nothing"
    needs = gives = checkpoints = ()
    load = None
@hookimpl
def register_methods(register):
    register(Method("odd", "a", "b", {"x": ClipImage()}, {}, Nothing(), Still(), {}))
"""
BROKEN_PLUGINS = [
    ("it_is_admitted", PLUGIN.replace('"still"', '"ddim"')),
    ("it_is_admitted", PLUGIN.replace("register_samplers", "register_sampler")),
    ("it_registers_something", PLUGIN.replace("@hookimpl", "")),
    ("importing_it_loads_no_torch", f"import torch\n{PLUGIN}"),
    ("importing_it_prints_nothing", f"print(1)\n{PLUGIN}"),
    (
        "its_parts_keep_the_common_promises",
        PLUGIN.replace('option(1, "how long to stand still", ge=1)', "1"),
    ),
    ("its_methods_fit_together", PLUGIN + MISFIT),
]
PLUGIN_NUMBERS = count()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a module of a given text, as pip would, and imports it."""

    def install(text, entry_point=True):
        name = f"plugin_under_test_{next(PLUGIN_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        facts = tmp_path / f"{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        if entry_point:
            (facts / "entry_points.txt").write_text(f"[brainkit]\nstill = {name}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return import_module(name)

    return install


@pytest.mark.parametrize(("promise", "text"), BROKEN_PLUGINS)
def test_a_plugin_that_breaks_one_promise_fails_its_check_alone(promise, text, installed):
    assert failing(checks.check_plugin(installed(text))) == {promise}


def test_a_plugin_without_entry_point_fails_that_check_alone(installed):
    module = installed(PLUGIN, entry_point=False)
    assert failing(checks.check_plugin(module)) == {"an_entry_point_names_it"}


def test_a_plugin_that_keeps_its_promises_passes(installed):
    assert failing(checks.check_plugin(installed(PLUGIN))) == set()


def test_every_promise_says_what_it_is_about():
    for kit in (part, regressor, sampler, encoder, decoder, conditioner, method, plugin):
        assert all(promise.__doc__ for promise in kit.PROMISES)


def test_an_expected_failure_that_passes_is_a_failure():
    stated = {"fit_refuses_other_trials": "a test"}
    assert failing(checks.for_regressor(LeastSquares(), expected_failures=stated)) == set(stated)


def test_an_expected_failure_of_no_check_is_refused_with_a_hint():
    with pytest.raises(UsageError, match="Did you mean 'fit_refuses_other_trials'"):
        checks.for_regressor(
            LeastSquares(), expected_failures={"fit_refuses_other_trial": "a test"}
        )


def test_checks_are_named_for_test_ids():
    named = [str(check) for check in checks.for_regressor(LeastSquares())]
    assert len(named) == len(set(named)) == len(part.PROMISES) + len(regressor.PROMISES)
    assert all(isinstance(check, Check) for check in checks.for_sampler(DDIM()))


def test_the_kit_needs_no_pytest():
    import subprocess

    code = "import brainkit.testing, sys; print({'pytest', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_tiny_nsd_can_be_loaded(tmp_path):
    from brainkit.nsd import load_captions, load_stimuli, load_trials

    nsd = tiny_nsd(tmp_path / "new" / "folder")
    trials = load_trials(nsd, 1, Selection())
    assert trials.train.betas.shape == (20, 40)
    assert trials.test.betas.shape == (4, 40)
    ids = trials.test.image_ids
    assert load_stimuli(nsd, ids).shape == (4, 64, 64, 3)
    assert all(len(each) >= 1 for each in load_captions(nsd, ids))
    assert sum(path.stat().st_size for path in Path(nsd).rglob("*") if path.is_file()) < 5e6


def test_two_tiny_nsds_are_equal(tmp_path):
    first, second = tiny_nsd(tmp_path / "a"), tiny_nsd(tmp_path / "b")
    paths = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert paths
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in paths)


def test_a_namespace_is_no_part():
    found = failing(checks.for_regressor(SimpleNamespace(name="n")))
    assert {"is_a_frozen_dataclass", "has_the_members_of_its_kind"} <= found


def test_every_promise_of_methods_and_plugins_is_broken_above():
    methods = {promise for promise, _ in BROKEN_METHODS} | {"a_run_is_made_once"}
    assert methods == {each.__name__ for each in method.PROMISES}
    plugins = {promise for promise, _ in BROKEN_PLUGINS} | {"an_entry_point_names_it"}
    assert plugins == {each.__name__ for each in plugin.PROMISES}


def test_a_broken_package_does_not_keep_the_kit_from_entry_points(tmp_path, monkeypatch):
    from brainkit.testing.plugin import _modules_named

    for name, points in {
        "broken": b"\xff\xfe[brainkit",
        "sound": b"[brainkit]\nmine = mine\n",
    }.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_bytes(points)
    monkeypatch.syspath_prepend(tmp_path)
    assert "mine" in _modules_named()
