"""`run`, and what --dry-run prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainkit.cli import completion
from brainkit.cli.flags import (
    AsJson,
    OptionTexts,
    PluginFiles,
    Preset,
    StoreFolder,
    Strict,
    UseTexts,
    home_expanded,
)
from brainkit.run.config import about

if TYPE_CHECKING:
    from brainkit.run import Run
    from brainkit.run.estimate import Need
    from brainkit.schema import RunDone, RunPlan, StepNeed


def run(
    context: typer.Context,
    method: Annotated[
        str | None,
        typer.Argument(
            metavar="[METHOD]",
            help="Name of a method, see list-plugins; not needed with --config.",
            autocompletion=completion.methods,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML run file; flags given here win over it.", callback=home_expanded),
    ] = None,
    subject: Annotated[str | None, typer.Option(help=about("subject"))] = None,
    nsd: Annotated[Path | None, typer.Option(help=about("nsd"))] = None,
    work: Annotated[Path | None, typer.Option(help=about("work"))] = None,
    checkpoints: StoreFolder = None,
    weights: Annotated[
        str | None, typer.Option(help=about("weights"), autocompletion=completion.weights)
    ] = None,
    images: Annotated[str | None, typer.Option(help=about("images"))] = None,
    batch_size: Annotated[int | None, typer.Option(help=about("batch_size"))] = None,
    device: Annotated[
        str | None, typer.Option(help=about("device"), autocompletion=completion.devices)
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help=about("dtype"), autocompletion=completion.dtypes)
    ] = None,
    seed: Annotated[int | None, typer.Option(help=about("seed"))] = None,
    ceiling: Annotated[
        bool | None, typer.Option("--ceiling/--no-ceiling", help=about("ceiling"))
    ] = None,
    null: Annotated[bool | None, typer.Option("--null/--no-null", help=about("null"))] = None,
    samples: Annotated[int | None, typer.Option(help=about("samples"))] = None,
    scores: Annotated[
        list[str] | None, typer.Option(help=about("scores"), autocompletion=completion.scores)
    ] = None,
    controls: Annotated[
        str | None, typer.Option(help=about("controls"), autocompletion=completion.controls)
    ] = None,
    preset: Preset = None,
    name: Annotated[str | None, typer.Option(help=about("name"))] = None,
    use: UseTexts = None,
    option: OptionTexts = None,
    plugin: PluginFiles = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be computed, read and written.")
    ] = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Reconstruct what a subject saw, score it and write a report.

    Prints the path of the report. A second identical run computes nothing; a killed run goes on
    where it stopped.

    Examples:
        brainkit run unibrain
        brainkit run unibrain --images 10 -o sampler.steps=20
        brainkit run minddiffuser --nsd ~/nsd --subject 2 --dry-run
        brainkit run mindreader --use regressor=ridge --work results
    """
    from brainkit import run as running
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.run.publish import require_no_findings, summary
    from brainkit.tables import Verbatim, show, show_json

    # Every flag is a setting of the same name, so the context holds them all.
    settings = running.configured(method, context.params, file=config)
    prepared = running.prepare(settings, Registry.installed(plugin), tell, dry=dry_run)
    if dry_run and not as_json:
        _print_plan(prepared)
    path = running.run(prepared)
    if as_json:
        show_json(planned(prepared) if dry_run else done(prepared))
    elif not dry_run:
        show(*summary(prepared), Verbatim(str(path)))
    if strict and not dry_run:
        require_no_findings(prepared.folder.metrics)


def _print_plan(prepared: Run) -> None:
    from brainkit.tables import show

    show(*(f"{word:<7}  {text}" for word, text in plan_rows(prepared)))
    if prepared.networks != "miniature":
        from brainkit.run.estimate import estimate, text

        show(*text(estimate(prepared), prepared))


def planned(run: Run) -> RunPlan:
    """Return what a dry run tells, for programs."""
    from brainkit.run.estimate import estimate

    foretold = estimate(run) if run.networks != "miniature" else None
    return {
        "method": run.method.name,
        "data": str(run.nsd),
        "subject": str(run.config.subject),
        "weights": run.networks,
        "training_images": len(run.image_ids[0]),
        "test_images": len(run.image_ids[1]),
        "reconstructed": len(run.chosen),
        "samples": run.method.samples,
        "split": run.plan.test_images,
        "device": run.store.device,
        "dtype": run.store.dtype,
        "batch_size": run.config.batch_size,
        "reads": run.plan.bytes_read,
        "folder": str(run.folder.root),
        "computed": list(dict.fromkeys(run.work.computed)),
        "kept": list(dict.fromkeys(run.work.kept)),
        "memory": [_need(need) for need in foretold.needs] if foretold else [],
        "disk": dict(foretold.disk) if foretold else {},
    }


def _need(need: Need) -> StepNeed:
    return {
        "step": need.step,
        "batch": need.batch,
        "weights": need.weights,
        "memory": need.memory,
        "unknown": need.unknown,
    }


def done(run: Run) -> RunDone:
    """Return what a run leaves and did, for programs."""
    from brainkit.cli.results import report_entry

    return {
        **report_entry(run.folder),
        "computed": list(dict.fromkeys(run.work.computed)),
        "kept": list(dict.fromkeys(run.work.kept)),
    }


def plan(run: Run) -> str:
    """Return what a dry run prints first as text."""
    return "\n".join(f"{word:<7}  {text}" for word, text in plan_rows(run))


def plan_rows(run: Run) -> list[tuple[str, str]]:
    """Return what a dry run prints first: what is read, how much, and where files go."""
    train, test = run.image_ids
    times = f" {run.method.samples} times" if run.method.samples > 1 else ""
    return [
        ("method", f"{run.method.name} on {'the miniature' if run.miniature else run.nsd}"),
        ("weights", _networks(run)),
        (
            "subject",
            f"{run.config.subject}: {len(train)} training images, {len(test)} test images, "
            f"{len(run.chosen)} to be reconstructed{times}",
        ),
        ("tests", run.plan.test_images),
        (
            "network",
            f"{run.store.dtype} on {run.store.device}, batches of {run.config.batch_size}",
        ),
        ("reads", run.plan.text()),
        ("writes", str(run.folder.root)),
    ]


def _networks(run: Run) -> str:
    if run.networks == "random":
        return "random, in the released sizes: pictures and scores will mean nothing"
    return "the miniature's" if run.networks == "miniature" else f"released, in {run.store.root}"
