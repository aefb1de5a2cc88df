"""A plugin that was just started installs, passes its own tests, and works in a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from installing import OFFLINE, ended

from brainkit.plugins import KINDS
from brainkit.starter import write_plugin


@pytest.fixture(scope="module")
def plugins(tmp_path_factory) -> Path:
    """A folder with a plugin of each kind, as the command writes them."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind in KINDS:
        write_plugin(f"my-{kind}", kind, folder, "Ada")
    return folder


@pytest.fixture(scope="module")
def site(plugins, tmp_path_factory) -> Path:
    """Where all of them are installed."""
    target = tmp_path_factory.mktemp("site")
    folders = sorted(plugins.iterdir())
    ended("pip", "install", *OFFLINE, "--target", target, *folders, cwd=plugins)
    return target


def surroundings(site: Path) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    names = ",".join(f"my-{kind}" for kind in KINDS)
    return {"PYTHONPATH": paths, "BRAINKIT_PLUGINS": names, "OMP_NUM_THREADS": "1"}


def test_each_is_installed_with_its_module_and_licence_and_nothing_else(plugins, site):
    there = {path.name for path in site.iterdir()} - {"__pycache__"}
    expected = {f"brainkit_my_{kind}.py" for kind in KINDS}
    assert there == expected | {f"brainkit_my_{kind}-0.1.0.dist-info" for kind in KINDS}
    for kind in KINDS:
        facts = site / f"brainkit_my_{kind}-0.1.0.dist-info"
        assert "Copyright (c)" in (facts / "licenses" / "LICENSE").read_text()
        assert "Requires-Dist: brainkit<0.2,>=0.1" in (facts / "METADATA").read_text()


def test_the_tests_of_all_pass_where_they_are_installed(plugins, site, tmp_path):
    folders = [plugins / f"brainkit-my-{kind}" / "tests" for kind in KINDS]
    words = ("pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir")
    printed = ended(*words, plugins, *folders, cwd=tmp_path, **surroundings(site))
    passed = int(printed.rpartition(" passed")[0].rpartition("\n")[2].split()[-1])
    assert passed > 100


def test_the_method_and_the_parts_are_found_and_the_method_makes_a_run(cli, site, nsd, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    env = {"BRAINKIT_PLUGINS": surroundings(site)["BRAINKIT_PLUGINS"]}
    listed = cli("list-plugins", "--check", env=env).stdout
    assert all(f"my-{kind}  (brainkit-my-{kind} 0.1.0)" in listed for kind in KINDS)
    use = ("--use", "regressor=my-regressor", "--use", "sampler=my-sampler")
    words = ("run", "my-method", *use, "--nsd", nsd, "--images", 2, "--work", "w")
    report = cli(*words, env=env).stdout.splitlines()[-1]
    assert (cli.folder / report).is_file()


def test_the_command_writes_them_and_tells_the_files(cli):
    told = cli("new-plugin", "new-part", "--kind", "sampler", "--author", "Ada").stdout.split()
    folder = cli.folder / "brainkit-new-part"
    written = {path for path in folder.rglob("*") if path.is_file()}
    assert {cli.folder / path for path in told} == written
    assert "Ada" in (folder / "LICENSE").read_text()
    assert "class NewPart:" in (folder / "brainkit_new_part.py").read_text()
    again = cli("new-plugin", "new-part", "--kind", "sampler", code=2).stderr
    assert "brainkit-new-part is there already" in again


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("../evil", "--kind", "encoder"), "NAME is '../evil', expected a word of letters"),
        (("a.b", "--kind", "encoder"), "NAME is 'a.b', expected a word of letters"),
        (("3d", "--kind", "encoder"), "NAME is '3d', expected one that begins with a letter"),
        (("run", "--kind", "method"), "NAME is 'run', which is a command of brainkit"),
        (("good", "--kind", "encodr"), "Did you mean 'encoder'?"),
    ],
)
def test_a_name_or_kind_that_does_not_do_is_wrong_usage(cli, words, said):
    assert said in " ".join(cli("new-plugin", *words, code=2).stderr.split())
    assert not list(cli.folder.rglob("*.toml"))
