"""`run`, and what --dry-run prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainkit.cli import completion
from brainkit.cli.flags import (
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


def run(
    context: typer.Context,
    method: Annotated[
        str | None,
        typer.Argument(
            metavar="[METHOD]", help="Name of a method, see list-plugins; not needed with --config."
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
    samples: Annotated[int | None, typer.Option(help=about("samples"))] = None,
    scores: Annotated[
        list[str] | None, typer.Option(help=about("scores"), autocompletion=completion.scores)
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

    # Every flag is a setting of the same name, so the context holds them all.
    settings = running.configured(method, context.params, file=config)
    prepared = running.prepare(settings, Registry.installed(plugin), tell, dry=dry_run)
    if dry_run:
        _print_plan(prepared)
    path = running.run(prepared)
    if not dry_run:
        _print_scores(prepared, path, strict=strict)


def _print_plan(prepared: Run) -> None:
    print(plan(prepared))
    if prepared.networks != "miniature":
        from brainkit.run.estimate import estimate, text

        print("\n".join(text(estimate(prepared), prepared)), flush=True)


def _print_scores(prepared: Run, path: Path, *, strict: bool) -> None:
    from brainkit.run.publish import require_no_findings, summary

    print(summary(prepared))
    print(path, flush=True)
    if strict:
        require_no_findings(prepared.folder.metrics)


def plan(run: Run) -> str:
    """Return what a dry run prints first: what is read, how much, and where files go."""
    train, test = run.image_ids
    times = f" {run.method.samples} times" if run.method.samples > 1 else ""
    lines = [
        f"method   {run.method.name} on {'the miniature' if run.miniature else run.nsd}",
        f"weights  {_networks(run)}",
        f"subject  {run.config.subject}: {len(train)} training images, {len(test)} test images, "
        f"{len(run.chosen)} to be reconstructed{times}",
        f"tests    {run.plan.test_images}",
        f"network  {run.store.dtype} on {run.store.device}, batches of {run.config.batch_size}",
        f"reads    {run.plan.text()}",
        f"writes   {run.folder.root}",
    ]
    return "\n".join(lines)


def _networks(run: Run) -> str:
    if run.networks == "random":
        return "random, in the released sizes: pictures and scores will mean nothing"
    return "the miniature's" if run.networks == "miniature" else f"released, in {run.store.root}"
