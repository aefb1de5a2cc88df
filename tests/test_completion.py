"""What shells complete, asked as bash and zsh ask."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brainkit.cli.completion import ASKED


@pytest.fixture
def bash(cli):
    """Return what bash is told of a line, whose last word is completed; it parts words at "="."""

    def completions(line: str) -> list[str]:
        words = line.replace("=", " = ").split()
        place = len(words) - (not line.endswith(" "))
        env = {ASKED: "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(place)}
        return cli(env=env).stdout.splitlines()

    return completions


@pytest.fixture
def zsh(cli):
    def completions(line: str) -> str:
        return cli(env={ASKED: "complete_zsh", "_TYPER_COMPLETE_ARGS": line}).stdout

    return completions


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("brainkit ch", ["checkpoints", "check-data"]),
        ("brainkit run t", ["toy"]),
        ("brainkit show ", ["toy"]),
        ("brainkit checkpoints t", ["toy"]),
        ("brainkit fetch alex", ["alexnet"]),
        ("brainkit fetch t", ["toy"]),
        ("brainkit run toy -o sampler.st", ["sampler.steps=6"]),
        ("brainkit run toy --option selection.standardise=", ["session", "train", "none"]),
        ("brainkit run toy -o selection.standardise=tr", ["train"]),
        ("brainkit run toy --use regressor=rid", ["ridge"]),
        ("brainkit run toy --use sampl", ["sampler=ddim"]),
        ("brainkit run toy --use sampler=ddim -o sampler.", ["sampler.steps=50"]),
        ("brainkit run toy --preset ", ["paper", "quick"]),
        ("brainkit run toy --preset quick -o sampler.st", ["sampler.steps=3"]),
        ("brainkit show toy --preset p", ["paper"]),
        ("brainkit run toy --scores mind", ["mindeye2"]),
        ("brainkit run toy --dtype bf", ["bfloat16"]),
        ("brainkit run toy --device c", ["cpu", "cuda"]),
        ("brainkit run toy --weights r", ["released", "random"]),
        ("brainkit run toy --batch", ["--batch-size"]),
    ],
)
def test_bash_is_told_values_of_the_word_that_is_typed(bash, line, among):
    assert set(among) <= set(bash(line))


def test_each_part_is_offered_where_it_can_be(bash, toy):
    there = bash("brainkit run toy --use regressor.picture=")
    assert {"ridge", "fold-ridge"} <= set(there)
    assert "ddim" not in there


@pytest.mark.parametrize(
    "line", ["brainkit run nothing -o ", "brainkit run toy -o sampler.steps=x", "brainkit run x"]
)
def test_where_nothing_is_known_nothing_is_told(bash, line):
    assert bash(line) == []


def test_runs_are_told_by_name(bash, cli, nsd):
    cli("run", "toy", "--nsd", nsd, "--images", 2, "--no-ceiling", "--work", "w", "--name", "mine")
    assert bash("brainkit report w mi") == ["mine"]


def test_zsh_is_told_with_a_help(zsh):
    told = zsh("brainkit run toy -o sampler.st")
    assert '"sampler.steps=6":"' in told


CHILD = """
import os, sys
os.environ.update({variables!r})
sys.argv = ["brainkit"]
from brainkit.__main__ import main
try:
    main()
except SystemExit:
    pass
print("LOADED", [n for n in {heavy!r} if n in sys.modules], len(sys.modules) < 700)
"""


@pytest.mark.parametrize("line", ["brainkit run toy -o samp", "brainkit fetch t"])
def test_completing_imports_nothing_heavy(toy_environment, line):
    words = line.split()
    variables = {ASKED: "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = CHILD.format(variables=variables, heavy=("torch", "transformers", "diffusers", "h5py"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=toy_environment
    )
    assert done.stdout.splitlines()[-1] == "LOADED [] True", done.stderr
    assert len(done.stdout.splitlines()) > 1
