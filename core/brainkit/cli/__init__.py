"""The command line. Command bodies import what they need, so that help stays fast."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from brainkit.errors import BrainkitError, BrainkitWarning, UsageError

if TYPE_CHECKING:
    from brainkit.plugins import Registry
    from brainkit.run.config import RunConfig

app = typer.Typer(
    name="brainkit",
    help="Turn human brain activity into pictures and captions.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

STOPPED = 130
"""Exit code after an interrupt, as shells have it."""
Method = Annotated[str, typer.Argument(help="Name of a method, see list-plugins.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="ADDRESS=VALUE, e.g. sampler.steps=20. Repeatable."),
]
Use = Annotated[
    list[str] | None,
    typer.Option("--use", help="ADDRESS=NAME: another part there, e.g. regressor=mean."),
]


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage."""
    debug = "--debug" in sys.argv
    warnings.showwarning = _show_warning
    try:
        app()
    except BrainkitError as error:
        if debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except (KeyboardInterrupt, SystemExit) as left:
        # typer turns an interrupt into a silent exit
        if isinstance(left, SystemExit) and left.code != STOPPED:
            raise
        print("Stopped; run the same command again to go on from here.", file=sys.stderr)
        sys.exit(STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print brainkit's own warnings as a line each; libraries' are for developers."""
    if issubclass(category, BrainkitWarning) or "--debug" in sys.argv:
        print(f"Warning: {message}", file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        from brainkit import __version__

        print(f"brainkit {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    """Options of every command."""


@app.command("list-plugins")
def list_plugins(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the installed plugins, what they offer, and those that cannot be used."""
    from brainkit.cli import listing

    print(listing.plugins(_registry(), as_json=as_json))


@app.command()
def show(
    method: Method,
    preset: Annotated[
        str, typer.Option(help="The method's own set of options that is shown.")
    ] = "paper",
    use: Use = None,
    option: Options = None,
) -> None:
    """Show every part of a method with its options, limits and help, and its presets."""
    from brainkit.cli import listing
    from brainkit.run.config import RunConfig

    config = RunConfig(
        method=method, preset=preset, use=_pairs(use, "--use"), options=_values(option)
    )
    print(listing.method(config.applied(_registry().get)))


@app.command()
def run(
    method: Method,
    config: Annotated[
        Path | None, typer.Option(help="TOML run file; flags given here win over it.")
    ] = None,
    subject: Annotated[int | None, typer.Option(help="1 to 8.  [default: 1]")] = None,
    nsd: Annotated[
        Path | None, typer.Option(help="Folder of an NSD download.  [default: the miniature]")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for results.  [default: brainkit-runs]")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of the released weights.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="released, or random: the released sizes untrained, to see time and memory.  "
            "[default: the miniature's on the miniature, else released]"
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Count of test images, or ids: 10 or 3,17,52."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images sampled at once; never changes a result.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:n.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all noise.  [default: 0]")] = None,
    ceiling: Annotated[
        bool | None,
        typer.Option("--ceiling/--no-ceiling", help="Also run from the true features, or not."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Reconstructions of each image, all scored.  [default: the method's]"),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(help="Group of scores beside the method's, e.g. mindeye2. Repeatable."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The method's own set of options, see show.")
    ] = None,
    use: Use = None,
    option: Options = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be computed, read and written.")
    ] = False,
) -> None:
    """Reconstruct what a subject saw, score it and write a report.

    Prints the path of the report. A second identical run computes nothing; a killed run goes on
    where it stopped.
    """
    given = {
        "subject": subject, "nsd": nsd, "work": work, "checkpoints": checkpoints,
        "weights": weights,
        "images": _images(images), "batch_size": batch_size, "device": device, "dtype": dtype,
        "seed": seed, "ceiling": ceiling, "samples": samples, "preset": preset,
        "scores": tuple(scores) if scores else None,
    }  # fmt: skip
    settings = _configured(method, config, given, use, option)
    from brainkit import run as running
    from brainkit.console import to_stderr

    prepared = running.prepare(settings, _registry(), to_stderr, dry=dry_run)
    if dry_run:
        _print_plan(prepared)
    path = running.run(prepared)
    if not dry_run:
        _print_result(prepared, path)


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="METHOD|CHECKPOINT", help="See list-plugins and checkpoints.")
    ],
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Released file or folder you have already."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="With --from: config.json of a network of other sizes."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what was downloaded before.")
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of the released weights.")
    ] = None,
    origin: Annotated[
        int,
        typer.Option(
            help="Which of the places that --dry-run lists; the first where there are fewer."
        ),
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would come, how large, which licence.")
    ] = False,
) -> None:
    """Download released weights, check them, and write them into the checkpoint store.

    A method stands for all its checkpoints and for the networks of its scores. Sizes and licences
    are shown first; a stopped fetch goes on where it was.
    """
    from brainkit import fetch as fetching
    from brainkit.console import to_stderr

    asked = fetching.Asked(name, from_, config, offline=offline, origin=origin)
    for text in fetching.fetch(_registry(), asked, _store(checkpoints), dry=dry_run, say=to_stderr):
        print(text, flush=True)


