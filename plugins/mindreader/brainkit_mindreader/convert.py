"""Bring networks that only trainings need, or a snapshot's raw generator, into the store.

    python -m brainkit_mindreader.convert FILE.pkl --to STORE [--network G]
    python -m brainkit_mindreader.convert FILE.pth --to STORE --only mindreader-mapper-image

`brainkit fetch mindreader --from FILE.pkl` brings what runs need. This is the same converter, for
generator and discriminator of a `.pkl` together, and for mappers and the ResNet of trainings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from brainkit.errors import BrainkitError
from brainkit.weights.convert import Converted, ReleasedFiles, convert
from brainkit_mindreader import released

RELEASES = ("GENERATOR", "DISCRIMINATOR", "MAPPER_IMAGE", "MAPPER_CAPTION", "RESNET50")
NAMES = {getattr(released, each).name: each for each in RELEASES}
SNAPSHOT = ("mindreader-generator", "mindreader-discriminator")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit status 0 when done, 1 after an error, told in one sentence."""
    given = _parser().parse_args(arguments)
    wanted = [NAMES[name] for name in given.only or SNAPSHOT]
    if given.network == "G":
        wanted = [each.replace("GENERATOR", "RAW_GENERATOR") for each in wanted]
    try:
        references = [f"{released.__name__}:{each}" for each in wanted]
        done = convert(references, ReleasedFiles((given.source,)), given.to)
    except BrainkitError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("\n".join(map(_told, done)))
    return 0


def _told(done: Converted) -> str:
    if done.kept:
        return f"{done.checkpoint}: kept, it was there"
    size = f"{done.tensors} tensors, {done.size / 1e6:.1f} MB, {done.layout}"
    return "; ".join((f"{done.checkpoint}: written, {size}", *done.notes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m brainkit_mindreader.convert",
        description="Bring networks of LAFITE, Mind Reader or VICReg into the checkpoint store.",
    )
    parser.add_argument("source", type=Path, help="a .pkl snapshot, or a .pth with weights")
    parser.add_argument("--to", type=Path, required=True, metavar="STORE", help="checkpoint store")
    parser.add_argument(
        "--network", default="G_ema", choices=["G_ema", "G"], help="the generator to take"
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
