"""Make the maps of finished runs: numbers, NIfTI volumes and pictures, each an artefact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.console import Say
from brainkit.errors import UsageError, did_you_mean
from brainkit.parts import Mappable
from brainkit.run import prepare
from brainkit.run import regress as steps
from brainkit.run import run as walk
from brainkit.run.finished import finished
from brainkit.run.maps import facts
from brainkit.run.maps.feature import FeatureMaps
from brainkit.run.shared import Run

if TYPE_CHECKING:
    from brainkit.plugins import Registry


def map_runs(work: Path, registry: Registry, *, asked: Sequence[str], say: Say) -> list[str]:
    """Map features of the finished runs below a folder, write their reports again, give tables.

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
    """Give the features of a run to map.

    Raises:
        UsageError: a feature was asked for whose regressor offers no map.
    """
    chosen = [name for name in run.method.regressors if not asked or name in asked]
    silent = [name for name in chosen if not isinstance(run.part(f"regressor.{name}"), Mappable)]
    for name in silent:
        said = f"{run.who(f'regressor.{name}')} of {run.method.name} offers no map of {name}"
        if asked:
            raise UsageError(f"{said}; run it with --use regressor.{name}=ridge")
        run.work.say(f"maps/{name}: left out, {said}")
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


def map_run(run: Run, features: Sequence[str]) -> str:
    """Write the maps of one finished run and its report again; give the tables and paths."""
    with run.work.held():
        trials = steps.load(run)
        paths = [path for name in features for path in FeatureMaps(run, name, trials).write()]
    report = walk(run)
    found = [one for name in features for one in facts.read(facts.folder(run) / f"{name}.json")]
    kinds = dict.fromkeys(each.kind for each in found)
    tables = [f"{facts.HEADINGS[kind]}\n\n{facts.table(found, kind)}\n" for kind in kinds]
    title = f"{run.method.name}, subj{run.config.subject:02d}\n"
    return "\n".join([title, *tables, *map(str, [*paths, report])])
