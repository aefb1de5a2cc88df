"""Fixtures of core's tests: a tiny NSD download, a toy plugin, and the command in this process."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from brainkit.plugins import Registry, Source

TOYS = Path(__file__).parent / "toys"
Popen = subprocess.Popen[str]
SMALL = ("-o", "miniature.train_images=60", "-o", "miniature.test_images=10")
# A short run of each method: the plugin it is of, and what it is asked for.
RUNS = {
    "unibrain": ("unibrain", "--images", 4, "-o", "sampler.steps=6"),
    "minddiffuser": (
        *("minddiffuser", "--images", 3, "--no-ceiling", "-o", "sampler.steps=6"),
        *("-o", "sampler.iterations=4", "-o", "sampler.every=2"),
    ),
    "takagi": ("minddiffuser", "--images", 2, "--no-ceiling", "-o", "sampler.steps=5"),
    "mindreader": ("mindreader", "--images", 3, "-o", "regressor.epochs=1"),
}


@pytest.fixture(scope="session", autouse=True)
def _heed_interrupts() -> None:
    """Let signals interrupt tests, also where a shell started them in the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _only_what_the_test_names(monkeypatch: pytest.MonkeyPatch, shared_home: Path) -> None:
    """Hide installed plugins, the network and what the user keeps at home."""
    monkeypatch.setenv("BRAINKIT_PLUGINS", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("BRAINKIT_HOME", str(shared_home))
    # How wide the terminal is in which the tests run, and what it shows, is nothing to them.
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test session share.

    With pytest-xdist each process has a folder of its own in one that they share.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def shared_home(shared_folder: Path) -> Path:
    """A home in which a miniature is made once in a test session; otherwise not to be changed."""
    home = shared_folder / "home"
    home.mkdir(exist_ok=True)
    return home


@pytest.fixture(scope="session")
def nsd(shared_folder: Path) -> Path:
    """A download of 40 voxels, 30 training and 10 test images; read only."""
    from brainkit.miniature import miniature
    from brainkit.miniature.brain import Difficulty

    small = Difficulty(voxels=40, train_images=30, test_images=10)
    return miniature(shared_folder / "nsd", difficulty=small).nsd


@pytest.fixture(scope="session")
def toy():
    """The toy plugin's module."""
    import brainkit_toy

    return brainkit_toy


@pytest.fixture
def registry(toy) -> Registry:
    return Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Brainkit:
    """The command, run in this process as `brainkit` runs it in one of its own.

    Attributes:
        environment: variables that it sees besides those of the test.
        folder: where it is called.
    """

    environment: Mapping[str, str]
    folder: Path

    def __call__(
        self, *words: object, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> Ended:
        """Run it; it has to end with an exit code, unless that is None."""
        from brainkit.__main__ import main

        out, err = io.StringIO(), io.StringIO()
        with self._surroundings(words, env or {}), redirect_stdout(out), redirect_stderr(err):
            try:
                main()
                ended = 0
            except SystemExit as left:
                ended = left.code if isinstance(left.code, int) else int(left.code is not None)
        assert code in (ended, None), out.getvalue() + err.getvalue()
        return Ended(ended, out.getvalue(), err.getvalue())

    def run(self, *words: object) -> Path:
        """Do a run and return the folder of its report."""
        report = self("run", *words).stdout.splitlines()[-1]
        return (self.folder / report).parent

    def process(self, *words: object, env: Mapping[str, str] | None = None) -> Popen:
        """Start it in a process of its own, for what can only be done to or told by one."""
        paths = os.pathsep.join(filter(None, [str(TOYS), os.environ.get("PYTHONPATH", "")]))
        own = {"PYTHONPATH": paths}
        return subprocess.Popen(
            [sys.executable, "-m", "brainkit", *map(str, words)],
            env={**os.environ, **own, **self.environment, **(env or {})},
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def _surroundings(self, words: Sequence[object], env: Mapping[str, str]) -> Iterator[None]:
        # The command sets how warnings are shown, and pytest makes errors of some of them.
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), chdir(self.folder):
            warnings.simplefilter("default")
            patch.setattr(sys, "argv", ["brainkit", *map(str, words)])
            for name, value in {**self.environment, **env}.items():
                patch.setenv(name, value)
            yield


@pytest.fixture
def cli(tmp_path: Path) -> Brainkit:
    """The command with the toy plugin and an empty home, called in the test's folder."""
    return Brainkit(_surroundings("toy", tmp_path / "home"), tmp_path)


@pytest.fixture(scope="session")
def cli_with(tmp_path_factory: pytest.TempPathFactory, shared_home: Path):
    """Return the command for a plugin, in the shared home; skips where that is not installed."""

    def command(plugin: str) -> Brainkit:
        pytest.importorskip(f"brainkit_{plugin}", reason="the plugin is not installed here")
        folder = tmp_path_factory.mktemp("folder")
        return Brainkit(_surroundings(plugin, shared_home), folder)

    return command


@dataclass(frozen=True)
class Finished:
    """A copy of a finished run.

    Attributes:
        brainkit: the command that made it.
        words: what it was asked for after `brainkit run`; asked again, all is kept.
        folder: of its report.
    """

    brainkit: Brainkit
    words: tuple[object, ...]
    folder: Path


@pytest.fixture
def finished(cli_with, shared_folder: Path, tmp_path: Path) -> Callable[[str], Finished]:
    """Return a function from a method to a copy of a short run of it, made once in a session."""
    from filelock import FileLock

    def copied(method: str) -> Finished:
        plugin, *more = RUNS[method]
        brainkit, work = cli_with(plugin), shared_folder / "runs" / method
        words = (method, *SMALL, *more, "--work")
        work.parent.mkdir(exist_ok=True)
        with FileLock(f"{work}.lock"):
            if not work.is_dir():
                aside = work.with_suffix(".part")
                brainkit.run(*words, aside)
                aside.rename(work)
        copy = tmp_path / "finished"
        shutil.copytree(work, copy)
        (report,) = copy.glob("*/subj01/runs/*/report.html")
        return Finished(brainkit, (*words, copy), report.parent)

    return copied


def _surroundings(plugin: str, home: Path) -> dict[str, str]:
    return {"BRAINKIT_PLUGINS": plugin, "BRAINKIT_HOME": str(home), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def toy_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a child process in which the toy plugin is installed."""
    paths = [str(TOYS), os.environ.get("PYTHONPATH", "")]
    home = tmp_path_factory.mktemp("home")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "BRAINKIT_PLUGINS": "toy",
        "BRAINKIT_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
