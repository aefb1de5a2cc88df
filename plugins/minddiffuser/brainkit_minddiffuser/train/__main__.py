"""Command line: `python -m brainkit_minddiffuser.train unet|structure`."""

from __future__ import annotations

import argparse
from pathlib import Path

from brainkit.training.loop import pick_device

SECONDS = 1700.0
MINIATURE = Path(__file__).parents[1] / "miniature"


def main() -> None:
    """Train one of the two networks and export it as package data."""
    parser = argparse.ArgumentParser(
        prog="python -m brainkit_minddiffuser.train", description=__doc__
    )
    parser.add_argument("network", choices=("unet", "structure"))
    parser.add_argument("--seconds", type=float, help="training time in all, over every resumption")
    parser.add_argument("--work", type=Path, default=Path("train"), help="where to keep the state")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    device = pick_device(args.device)
    if args.network == "structure":
        # The small ViT-B/32 belongs to core, where other methods find it too.
        from brainkit.miniature.train.clip import train as train_clip
        from brainkit.miniature.train.lesson import Options

        options = Options(args.work, args.seconds or float("inf"), str(device))
        train_clip(options, "clip_b32")
        return
    from brainkit_minddiffuser.train.unet import train

    train(args.seconds or SECONDS, args.work, device, MINIATURE / "unet", args.threads)


if __name__ == "__main__":
    main()
