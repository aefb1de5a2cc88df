"""Command line: `python -m brainkit_unibrain.train text_vae|four_flow`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from brainkit.training.loop import pick_device

SECONDS = {"text_vae": 900.0, "four_flow": 5400.0}
FOLDERS = {"text_vae": "optimus", "four_flow": "four_flow"}
MINIATURE = Path(__file__).parents[1] / "miniature"


def main() -> None:
    """Train one of the two networks and export it to the package's miniature folder."""
    parser = argparse.ArgumentParser(prog="python -m brainkit_unibrain.train", description=__doc__)
    parser.add_argument("network", choices=sorted(SECONDS))
    parser.add_argument("--seconds", type=float, help="training time in all, over every resumption")
    parser.add_argument("--work", type=Path, default=Path("train"), help="where to keep the state")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    train = import_module(f"brainkit_unibrain.train.{args.network}").train
    seconds = args.seconds or SECONDS[args.network]
    folder = MINIATURE / FOLDERS[args.network]
    train(seconds, args.work, pick_device(args.device), folder, args.threads)


if __name__ == "__main__":
    main()
