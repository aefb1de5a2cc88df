"""`compare`: several results side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from brainkit.cli.flags import home_expanded

Format = Literal["table", "markdown", "latex", "csv", "json"]


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="A run's folder, a folder of runs, a name below --work, or a metrics.json; "
            "LABEL=RUN names its column.",
        ),
    ],
    work: Annotated[
        Path, typer.Option(help="Where runs are found by name.", callback=home_expanded)
    ] = Path("brainkit-runs"),
    score: Annotated[
        list[str] | None,
        typer.Option(help="Only scores whose name has this in it. Repeatable."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How it is printed.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write a page with all images.", callback=home_expanded),
    ] = None,
) -> None:
    """Set results side by side: scores, means over subjects, paired tests, images.

    Runs of one composition and several subjects share a column, which has their mean. Only images
    common to all runs are compared. Published numbers of the methods stand apart.

    Examples:
        brainkit compare brainkit-runs
        brainkit compare brainkit-runs --format markdown --score SSIM --score CLIP
        brainkit compare mine=NAME theirs=other/metrics.json --out comparison.html
    """
    from brainkit.compare import compared
    from brainkit.compare.formats import FORMATS, as_object, blocks
    from brainkit.compare.page import write_page
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.run.compared import published_of, results_of, shown
    from brainkit.tables import show, show_json

    comparison = compared(results_of(runs, work), score or ())
    registry = Registry.installed()
    published = published_of(comparison, registry)
    if as_json:
        show_json(as_object(comparison, published))
    elif format_ == "table":
        show(*blocks(comparison, published))
    else:
        print(FORMATS[format_](comparison, published))
    if out is not None:
        title = "Comparison of " + ", ".join(column.label for column in comparison.columns)
        tell(str(write_page(comparison, published, shown(comparison, registry, tell), out, title)))
