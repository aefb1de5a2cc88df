"""Runs that are finished: found below a folder, checked, mapped, and reported again."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from brainkit.console import Say
from brainkit.disk import UnwritableError
from brainkit.errors import BrainkitError, UsageError, did_you_mean, enumerated
from brainkit.method import KINDS
from brainkit.names import subject_name
from brainkit.parts import Mappable
from brainkit.plugins import Registry
from brainkit.run.config import PLUGINS, RunConfig, config_in
from brainkit.run.folder import RUN_FILE, Folder, found_runs, older
from brainkit.run.line import at_work, predictions, prepare
from brainkit.run.line import run as walk
from brainkit.run.maps import facts
from brainkit.run.maps.feature import FeatureMaps
from brainkit.run.publish import REPORTING, SCORING
from brainkit.run.shared import Run
from brainkit.schema import MapEntry


def rewritten(runs: Sequence[Folder], registry: Registry, say: Say) -> list[Path]:
    """Write the reports of finished runs again and return their paths.

    A report stays whose method or parts are not registered here.

    Args:
        runs: which.
        registry: the parts and methods there are.
        say: told of reports that stay.

    Raises:
        BrainkitError: a run is not finished.
    """
    paths = []
    quiet: list[str] = []
    for folder in runs:
        lacking = unregistered(config_in(folder), registry)
        if lacking and folder.report.is_file():
            why = f"no plugin registers {lacking}{_remedy(folder, registry)}"
            say(f"{folder.root.name} keeps the report it has: {why}")
            paths.append(folder.report)
            continue
        run = opened(folder, registry, quiet.append)
        require_finished(run, SCORING)
        run.work.again.update(REPORTING)
        try:
            paths.append(walk(run))
        except UnwritableError as error:
            # What is there serves if it is current; else the sentence comes again.
            run.work.again.clear()
            paths.append(walk(run))
            say(f"{folder.root.name} keeps the report it has: {error}")
    return paths


def chosen_runs(path: Path, name: str | None, say: Say) -> list[Folder]:
    """Return the runs in a folder and below, or the one of a name.

    Args:
        path: a work folder, one of data or of a subject, or a run's own.
        name: of a run's folder; None for all.
        say: told of runs that an earlier brainkit made.

    Raises:
        UsageError: there is none.
    """
    runs, old = found_runs(path)
    if old:
        say(older(old))
    chosen = [run for run in runs if name in (None, run.root.name)]
    if not runs:
        raise UsageError(f"{path} holds no finished run (no {RUN_FILE} in it or below)")
    if not chosen:
        names = list(dict.fromkeys(run.root.name for run in runs))
        hint = did_you_mean(str(name), names)
        raise UsageError(f"{path} has no run {name!r}; it has {enumerated(names)}.{hint}")
    return chosen


def opened(folder: Folder, registry: Registry, say: Say) -> Run:
    """Return the run that a folder is of, as its run file says.

    Raises:
        BrainkitError: the run file would not lead to this folder, or asks for what is not there.
    """
    config = config_in(folder)
    lacking = unregistered(config, registry)
    if lacking:
        raise UsageError(
            f"{folder.root.name} cannot be opened: no plugin registers {lacking}"
            f"{_remedy(folder, registry)}"
        )
    run = prepare(config, registry, say)
    if run.folder.root != folder.root:
        raise BrainkitError(
            f"{folder.root} is not what its run file leads to, {run.folder.root}: the data, a "
            f"plugin or brainkit changed since; run `{again(folder)}` to make it anew there"
        )
    return run


def unregistered(config: RunConfig, registry: Registry) -> str:
    """Return what of a run's method no plugin registers, for a message; "" if nothing."""
    named = {"method": [config.method]}
    if config.composition:
        named = {kind: [] for kind in KINDS}
        for address, name in config.composition.items():
            named.get(address.partition(".")[0], []).append(name)
    lacking = [
        f"the {kind} {name!r}"
        for kind, names in named.items()
        for name in dict.fromkeys(names)
        if name not in registry.names(kind)
    ]
    return enumerated(lacking)


