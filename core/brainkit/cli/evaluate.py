"""`evaluate`: scores of what any program made."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from brainkit.cli.flags import AsJson, OptionTexts, StoreFolder, Strict, home_expanded
from brainkit.run.config import about


def evaluate(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Pictures (a folder, .npy, .npz, .safetensors, .h5), captions (.jsonl, .csv, "
            ".tsv), or a folder with images/ and captions.jsonl.",
        ),
    ],
    nsd: Annotated[Path | None, typer.Option(help=about("nsd"))] = None,
    subject: Annotated[str | None, typer.Option(help=about("subject"))] = None,
    split: Annotated[
        Literal["shared", "first-seen-85"],
        typer.Option(help="Which images of NSD are test images."),
    ] = "shared",
    sessions: Annotated[
        int | None, typer.Option(help="Test images of the first so many.  [default: all]")
    ] = None,
    tests: Annotated[
        Path | None,
        typer.Option(
            help="Ids of the test images of another split: one a line, or clusters-*.json.",
            callback=home_expanded,
        ),
    ] = None,
    stimuli: Annotated[
        Path | None,
        typer.Option(help="What was shown, if not NSD: pictures as PATH.", callback=home_expanded),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            help="What people wrote of it: .jsonl, .csv or .tsv, several lines an image.",
            callback=home_expanded,
        ),
    ] = None,
    null: Annotated[
        Path | None,
        typer.Option(
            help="What the program makes of the mean brain, as PATH; one or several draws.",
            callback=home_expanded,
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            help="Ids or names in the order of PATH, one a line or .npy.", callback=home_expanded
        ),
    ] = None,
    array: Annotated[
        str | None, typer.Option(help="Name of the array, in a file with several.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Which are scored: a count, ids, or given.  [default: all]"),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Pictures of each image, named ID-1, ID-2 and so on.")
    ] = None,
    scores: Annotated[list[str] | None, typer.Option(help=about("scores"))] = None,
    work: Annotated[Path | None, typer.Option(help=about("work"))] = None,
    checkpoints: StoreFolder = None,
    weights: Annotated[str | None, typer.Option(help=about("weights"))] = None,
    device: Annotated[str | None, typer.Option(help=about("device"))] = None,
    dtype: Annotated[str | None, typer.Option(help=about("dtype"))] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a network reads at once.")] = None,
    option: OptionTexts = None,
    as_json: AsJson = False,
    strict: Strict = False,
) -> None:
    """Score pictures and captions that any program made, and write a report.

    Images are told by the numbers in file names or by a column of ids. Prints the path of the
    report.

    Examples:
        brainkit evaluate recons/ --nsd /data/nsd --subject 1 --sessions 37
        brainkit evaluate recons.npy captions.csv --ids ids.txt --nsd /data/nsd
        brainkit evaluate out/ --stimuli shown/ --captions truth.jsonl
    """
    from brainkit.cli.results import report_entry
    from brainkit.console import tell
    from brainkit.evaluate import Request
    from brainkit.evaluate import evaluate as score
    from brainkit.evaluate.evaluation import GIVEN
    from brainkit.evaluate.texts import read_ids
    from brainkit.evaluate.truth import Parting
    from brainkit.options import checked_path
    from brainkit.run.config import configured
    from brainkit.run.publish import require_no_findings, score_blocks
    from brainkit.tables import Verbatim, show, show_json

    own = "released" if stimuli is not None else None
    typed = {**context.params, "weights": weights or own}
    # Of a run, --null is another setting.
    typed |= {"null": None, **({"images": None} if images == GIVEN else {})}
    named = None if tests is None else tuple(read_ids(tests))
    request = Request(
        paths=tuple(checked_path(path, "PATH") for path in paths),
        config=configured("evaluate", typed),
        stimuli=stimuli,
        captions=captions,
        ids=ids,
        array=array,
        tests=Parting(split, sessions, named, "" if tests is None else tests.name),
        given=images == GIVEN,
        null=null,
    )
    folder = score(request, tell, shlex.join(["brainkit", *sys.argv[1:]]))
    if as_json:
        show_json(report_entry(folder))
    else:
        show(*score_blocks(folder.metrics), Verbatim(str(folder.report)))
    if strict:
        require_no_findings(folder.metrics)
