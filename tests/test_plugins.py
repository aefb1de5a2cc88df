import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib import metadata
from types import ModuleType

import pytest

from brainkit import hookimpl, option
from brainkit.errors import BrainkitWarning, UsageError
from brainkit.plugins import MEMBERS, Registry, Source, installed_sources


@dataclass(frozen=True)
class Nearest:
    name: str = "nearest"
    k: int = option(1, "neighbours", ge=1)

    def fit(self, betas, feature):
        return {}

    def predict(self, weights, betas, feature):
        return feature


def module(*offers, hook="register_regressors"):
    """Return a module, like a plugin's, that registers some things by one hook."""
    made = ModuleType("made")

    def implementation(register):
        for offer in offers:
            register(offer)

    implementation.__name__ = hook
    setattr(made, hook, hookimpl(implementation))
    return made


def source(load, name="extra", distribution="brainkit-extra 1.0"):
    return Source(name, distribution, load if callable(load) else lambda: load)


def reason(load):
    """Return why a plugin is not admitted; core's own parts have to stay usable."""
    registry = Registry([source(load)])
    assert registry.get("regressor", "ridge").name == "ridge"
    (broken,) = registry.broken()
    assert broken.error is not None
    return broken.broken


CORE = ["fold-ridge", "mean", "ridge", "shuffled", "voxel-selected-ridge"]


def test_core_offers_its_parts():
    registry = Registry([])
    assert not registry.broken()
    assert registry.names("regressor") == CORE
    assert {"ddim", "single-pass"} <= set(registry.names("sampler"))
    assert registry.distribution("regressor", "ridge").startswith("brainkit ")


def test_a_plugin_adds_its_parts_with_their_owner():
    registry = Registry([source(module(Nearest(), Nearest("far")))])
    assert registry.names("regressor") == sorted(["far", "nearest", *CORE])
    assert registry.get("regressor", "far") == Nearest("far")
    assert registry.distribution("regressor", "far") == "brainkit-extra 1.0"
    assert registry.distribution("regressor", "none") == ""


def fail(error):
    def load():
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'sklearn'"), "No module named 'sklearn'"),
        (SyntaxError("invalid syntax"), "SyntaxError: invalid syntax"),
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (RuntimeError("\x1b[2Jgone"), "RuntimeError: \\x1b[2Jgone"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_kept_apart(error, said):
    found = reason(fail(error))
    assert found.endswith(said)
    assert "\n" not in found


def test_a_misspelt_hook_is_named_with_the_right_one():
    found = reason(module(Nearest(), hook="register_regresors"))
    assert found == "unknown hook 'register_regresors'. Did you mean 'register_regressors'?"


def test_a_hook_with_another_argument_is_named():
    made = ModuleType("made")

    @hookimpl
    def register_regressors(registrar):
        registrar(Nearest())

    made.register_regressors = register_regressors
    assert "'registrar'" in reason(made)


def test_a_hook_that_raises_breaks_its_plugin_only():
    made = ModuleType("made")

    @hookimpl
    def register_regressors(register):
        raise KeyError("colour")

    made.register_regressors = register_regressors
    assert reason(made) == "KeyError: 'colour'"


@pytest.mark.parametrize(
    ("offer", "said"),
    [
        (Nearest, "the class Nearest, not an instance of it"),
        (3, "given 3, lacking ['name', 'fit', 'predict']"),
    ],
)
def test_an_object_that_is_no_part_is_refused(offer, said):
    found = reason(module(offer))
    assert found.startswith("register_regressors")
    assert said in found


def test_a_part_of_another_kind_is_refused_by_the_members_it_lacks():
    assert "['sample']" in reason(module(Nearest(), hook="register_samplers"))


def test_a_name_of_core_cannot_be_taken():
    found = reason(module(Nearest("ridge")))
    assert found.startswith("regressor 'ridge' is already registered by brainkit 0.")


def test_a_name_of_two_plugins_is_refused_naming_both_and_the_rest_of_them_stays():
    first = source(module(Nearest(), Nearest("far")), "a", "brainkit-a 1.0")
    second = source(module(Nearest(), Nearest("near")), "b", "brainkit-b 2.0")
    registry = Registry([first, second])
    said = "regressor 'nearest' is registered by brainkit-a 1.0 and by brainkit-b 2.0"
    assert [len(plugin.disputed) for plugin in registry.plugins] == [0, 1, 1]
    assert all(plugin.disputed[0].startswith(said) for plugin in registry.plugins[1:])
    with pytest.raises(UsageError, match=said) as caught:
        registry.get("regressor", "nearest")
    assert "pip uninstall brainkit-b" in str(caught.value)
    assert "BRAINKIT_PLUGINS=brainkit-a:a" in str(caught.value)
    assert registry.names("regressor") == sorted(["far", "near", *CORE])


def test_a_name_of_three_plugins_names_all():
    makers = [source(module(Nearest()), name, f"brainkit-{name} 1.0") for name in "abc"]
    with pytest.raises(UsageError, match=r"a 1\.0 and by brainkit-b 1\.0 and by brainkit-c 1\.0"):
        Registry(makers).get("regressor", "nearest")


@pytest.mark.parametrize(
    "name", ["../evil", "a/b", "a b", "-x", "_x", "a.b", "a=b", "", "é", "a\n", 7]
)
def test_a_name_that_is_no_word_is_refused(name):
    assert "expected a word of letters, digits, - and _" in reason(module(Nearest(name)))


def renamed(**changes):
    from brainkit.testing.toys import TOYS

    return replace(TOYS, **changes)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("features", "a folder that methods share"),
        ("Features", "a folder that methods share"),
        ("run", "a command of brainkit"),
        ("list-plugins", "a command of brainkit"),
        ("toy", "names a method and a checkpoint, of which the same plugin has one"),
        ("kl-f8", "names a method and a checkpoint, of which brainkit 0."),
    ],
)
def test_a_method_takes_no_name_that_means_something_else(name, said):
    found = reason(module(renamed(name=name), hook="register_methods"))
    assert said in found


