"""Train one of the miniature's shared networks: `python -m brainkit.miniature.train clip`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from brainkit.miniature.train import clip
from brainkit.miniature.train.lesson import Options


def main() -> None:
    """Read the command line and train; a second call goes on where the first one stopped."""
    parser = argparse.ArgumentParser(prog="python -m brainkit.miniature.train", description=__doc__)
    parser.add_argument("network", choices=("clip", "clip_b32", "autokl", "referee"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--work", type=Path, default=Path("work/train"), help="folder to resume in")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    options = Options(work=chosen.work, seconds=chosen.seconds, device=chosen.device)
    if chosen.network.startswith("clip"):
        clip.train(options, chosen.network)
    else:
        importlib.import_module(f"brainkit.miniature.train.{chosen.network}").train(options)


if __name__ == "__main__":
    main()
