"""`fetch` and `checkpoints`: bring released weights, and tell which are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainkit.cli import completion
from brainkit.cli.flags import AsJson, StoreFolder, home_expanded


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="METHOD|CHECKPOINT",
            help="See list-plugins and checkpoints.",
            autocompletion=completion.checkpoints,
        ),
    ],
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Released file or folder you have already.",
            callback=home_expanded,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="With --from: config.json of a network of other sizes.", callback=home_expanded
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what was downloaded before.")
    ] = False,
    checkpoints: StoreFolder = None,
    origin: Annotated[
        int,
        typer.Option(
            help="Which of the places that --dry-run lists; the first where there are fewer."
        ),
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would come, how large, which licence.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring released weights: download, check, write into the store.

    A method stands for all its checkpoints and for the networks of its scores. Sizes and licences
    are shown first; a stopped fetch goes on where it was. Exits with 1 when something that runs
    need cannot be had, with --dry-run too.

    Examples:
        brainkit fetch unibrain --dry-run
        brainkit fetch unibrain
        brainkit fetch kl-f8 --origin 2
        brainkit fetch alexnet --from ~/Downloads/alexnet-owt-7be5be79.pth
    """
    from brainkit import fetch as fetching
    from brainkit.console import tell
    from brainkit.plugins import Registry
    from brainkit.tables import laid_out, show, show_json

    asked = fetching.Asked(name, from_, config, offline=offline, origin=origin)
    registry, store = Registry.installed(), _store(checkpoints)
    if dry_run:
        planned = fetching.foretold(registry, asked, store)
        if as_json:
            show_json(fetching.values(planned))
        else:
            show(*fetching.blocks(planned))
        raise typer.Exit(planned.lacks)
    for block in fetching.fetch(registry, asked, store, say=tell):
        if as_json:
            tell(laid_out([block]))
        else:
            show(block)
    if as_json:
        show_json(fetching.stored(registry, store, name).json())


def checkpoints(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="METHOD",
            help="Only what it needs, see list-plugins.",
            autocompletion=completion.methods,
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare its hash.")
    ] = False,
    checkpoints: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """Tell which released weights are there, missing or damaged.

    Exits with 1 when one is damaged. Without --verify, sizes and headers are compared, which takes
    no time.

    Examples:
        brainkit checkpoints
        brainkit checkpoints unibrain --verify
        brainkit checkpoints --json
    """
    from brainkit.console import tell
    from brainkit.fetch.inventory import stored
    from brainkit.plugins import Registry
    from brainkit.tables import show, show_json

    inventory = stored(Registry.installed(), _store(checkpoints), name, verify=verify, say=tell)
    if as_json:
        show_json(inventory.json())
    else:
        show(*inventory.blocks())
    if inventory.damaged:
        raise typer.Exit(1)


def _store(folder: Path | None) -> Path:
    from brainkit.run import default_home

    return folder or default_home() / "checkpoints"