def test_a_checkpoint_takes_no_name_of_a_method():
    first = source(module(renamed(name="kept"), hook="register_methods"), "a", "brainkit-a 1.0")
    part = replace_checkpoint("kept")
    registry = Registry([first, source(module(part, hook="register_encoders"), "b", "b 2.0")])
    assert registry.get("method", "kept").name == "kept"
    assert "of which brainkit-a 1.0 has one" in registry.plugins[-1].broken


def replace_checkpoint(name):
    from brainkit.data import Checkpoint
    from brainkit.testing.toys import Lengths

    class Mine(Lengths):
        checkpoints = (Checkpoint(name),)

    return Mine()


def test_a_checkpoint_whose_folder_would_lie_elsewhere_is_refused():
    found = reason(module(replace_checkpoint("../../evil"), hook="register_encoders"))
    assert found.startswith("a checkpoint of encoder 'lengths' is named '../../evil', expected")


def test_checkpoints_that_are_none_are_refused():
    from brainkit.testing.toys import Lengths

    class Mine(Lengths):
        checkpoints = ("clip",)

    assert "expected a tuple of brainkit.Checkpoint" in reason(
        module(Mine(), hook="register_encoders")
    )


def test_something_like_a_method_is_none():
    from types import SimpleNamespace

    members = dict.fromkeys(MEMBERS["method"], "x")
    found = reason(module(SimpleNamespace(**members), hook="register_methods"))
    assert found == (
        "register_methods was given a SimpleNamespace, expected a brainkit.method.Method"
    )


def test_reserved_names_are_those_of_files_and_commands():
    from typer.main import get_command

    from brainkit import names
    from brainkit.cli import app
    from brainkit.run.folder import RUNS, SHARED

    assert set(get_command(app).commands) <= set(names.COMMANDS)
    assert set(names.SHARED_FOLDERS) == {RUNS, *SHARED}


def test_registering_one_name_twice_is_refused():
    assert "twice" in reason(module(Nearest(), Nearest(k=2)))


def test_two_kinds_may_share_a_name():
    both = module(Nearest("ddim"))
    assert not Registry([source(both)]).broken()


def test_a_plugin_is_admitted_whole_or_not_at_all():
    registry = Registry([source(module(Nearest("good"), Nearest("ridge")))])
    assert "good" not in registry.names("regressor")
    assert registry.plugins[-1].offers == ()
    with pytest.raises(UsageError):
        registry.get("regressor", "good")


