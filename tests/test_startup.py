"""Help and listing stay fast: they import neither torch nor numpy, and little else."""

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


# Counts do not depend on how busy a machine is; seconds are in tests/benchmarks/startup.py.
COUNTED = """
import sys
sys.argv = ["brainkit", *{words!r}]
before, calls = len(sys.modules), 0
def count(frame, event, argument):
    global calls
    calls += event == "call"
sys.setprofile(count)
try:
    from brainkit.__main__ import main
    main()
except SystemExit:
    pass
sys.setprofile(None)
print(len(sys.modules) - before, calls)
"""


@pytest.mark.parametrize(
    ("words", "most_modules", "most_calls"),
    [
        pytest.param(["--help"], 200, 90_000, id="--help"),
        pytest.param(["list-plugins"], 320, 150_000, id="list-plugins"),
    ],
)
def test_help_and_listing_do_little(words, most_modules, most_calls):
    """Bound what is imported and called: 156 and 269 modules, 64,000 and 130,000 calls."""
    modules, calls = map(int, child(COUNTED.format(words=words)).splitlines()[-1].split())
    assert 50 < modules < most_modules
    assert 10_000 < calls < most_calls
