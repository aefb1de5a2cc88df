"""Command line: `python -m brainkit_mindreader.train mappers|generator|scenes`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.console import to_stderr
from brainkit.ending import ended

if TYPE_CHECKING:
    from brainkit.run import Run

MINIATURE = Path(__file__).parents[1] / "miniature" / "generator"
SCENES_SECONDS = 5400.0
PRECISIONS = ("no", "bf16", "fp16")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train: exit 0 done, 1 failed, 2 wrong usage."""
    args = parser().parse_args(arguments)
    with ended(stopped="Stopped; the same command goes on from the last kept state.", say=_say):
        args.stage(args)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all three stages."""
    whole = argparse.ArgumentParser(
        prog="python -m brainkit_mindreader.train",
        description="Train Mind Reader's mappers (stage 1) and its generator (stage 2). Several "
        "GPUs or processes: accelerate launch -m brainkit_mindreader.train generator ...",
    )
    stages = whole.add_subparsers(required=True, metavar="STAGE")
    one = stages.add_parser("mappers", help="fit the mappers, as brainkit run does")
    one.set_defaults(stage=train_mappers)
    two = stages.add_parser("generator", help="fine-tune a generator on the mappers' predictions")
    two.set_defaults(stage=train_generator)
    for each in (one, two):
        _add_run(each)
    _add_tuning(two)
    small = stages.add_parser("scenes", help="train the miniature's generator")
    small.set_defaults(stage=train_scenes)
    small.add_argument("--seconds", type=float, default=SCENES_SECONDS, help="in all")
    small.add_argument("--work", type=Path, default=Path("train"), help="where the state is kept")
    small.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    small.add_argument("--device", default="auto", help="auto, cpu or cuda")
    small.add_argument("--to", type=Path, default=MINIATURE, help="where the weights go")
    return whole


def _add_run(stage: argparse.ArgumentParser) -> None:
    """Add the settings that have to be those of `brainkit run mindreader`."""
    add = stage.add_argument
    add("--nsd", type=Path, help="folder of an NSD download; default: the miniature")
    add("--subject", type=int, default=1, help="1 to 8; default: 1")
    add("--work", type=Path, default=Path("brainkit-runs"), help="default: brainkit-runs")
    add("--checkpoints", type=Path, help="folder of the released weights")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--dtype", default="auto", help="of CLIP while it encodes, as in brainkit run")
    add("--preset", help="the method's own set of options")
    add("-o", "--option", action="append", default=[], help="ADDRESS=VALUE; repeatable")
    add("--use", action="append", default=[], help="ADDRESS=NAME, another part; repeatable")


def _add_tuning(stage: argparse.ArgumentParser) -> None:
    add = stage.add_argument
    add("--init", type=Path, help="folder with mindreader-generator and, if there, "
        "mindreader-discriminator; default: that of --checkpoints")  # fmt: skip
    add("--kimg", type=float, default=25_000, help="thousands of pictures in all")
    add("--seconds", type=float, help="stop after so many, keeping the state; default: never")
    add("--batch", type=int, default=16, help="pictures a step over all processes")
    add("--rate", type=float, default=0.0025, help="learning rate")
    add("--gamma", type=float, help="weight of R1; default: 0.0002 side^2 / batch")
    add("--weight", action="append", default=[], help="TERM=FACTOR, e.g. clip=10; repeatable")
    add("--semantic", choices=("sample", "batch"), default="sample",
        help="conditions enter each picture's logit, or one sum all, as published")  # fmt: skip
    add("--mixed-precision", choices=PRECISIONS, help="default: what accelerate launch says")
    add("--snapshot-kimg", type=float, default=200, help="thousands of pictures between snapshots")
    add("--resume", choices=("yes", "no"), default="yes", help="go on where a state is kept")
    add("--mirror", action="store_true", help="mirror half of the pictures")
    add("--joint", action="store_true", help="train the mappers too; reported to be worse")
    add("--seed", type=int, default=0, help="of all that is drawn")
    add("--to", type=Path, help="checkpoint store the networks are written to at the end")
    add("--take", choices=("last", "best"), default="last",
        help="the snapshot that is written there; best: by the test images")  # fmt: skip


def train_mappers(args: argparse.Namespace) -> None:
    """Fit the mappers and say where they are."""
    from brainkit_mindreader.train.mappers import fit_mappers

    for mapper in fit_mappers(_run(args)).weights.values():
        print(mapper.path)


def train_generator(args: argparse.Namespace) -> None:
    """Fine-tune a generator and say where it is."""
    from brainkit_mindreader.train.fine_tune import fine_tune
    from brainkit_mindreader.train.launch import launched
    from brainkit_mindreader.train.settings import tuning

    accelerator = launched(args.device, args.mixed_precision)
    run = _run(args)
    taken = fine_tune(run, tuning(args, miniature=run.miniature), accelerator)
    if accelerator.is_main_process:
        print(taken)


def train_scenes(args: argparse.Namespace) -> None:
    """Train the miniature's generator."""
    import torch

    from brainkit_mindreader.train.launch import launched
    from brainkit_mindreader.train.scenes import train

    if args.threads:
        torch.set_num_threads(args.threads)
    train(args.seconds, args.work, args.to, launched(args.device, "no"))


def _run(args: argparse.Namespace) -> Run:
    from brainkit.plugins import Registry
    from brainkit.run import configured, prepare

    # The seed of a training is not that of a run's noise.
    settings = configured("mindreader", {**vars(args), "seed": None})
    return prepare(settings, Registry.installed(), _say, generating=False)


def main_process() -> bool:
    """Say whether this is the process that speaks for all that were launched together."""
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    """Print one line on stderr, once for all processes."""
    if main_process():
        to_stderr(text)


if __name__ == "__main__":
    main()
