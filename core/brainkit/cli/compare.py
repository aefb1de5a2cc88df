"""`compare` and `figure`: results side by side, as tables and pages or as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from brainkit.cli.flags import home_expanded

Format = Literal["table", "markdown", "latex", "csv", "json"]


Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="A run's folder, a folder of runs, a name below --work, or a metrics.json; "
        "LABEL=RUN names it.",
    ),
]
Work = Annotated[Path, typer.Option(help="Where runs are found by name.", callback=home_expanded)]


def compare(
    runs: Runs,
    work: Work = Path("brainkit-runs"),
    score: Annotated[
        list[str] | None,
        typer.Option(help="Only scores whose name has this in it. Repeatable."),
    ] = None,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="table, markdown, latex, csv or json, as it is printed.",
        ),
    ] = "table",
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


def figure(
    runs: Runs,
    work: Work = Path("brainkit-runs"),
    images: Annotated[
        str,
        typer.Option(
            help="best:8, worst:8, median:8, random:8 (always the same), even:8 (every n-th), or "
            "ids: 3,17,52."
        ),
    ] = "even:8",
    by: Annotated[
        str, typer.Option(help="Part of the name of the score that ranks.  [default: the first]")
    ] = "",
    format_: Annotated[Literal["png", "svg", "pdf"], typer.Option("--format")] = "png",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write.  [default: figure.FORMAT]", callback=home_expanded),
    ] = None,
) -> None:
    """Draw stimuli and what runs made of them as one figure, for a paper.

    Of several runs the first ranks the images. Prints the path of the figure.

    Examples:
        brainkit figure NAME --images best:8 --by SSIM --format pdf
        brainkit figure brainkit-runs --images 3,17,52 --out figure.svg
    """
    from brainkit.compare import compared
    from brainkit.compare.figure import chosen, write_figure
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.run.compared import figure_rows, results_of

    comparison = compared(results_of(runs, work))
    first = comparison.columns[0].runs[0]
    ids = chosen(first, comparison.ids, images, by)
    rows = figure_rows(comparison, ids, Registry.installed(), tell)
    path = out or Path(f"figure.{format_}")
    print(write_figure(rows, ids, path, format_))
