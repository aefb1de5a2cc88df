"""Runs that are finished: found below a folder, checked, and their reports written again."""

from __future__ import annotations

from pathlib import Path

from brainkit.errors import BrainkitError, UsageError
from brainkit.plugins import Registry
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig, read_config
from brainkit.run.shared import reproduce_command


def rewritten(work: Path, registry: Registry) -> list[Path]:
    """Write the reports of the finished runs below a folder again and give their paths.

    Raises:
        UsageError: there is no finished run.
        BrainkitError: a run is not finished.
    """
    paths = []
    quiet: list[str] = []
    for config in finished(work, registry):
        prepared = prepare(config, registry, quiet.append)
        for name in ("metrics.json", "report.html"):
            (prepared.folder / name).unlink(missing_ok=True)
        paths.append(run(prepared))
    return paths


def finished(work: Path, registry: Registry) -> list[RunConfig]:
    """Give the settings of the runs below a folder, each checked to be whole and current.

    Raises:
        UsageError: there is no finished run.
        BrainkitError: a run is not finished.
    """
    files = sorted(work.rglob("run.toml")) if work.is_dir() else []
    if not files:
        raise UsageError(f"{work} holds no finished run (no run.toml in it or below)")
    found = []
    for file in files:
        # Four levels up: the method's folder, the subject's, that of the data, the work folder.
        above = file.parents if len(file.parents) > 3 else file.resolve().parents
        config = RunConfig(**{**read_config(file), "work": above[3]})
        quiet: list[str] = []
        prepared = prepare(config, registry, quiet.append, dry=True)
        run(prepared)
        waiting = [step for step in prepared.work.computed if step not in ("metrics", "report")]
        if waiting:
            raise BrainkitError(
                f"{file.parent} is not finished ({', '.join(waiting)} are missing or out of date); "
                f"run `{reproduce_command(prepared)}` first"
            )
        found.append(config)
    return found
