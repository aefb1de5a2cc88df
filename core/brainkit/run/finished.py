"""Runs that are finished: found below a folder, checked, mapped, and reported again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from brainkit.console import Say
from brainkit.errors import BrainkitError, UsageError, did_you_mean
from brainkit.parts import Mappable
from brainkit.plugins import Registry
from brainkit.run.config import RunConfig, read_config
from brainkit.run.folder import RUN_FILE, run_files, work_of
from brainkit.run.line import alone, predictions, prepare
from brainkit.run.line import run as walk
from brainkit.run.maps import facts
from brainkit.run.maps.feature import FeatureMaps
from brainkit.run.publish import REPORTING, SCORING
from brainkit.run.shared import Run, reproduce_command


def rewritten(work: Path, registry: Registry) -> list[Path]:
    """Write the reports of the finished runs below a folder again and return their paths.

    Raises:
        UsageError: there is no finished run.
        BrainkitError: a run is not finished.
    """
    paths = []
    quiet: list[str] = []
    for config in finished(work, registry):
        run = prepare(config, registry, quiet.append)
        run.work.again.update(REPORTING)
        paths.append(walk(run))
    return paths


def finished(work: Path, registry: Registry) -> list[RunConfig]:
    """Return the settings of the runs below a folder, each checked to be whole and current.

    Raises:
        UsageError: there is no finished run.
        BrainkitError: a run is not finished.
    """
    files = run_files(work)
    if not files:
        raise UsageError(f"{work} holds no finished run (no {RUN_FILE} in it or below)")
    configs = []
    for file in files:
        config = RunConfig(**{**read_config(file), "work": work_of(file)})
        quiet: list[str] = []
        run = prepare(config, registry, quiet.append, dry=True)
        walk(run)
        missing = [step for step in run.work.computed if step not in SCORING]
        if missing:
            raise BrainkitError(
                f"{file.parent} is not finished ({', '.join(missing)} are missing or out of date); "
                f"run `{reproduce_command(run)}` first"
            )
        configs.append(config)
    return configs


def map_runs(work: Path, registry: Registry, *, asked: Sequence[str], say: Say) -> list[str]:
    """Map features of the finished runs below a folder and write their reports again.

    Args:
        work: folder of results, or anything below it.
        registry: the parts and methods there are.
        asked: names of features; empty for all that can be mapped.
        say: shows one line.

    Returns:
        For each run the text to print: tables of regions and the paths of what was written.

    Raises:
        UsageError: there is no finished run, no such feature, or a regressor that offers no map.
        BrainkitError: a run is not finished, or a file it needs is damaged.
    """
    runs = [prepare(config, registry, say) for config in finished(work, registry)]
    chosen = [(run, chosen_features(run, asked)) for run in runs]
    _require_features(runs, asked)
    if not any(features for _, features in chosen):
        names = ", ".join(dict.fromkeys(run.method.name for run in runs))
        raise UsageError(f"no regressor of {names} offers a map; run it with --use regressor=ridge")
    return [map_run(run, features) for run, features in chosen if features]


def chosen_features(run: Run, asked: Sequence[str]) -> tuple[str, ...]:
    """Return the features of a run to map.

    Raises:
        UsageError: a feature was asked for whose regressor offers no map.
    """
    regressors = run.method.regressors
    chosen = [name for name in regressors if not asked or name in asked]
    silent = [name for name in chosen if not isinstance(regressors[name], Mappable)]
    for name in silent:
        why = f"{run.who(f'regressor.{name}')} of {run.method.name} offers no map of {name}"
        if asked:
            raise UsageError(f"{why}; run it with --use regressor.{name}=ridge")
        run.work.say(f"maps/{name}: left out, {why}")
    return tuple(name for name in chosen if name not in silent)


def _require_features(runs: Sequence[Run], asked: Sequence[str]) -> None:
    known = list(dict.fromkeys(name for run in runs for name in run.method.regressors))
    for name in asked:
        if name not in known:
            methods = ", ".join(dict.fromkeys(run.method.name for run in runs))
            raise UsageError(
                f"{methods} has no feature {name!r} (it has: {', '.join(known)})."
                f"{did_you_mean(name, known)}"
            )


def _mapped(features: Sequence[str], run: Run) -> list[Path]:
    known = predictions(run.looking())
    return [path for name in features for path in FeatureMaps(run, name, known).write()]


def map_run(run: Run, features: Sequence[str]) -> str:
    """Write the maps of one finished run and its report again; return the tables and paths."""
    paths = alone(run, partial(_mapped, features))
    report = walk(run)
    maps = [one for name in features for one in facts.read(facts.artefact(run, name, "facts").path)]
    kinds = dict.fromkeys(one.kind for one in maps)
    tables = [f"{facts.HEADINGS[kind]}\n\n{facts.table(maps, kind)}\n" for kind in kinds]
    title = f"{run.method.name}, subj{run.config.subject:02d}\n"
    return "\n".join([title, *tables, *map(str, [*paths, report])])
