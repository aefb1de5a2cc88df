"""Everything that is checked, built or trained, one session each. `nox` runs the tests."""

import os
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"
nox.options.stop_on_first_error = True
nox.needs_version = ">=2024.10"

PLUGINS = sorted(each.parent.name for each in Path("plugins").glob("*/pyproject.toml"))
FOLDERS = [f"./plugins/{name}" for name in PLUGINS]
DISTRIBUTIONS = [f"brainkit-{name}" for name in PLUGINS]
PROJECT = nox.project.load_toml("pyproject.toml")
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
ONE_THREAD = QUIET | {"OMP_NUM_THREADS": "1"}
PARALLEL = ("-n", "auto", "--maxprocesses", "8", "--dist", "worksteal")


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session
def lint(session: nox.Session) -> None:
    """Check format and style."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types alone, strictly; `tests` does it too, as an environment takes 6 GB."""
    session.install(".", *group("types"))
    session.run("mypy")


def needs() -> list[str]:
    """Return what the plugins need besides brainkit."""
    projects = [nox.project.load_toml(f"plugins/{name}/pyproject.toml") for name in PLUGINS]
    every = {need for project in projects for need in project["project"]["dependencies"]}
    return sorted(need for need in every if not need.startswith("brainkit"))


def placed(session: nox.Session) -> dict[str, str]:
    """Install each plugin into a folder of its own; only what has it on its path sees it."""
    session.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", *DISTRIBUTIONS)
    folders = {name: str(Path(session.cache_dir, "plugins", name).resolve()) for name in PLUGINS}
    for name, folder in folders.items():
        alone = ("--no-deps", "--no-build-isolation", "--upgrade", "--target", folder)
        session.install(*alone, f"./plugins/{name}")
    return folders


@nox.session
def tests(session: nox.Session) -> None:
    """Check types, run core's tests with all plugins and each plugin's where no other is."""
    session.install(".", *needs(), *group("types"), *group("tests"))
    folders = placed(session)
    session.run("mypy")
    every = ONE_THREAD | {"PYTHONPATH": os.pathsep.join(folders.values())}
    session.run("pytest", "tests", *PARALLEL, *session.posargs, env=every)
    for name, folder in folders.items():
        alone = ONE_THREAD | {"PYTHONPATH": folder}
        session.run("pytest", f"plugins/{name}/tests", *PARALLEL, *session.posargs, env=alone)


@nox.session
def plugins(session: nox.Session) -> None:
    """Run each plugin's tests with nothing installed but what it declares; a second 6 GB."""
    for plugin in PLUGINS:
        others = [f"brainkit-{name}" for name in PLUGINS if name != plugin]
        session.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", *others)
        session.install(".", f"./plugins/{plugin}", *group("plugin-tests"))
        session.run(
            "pytest", f"plugins/{plugin}/tests", *PARALLEL, *session.posargs, env=ONE_THREAD
        )


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes: quality bars, full-size networks, kills and resumes."""
    session.install(".", *FOLDERS, *group("tests"))
    session.run("pytest", "tests", *[f"{each}/tests" for each in FOLDERS], "-m", "slow", env=QUIET)


def oldest() -> list[str]:
    """Return the oldest release of each library that brainkit and its plugins admit."""
    files = ("pyproject.toml", *(f"{folder}/pyproject.toml" for folder in FOLDERS))
    projects = [nox.project.load_toml(file)["project"] for file in files]
    every = [Requirement(need) for project in projects for need in project["dependencies"]]
    others = [need for need in every if not need.name.startswith("brainkit")]
    return sorted({f"{need}".replace(">=", "==") for need in others})


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """Run the tests with the oldest releases that are admitted; another 6 GB."""
    constraints = Path(session.create_tmp(), "oldest.txt")
    constraints.write_text("\n".join(oldest()) + "\n", encoding="utf-8")
    session.install("--constraint", str(constraints), ".", *FOLDERS, *group("tests"))
    every = ["tests", *(f"{folder}/tests" for folder in FOLDERS)]
    session.run("pytest", *every, *PARALLEL, *session.posargs, env=ONE_THREAD)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated parts of the docs again and check that nothing changed."""
    session.install(".", *FOLDERS, *group("tests"))
    session.run("python", "docs/generate.py", "--check")
    session.run("pytest", "tests/test_docs.py", env=QUIET)


@nox.session
def wheels(session: nox.Session) -> None:
    """Build the wheels, install them into an empty environment and run them there."""
    session.install("build")
    out = Path(session.create_tmp()) / "wheels"
    for folder in (".", *FOLDERS):
        session.run("python", "-m", "build", "--wheel", "--outdir", str(out), folder)
    empty = Path(session.create_tmp()) / "empty"
    session.run("python", "-m", "venv", "--clear", str(empty))
    built = map(str, sorted(out.glob("*.whl")))
    session.run(str(empty / "bin/python"), "-m", "pip", "install", *built, external=True)
    brainkit = str((empty / "bin/brainkit").resolve())
    with session.chdir(session.create_tmp()):
        session.run(brainkit, "list-plugins", external=True)
        for method in ("unibrain", "minddiffuser", "takagi", "mindreader"):
            few = ("--images", "2", "--no-ceiling")
            session.run(brainkit, "run", method, *few, external=True, env=QUIET)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure speed and memory; prints tables."""
    session.install(".", *FOLDERS, *group("benchmarks"))
    for script in sorted(Path("tests/benchmarks").glob("[!_]*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session
def battery(session: nox.Session) -> None:
    """Kill, damage and starve runs of every method for an hour; prints what was tried and held."""
    session.install(".", *FOLDERS, *group("tests"))
    session.run("python", "tests/battery", *session.posargs, env=ONE_THREAD)


@nox.session
def miniature(session: nox.Session) -> None:
    """Train the miniature's networks again, about six hours on two cores; resumes if killed."""
    session.install(".", *FOLDERS, *group("tests"))
    work = session.posargs or ["--work", str(Path("brainkit-runs/training").resolve())]
    for network in ("autokl", "clip", "clip_b32", "referee"):
        session.run("python", "-m", "brainkit.miniature.train", network, *work)
    for network in ("text_vae", "four_flow"):
        session.run("python", "-m", "brainkit_unibrain.train", network, "--threads", "2", *work)
    session.run("python", "-m", "brainkit_minddiffuser.train", "unet", "--threads", "2", *work)
    scenes = ("-m", "brainkit_mindreader.train", "scenes", "--device", "cpu")
    session.run("torchrun", "--nproc_per_node", "2", *scenes, *work, env={"OMP_NUM_THREADS": "1"})