def test_plugins_after_a_broken_one_are_admitted():
    broken = source(fail(ImportError("gone")), "a", "brainkit-a 1.0")
    registry = Registry([broken, source(module(Nearest()))])
    assert registry.get("regressor", "nearest") == Nearest()


def test_an_unknown_name_lists_the_known_and_the_broken_with_reasons():
    sources = [
        source(fail(ImportError("gone")), "a", "brainkit-a 1.0"),
        source(module(Nearest(), hook="register_regresors"), "b", "brainkit-b 1.0"),
        source(module(Nearest("ridge")), "c", "brainkit-c 1.0"),
    ]
    with pytest.raises(UsageError) as caught:
        Registry(sources).get("method", "unibrian")
    message = str(caught.value)
    assert message.startswith("no method named 'unibrian'.")
    for said in ("brainkit-a 1.0: ImportError: gone", "brainkit-b 1.0: unknown hook", "brainkit-c"):
        assert said in message


def test_a_misspelt_name_gets_a_hint():
    with pytest.raises(UsageError) as caught:
        Registry([]).get("regressor", "rigde")
    assert str(caught.value) == (
        "no regressor named 'rigde'. Did you mean 'ridge'? There are: " + ", ".join(CORE) + "."
    )


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Install three empty plugins as pip would, seen beside those really there."""
    for name in ("zeta", "alpha", "mid"):
        monkeypatch.delitem(sys.modules, f"test_plugin_{name}", raising=False)
        facts = tmp_path / f"brainkit_test_{name}-2.5.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: brainkit-test-{name}\nVersion: 2.5\n"
        )
        (facts / "entry_points.txt").write_text(f"[brainkit]\ntest-{name} = test_plugin_{name}\n")
        (tmp_path / f"test_plugin_{name}.py").write_text(
            "" if name != "mid" else "raise RuntimeError('not today')"
        )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("BRAINKIT_PLUGINS", raising=False)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])  # broken packages are hidden there
    return tmp_path


def test_installed_plugins_are_found_sorted_by_distribution(environment):
    found = [each for each in installed_sources() if each.name.startswith("test-")]
    assert [each.name for each in found] == ["test-alpha", "test-mid", "test-zeta"]
    assert found[0].distribution == "brainkit-test-alpha 2.5"
    assert [each.distribution for each in installed_sources()] == sorted(
        each.distribution for each in installed_sources()
    )


def test_finding_plugins_imports_none(environment):
    installed_sources()
    assert "test_plugin_alpha" not in sys.modules


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("", []),
        ("test-zeta", ["test-zeta"]),
        (" test-zeta , test-alpha,", ["test-alpha", "test-zeta"]),
        ("brainkit-test-zeta:test-zeta", ["test-zeta"]),
        ("Brainkit_Test.Zeta:test-zeta,core", ["test-zeta"]),
    ],
)
def test_brainkit_plugins_limits_what_is_loaded(environment, monkeypatch, wanted, names):
    monkeypatch.setenv("BRAINKIT_PLUGINS", wanted)
    assert [each.name for each in installed_sources()] == names


@pytest.mark.parametrize("wanted", ["test-zata", "brainkit-test-alpha:test-zeta"])
def test_brainkit_plugins_with_an_unknown_name_is_told(environment, monkeypatch, wanted):
    monkeypatch.setenv("BRAINKIT_PLUGINS", f"test-alpha,{wanted}")
    said = f"BRAINKIT_PLUGINS names '{wanted}', which no installed distribution offers"
    with pytest.warns(BrainkitWarning, match=said):
        assert [each.name for each in installed_sources()] == ["test-alpha"]


def test_equal_names_are_told_apart_by_distribution(environment, monkeypatch):
    facts = "Name: brainkit-test-other\nVersion: 1.0\n"
    entries = "[brainkit]\ntest-alpha = test_plugin_zeta\n"
    describe(environment, "brainkit_test_other-1.0.dist-info", entries, facts)
    for wanted, owners in (
        ("test-alpha", ["brainkit-test-alpha 2.5", "brainkit-test-other 1.0"]),
        ("brainkit-test-other:test-alpha", ["brainkit-test-other 1.0"]),
    ):
        monkeypatch.setenv("BRAINKIT_PLUGINS", wanted)
        assert [each.distribution for each in installed_sources()] == owners


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ("brainkit>=0.2,<0.3", True),
        ("BrainKit (<0.1)", True),
        ("brainkit>=0.1,<0.2", False),
        ("brainkit>=9; extra == 'all'", False),
        ("brainkit-other>=9", False),
        ("brainkit", False),
    ],
)
def test_a_plugin_for_another_core_is_refused_with_the_fix(
    environment, monkeypatch, asked, refused
):
    facts = f"Name: brainkit-test-next\nVersion: 3.0\nRequires-Dist: {asked}\n"
    describe(
        environment, "brainkit_test_next-3.0.dist-info", "[brainkit]\nnext = test_plugin_zeta\n",
        facts,
    )  # fmt: skip
    monkeypatch.setenv("BRAINKIT_PLUGINS", "next")
    (plugin,) = Registry.installed().plugins[1:]
    if refused:
        assert plugin.broken.startswith("it asks for ")
        assert "pip install --upgrade brainkit-test-next brainkit" in plugin.broken
    else:
        assert plugin.broken == ""


LOUD = """
import os, sys
print("hello from python")
os.system("echo hello from a shell")
from brainkit import hookimpl
@hookimpl
def register_regressors(register):
    print("hello from the hook")
