"""`import-data`: data of a lab's own, as a folder that every command reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainkit.cli.flags import AsJson, home_expanded


def import_data(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder to write, or one written before.", callback=home_expanded),
    ],
    betas: Annotated[
        list[str],
        typer.Option(help="Responses: FILE, FILE:DATASET, a folder or PATTERN. Repeatable."),
    ],
    trials: Annotated[
        list[str],
        typer.Option(help="Table of the pictures that were shown; likewise. Repeatable."),
    ],
    subject: Annotated[str, typer.Option(help="Name, such as sub-CSI1, or number.")],
    stimuli: Annotated[
        Path | None, typer.Option(help="Folder of pictures, or file with an array of them.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Table of picture and caption, or COCO's JSON.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Volume above 0 where voxels are taken.")
    ] = None,
    roi: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: volume of labels. Repeatable.")
    ] = None,
    test: Annotated[
        str, typer.Option(help="Share of pictures held out, or file that names them.")
    ] = "0.1",
    seed: Annotated[int, typer.Option(help="Of the held-out share.", min=0)] = 0,
    axes: Annotated[
        str, typer.Option(help="Axes of betas that are no NIfTI: tv or xyzt in their order.")
    ] = "",
    image_column: Annotated[
        str, typer.Option(help="Column of the tables that names pictures.")
    ] = "",
    pixels: Annotated[
        int | None,
        typer.Option(help="Side that pictures are brought to.  [default: theirs, or 425]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the dataset.  [default: the folder's]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write data of your own as a folder that every command reads with --nsd.

    Call it once for each subject; the first call brings pictures, captions and test images. Files
    of one session (ses-01 in their names) are joined. Formats: NIfTI, .npy, HDF5, MATLAB 7.3,
    safetensors; tables as BIDS has them, or a picture a line.

    Examples:
        brainkit import-data lab --subject sub-01 --betas betas --trials events
        brainkit import-data lab --subject sub-02 --betas b.h5:betas --trials t.txt
        brainkit check-data lab
        brainkit run unibrain --nsd lab --subject 1
    """
    from brainkit.nsd import check_data
    from brainkit.nsd.own.importing import Sources, import_subject
    from brainkit.options import pairs
    from brainkit.tables import show, show_json

    regions = {key: Path(path) for key, path in pairs(roi or (), "--roi", "NAME=FILE").items()}
    sources = Sources(betas, trials, mask, regions, axes, image_column)
    number = int(subject) if subject.isdecimal() else subject
    import_subject(
        folder,
        number,
        sources,
        stimuli=stimuli,
        captions=captions,
        test=_tests(test),
        seed=seed,
        name=name or folder.resolve().name,
        pixels=pixels,
    )
    findings = check_data(folder, number)
    if as_json:
        show_json(findings.json())
    else:
        show(*findings.blocks())


def _tests(text: str) -> Path | float:
    try:
        return float(text)
    except ValueError:
        return Path(text)
