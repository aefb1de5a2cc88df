"""Help and listing stay fast: they import neither torch nor numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "scipy", "h5py", "transformers", "diffusers", "PIL")


def child(code: str) -> str:
    env = {**os.environ, "BRAINKIT_PLUGINS": "core,unibrain,mindreader"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    return done.stdout


# The method that is shown names scores of its own, which numpy would have to compute.
LISTINGS = [["--help"], ["list-plugins"], ["--version"], ["show", "mindreader"]]


@pytest.mark.parametrize("words", LISTINGS)
def test_listing_imports_nothing_heavy(words):
    code = (
        "import sys\n"
        f"sys.argv = ['brainkit', *{words!r}]\n"
        "from brainkit.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [n for n in {HEAVY!r} if n in sys.modules])"
    )
    assert child(code).splitlines()[-1] == "LOADED []"


def test_importing_brainkit_imports_nothing_heavy():
    code = f"import sys, brainkit; print([n for n in {HEAVY!r} if n in sys.modules])"
    assert child(code).strip() == "[]"


def least(words: list[str], runs: int = 7) -> float:
    """Return the processor seconds of the cheapest of several whole processes.

    Unlike time on the wall, they hardly grow when other programs want the processors too.
    """
    seconds = []
    for _ in range(runs):
        child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        seconds.append(used.ru_utime + used.ru_stime)
    return min(seconds)


def test_help_and_listing_take_a_small_multiple_of_an_empty_program(monkeypatch):
    monkeypatch.delenv("BRAINKIT_PLUGINS", raising=False)
    empty = least(["-c", "pass"])
    assert least(["-m", "brainkit", "--help"]) < 10 * empty
    assert least(["-m", "brainkit", "list-plugins"]) < 20 * empty