"""


def test_what_a_plugin_prints_while_it_loads_goes_to_stderr(environment, tmp_path):
    (environment / "test_plugin_zeta.py").write_text(LOUD)
    done = child(environment, "list-plugins", "--json")
    assert [each["name"] for each in json.loads(done.stdout)] == ["core", "test-zeta"]
    for words in ("from python", "from a shell", "from the hook"):
        assert f"hello {words}" in done.stderr


def child(folder, *words):
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    env = {"PYTHONPATH": os.pathsep.join(paths), "BRAINKIT_PLUGINS": "test-zeta"}
    return subprocess.run(
        [sys.executable, "-m", "brainkit", *words],
        env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_plugin_that_takes_long_is_named_while_one_waits(monkeypatch, capsys):
    monkeypatch.setattr("brainkit.plugins.PATIENCE", 0.05)
    told = []
    monkeypatch.setattr("brainkit.plugins.to_stderr", told.append)

    def load():
        give_up = time.monotonic() + 30
        while not told and time.monotonic() < give_up:
            time.sleep(0.01)
        return module(Nearest())

    registry = Registry([source(load, "lazy")])
    assert registry.get("regressor", "nearest")
    assert told == [
        "plugin 'lazy' (brainkit-extra 1.0) is still being loaded after 0.05 s; stop with Ctrl-C, "
        "and leave it out with BRAINKIT_PLUGINS or uninstall it if it never ends"
    ]


def test_check_exits_with_1_and_tells_slow_imports(environment, cli, monkeypatch):
    (environment / "test_large_library.py").write_text("")
    (environment / "test_plugin_zeta.py").write_text("import test_large_library")
    monkeypatch.setattr("brainkit.plugins.HEAVY", ("test_large_library",))
    env = {"BRAINKIT_PLUGINS": "test-zeta"}
    listed = cli("list-plugins", "--check", env=env)
    assert re.search(
        r"slow: loading it takes \d\.\d s and imports test_large_library", listed.stdout
    )
    env = {"BRAINKIT_PLUGINS": "test-mid"}
    assert "not today" in cli("list-plugins", "--check", env=env, code=1).stdout
    listed = cli("--debug", "list-plugins", env=env)
    assert "Traceback" in listed.stderr
    assert "test_plugin_mid.py" in listed.stderr


def test_an_installed_broken_plugin_is_listed_with_its_reason(environment, monkeypatch):
    monkeypatch.setenv("BRAINKIT_PLUGINS", "test-mid,test-alpha")
    registry = Registry.installed()
    assert [(p.name, p.broken) for p in registry.plugins[1:]] == [
        ("test-alpha", ""),
        ("test-mid", "RuntimeError: not today"),
    ]


def test_an_entry_point_without_its_module_is_kept_apart(environment, monkeypatch):
    (environment / "test_plugin_zeta.py").unlink()
    monkeypatch.setenv("BRAINKIT_PLUGINS", "test-zeta")
    (broken,) = Registry.installed().broken()
    assert "test_plugin_zeta" in broken.broken


def test_every_entry_point_of_the_group_is_a_source(monkeypatch):
    monkeypatch.delenv("BRAINKIT_PLUGINS", raising=False)
    names = sorted(point.name for point in metadata.entry_points(group="brainkit"))
    assert sorted(each.name for each in installed_sources()) == names


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10_000):  # the handler runs between two steps of Python
        pass


def test_the_user_s_interrupt_during_an_import_ends_the_command():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        Registry([source(interrupt)])
    assert signal.getsignal(signal.SIGINT) is before


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def test_an_error_that_cannot_be_written_is_named():
    assert reason(fail(MuteError())) == "MuteError"


def describe(site, folder, entry_points="", metadata="Name: other\nVersion: 1.0\n"):
    """Write what pip leaves of an installed package; None leaves that file out."""
    about = site / folder
    about.mkdir()
    if metadata is not None:
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}")
    if entry_points is not None:
        (about / "entry_points.txt").write_bytes(entry_points.encode("utf-8", "surrogateescape"))
    return about


BROKEN = {
    "nameless": {"folder": ".dist-info", "entry_points": "[brainkit]\nx = y\n", "metadata": None},
    "empty": {"folder": ".dist-info", "entry_points": None, "metadata": None},
    "no value": {"folder": "other-1.0.dist-info", "entry_points": "[console_scripts]\nfoo\n"},
    "no text": {"folder": "other-1.0.dist-info", "entry_points": "[brainkit]\n\udcff = x\n"},
    "ours": {"folder": "brainkit_test_x-1.dist-info", "entry_points": "[brainkit]\nx\n"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_description_of_any_package_stops_nothing(environment, monkeypatch, name):
    about = describe(environment, **BROKEN[name])
    registry = Registry.installed()
    admitted = {plugin.name for plugin in registry.plugins if not plugin.broken}
    assert {"test-alpha", "test-zeta"} <= admitted
    (broken,) = [plugin for plugin in registry.broken() if plugin.name == about.name]
    assert str(about) in broken.broken
    assert "install the package again" in broken.broken
    assert "test-alpha" in metadata.entry_points(group="brainkit").names


def test_a_run_goes_on_beside_broken_descriptions(environment, cli, nsd):
    for name in ("empty", "no value"):
        describe(environment, **BROKEN[name])
    report = cli.run("toy", "--nsd", nsd, "--images", 1, "--work", "w") / "report.html"
    assert report.is_file()


def test_broken_descriptions_are_not_listed_when_plugins_are_named(environment, monkeypatch):
    describe(environment, **BROKEN["no value"])
    monkeypatch.setenv("BRAINKIT_PLUGINS", "test-alpha")
    assert [each.name for each in installed_sources()] == ["test-alpha"]


def test_what_an_interrupted_pip_leaves_is_passed_over(environment):
    entries = "[brainkit]\ntest-alpha = test_plugin_alpha\n"
    facts = "Name: brainkit-test-alpha\nVersion: 2.4\n"
    describe(environment, "~rainkit_test_alpha-2.4.dist-info", entries, facts)
    found = [each.distribution for each in installed_sources() if each.name == "test-alpha"]
    assert found == ["brainkit-test-alpha 2.5"]
    assert not [each for each in Registry.installed().broken() if each.name == "test-alpha"]


def test_the_first_of_two_copies_of_a_package_counts(environment, tmp_path_factory, monkeypatch):
    site = tmp_path_factory.mktemp("earlier")
    facts = "Name: brainkit-test-alpha\nVersion: 3.0\n"
    describe(site, "brainkit_test_alpha-3.0.dist-info", "[brainkit]\ntest-new = new\n", facts)
    monkeypatch.syspath_prepend(site)
    found = {each.name for each in installed_sources() if each.name.startswith("test-")}
    assert found == {"test-mid", "test-new", "test-zeta"}