@app.command("checkpoints")
def checkpoints_(
    name: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="Only what it needs, see list-plugins.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare its hash.")
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of the released weights.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which released weights are there, missing or damaged. Exits with 1 when one is damaged.

    Without --verify, sizes and headers are compared, which takes no time.
    """
    from brainkit.console import to_stderr
    from brainkit.fetch.inventory import stored

    found = stored(_registry(), _store(checkpoints), name, verify=verify, say=to_stderr)
    print(found.json() if as_json else found.text())
    if found.damaged:
        raise typer.Exit(1)


@app.command()
def report(
    work: Annotated[Path, typer.Argument(help="Folder of results, or anything below it.")],
) -> None:
    """Write the report of a finished run again and print its path."""
    from brainkit.run.finished import rewritten

    for path in rewritten(work, _registry()):
        print(path)


@app.command("map")
def map_(
    work: Annotated[Path, typer.Argument(help="Folder of results, or anything below it.")],
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", "-f", help="Which to map. Repeatable.  [default: all]"),
    ] = None,
) -> None:
    """Map which voxels a finished run reads each feature from.

    Prints the mean importance of every named region, and the paths of NIfTI volumes and pictures;
    the report of the run shows them too.
    """
    from brainkit.console import to_stderr
    from brainkit.run.maps.command import map_runs

    for text in map_runs(work, _registry(), asked=feature or (), say=to_stderr):
        print(text)


@app.command("check-data")
def check_data(
    path: Annotated[Path, typer.Argument(help="Folder of an NSD download.")],
    subject: Annotated[int | None, typer.Option(help="1 to 8.  [default: all there are]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what an NSD download has, lacks and contradicts. Exits with 1 when it cannot be used."""
    from brainkit.nsd import check_data as check

    found = check(path, subject)
    print(found.json() if as_json else found.text())
    if found.contradictions or not found.present:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Print versions, devices, weights and caches: what a bug report needs."""
    from brainkit.cli import listing

    print(listing.doctor(_registry()))


def _registry() -> Registry:
    from brainkit.plugins import Registry

    return Registry.installed()


def _store(given: Path | None) -> Path:
    from brainkit.run import default_home

    return given or default_home() / "checkpoints"


def _configured(
    method: str,
    file: Path | None,
    given: dict[str, Any],
    use: list[str] | None,
    option: list[str] | None,
) -> RunConfig:
    from brainkit.run.config import RunConfig, read_config

    values = read_config(file) if file else {}
    if values.get("method", method) != method:
        raise UsageError(f"{file} is of method {values['method']!r}, but {method!r} was asked for")
    values |= {name: value for name, value in given.items() if value is not None}
    values["method"] = method
    values["use"] = {**values.get("use", {}), **_pairs(use, "--use")}
    values["options"] = {**values.get("options", {}), **_values(option)}
    try:
        return RunConfig(**values).check()
    except TypeError as error:
        raise UsageError(f"run file {file} has a value of the wrong type: {error}") from error


def _pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        address, equals, value = text.partition("=")
        if not equals or not address.strip():
            raise UsageError(f"{flag} is {text!r}, expected ADDRESS=VALUE")
        pairs[address.strip()] = value.strip()
    return pairs


def _values(texts: list[str] | None) -> dict[str, Any]:
    from brainkit.options import parsed

    return {address: parsed(text) for address, text in _pairs(texts, "-o").items()}


def _images(text: str | None) -> int | tuple[int, ...] | None:
    if text is None or text == "all":
        return None
    try:
        numbers = tuple(int(each) for each in text.split(",") if each.strip())
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise UsageError(
            f"--images is {text!r}, expected a count such as 10 or ids such as 3,17,52"
        )
    # "3," is the one way to ask for a single id.
    return numbers if "," in text else numbers[0]


def _print_plan(prepared: Any) -> None:
    from brainkit.cli.listing import plan

    print(plan(prepared))
    if prepared.networks != "miniature":
        from brainkit.run.estimate import estimate, text

        print("\n".join(text(estimate(prepared), prepared)), flush=True)


def _print_result(prepared: Any, path: Path) -> None:
    from brainkit.run.publish import summary

    print(summary(prepared))
    print(path)


if __name__ == "__main__":
    main()