def recorded_plugins(path: Path) -> dict[str, str]:
    """Return which distributions a run file was run with, and their versions."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8-sig")).get(PLUGINS)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
    return {str(name): str(version) for name, version in told.items()} if told else {}


def _remedy(folder: Folder, registry: Registry) -> str:
    """Say what to install for a run whose plugins are not here; "" where nothing is recorded."""
    here = {plugin.distribution.partition(" ")[0] for plugin in registry.plugins}
    recorded = recorded_plugins(folder.run_file)
    lacking = [f"{name} {version}" for name, version in recorded.items() if name not in here]
    return f"; install {enumerated(lacking)}, with which it was run" if lacking else ""


def again(folder: Folder) -> str:
    """Return the command that does the run of a folder again, where it is."""
    return shlex.join(["brainkit", "run", "--config", str(folder.run_file.absolute())])


def require_finished(run: Run, passed_over: Collection[str]) -> None:
    """Check that all files of a run are whole and current.

    Args:
        run: which.
        passed_over: steps that may be missing.

    Raises:
        BrainkitError: one is not.
    """
    looking = run.looking()
    walk(looking)
    missing = [step for step in looking.work.computed if step not in passed_over]
    if missing:
        raise BrainkitError(
            f"{run.folder.root} is not finished ({', '.join(missing)} are missing or out of date); "
            f"run `{again(run.folder)}` first"
        )


def map_runs(
    folders: Sequence[Folder], registry: Registry, *, asked: Sequence[str], say: Say
) -> list[MappedRun]:
    """Map features of runs and write their reports again.

    Args:
        folders: of the runs.
        registry: the parts and methods there are.
        asked: names of features; empty for all that can be mapped.
        say: shows one line.

    Returns:
        For each run what was mapped and the paths of what was written.

    Raises:
        UsageError: there is no such feature, or a regressor that offers no map.
        BrainkitError: a run's weights are missing, or a file it needs is damaged.
    """
    runs = [opened(folder, registry, say) for folder in folders]
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
    looking = run.looking()
    known = predictions(looking)
    needed = {f"{kind}/{name}" for name in features for kind in ("features", "weights")}
    missing = [step for step in looking.work.computed if step in {"trials", "factor", *needed}]
    if missing:
        raise BrainkitError(
            f"{run.folder.root} has no weights to map ({', '.join(missing)} are missing or out of "
            f"date); run `{again(run.folder)}` first"
        )
    return [path for name in features for path in FeatureMaps(run, name, known).write()]


@dataclass(frozen=True)
class MappedRun:
    """What `brainkit map` made of a run.

    Attributes:
        run: which.
        maps: their numbers, by feature and kind.
        paths: of what was written, the report the last, if the run has one.
    """

    run: Run
    maps: Sequence[facts.Facts]
    paths: Sequence[Path]

    def text(self) -> str:
        """Return tables of regions and the paths, as lines."""
        kinds = dict.fromkeys(one.kind for one in self.maps)
        tables = [f"{facts.HEADINGS[kind]}\n\n{facts.table(self.maps, kind)}\n" for kind in kinds]
        title = f"{self.run.folder.root.name}, {subject_name(self.run.config.subject)}\n"
        return "\n".join([title, *tables, *map(str, self.paths)])

    def json(self) -> MapEntry:
        """Return the same for programs."""
        return {
            "folder": str(self.run.folder.root),
            "maps": [
                {
                    "feature": one.feature,
                    "kind": one.kind,
                    "voxels": one.voxels,
                    "mean": one.mean,
                    "max": one.largest,
                    "regions": [
                        {
                            "volume": region.volume,
                            "name": region.name,
                            "voxels": region.voxels,
                            "mean": region.mean,
                        }
                        for region in one.regions
                    ],
                }
                for one in self.maps
            ],
            "files": list(map(str, self.paths)),
        }


def map_run(run: Run, features: Sequence[str]) -> MappedRun:
    """Write the maps of one run, and its report again if it has one."""
    paths = at_work(run, partial(_mapped, features))
    try:
        require_finished(run, SCORING)
    except BrainkitError as error:
        run.work.say(f"report: not written again, since {error}")
    else:
        paths.append(walk(run))
    maps = [
        one for name in features for one in facts.read(run.folder.map(name, facts.ENDINGS["facts"]))
    ]
    return MappedRun(run, maps, paths)
