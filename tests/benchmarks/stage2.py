"""Compare MindDiffuser's second stage with the plain loop it replaces: memory and seconds.

    python tests/benchmarks/stage2.py                  the miniature's sizes
    python tests/benchmarks/stage2.py --size full      Stable Diffusion v1.4's sizes

Weights are random: neither memory nor time depends on their values. Every contender walks the same
35 of 50 steps under guidance and descends the same loss by Adam, in a process of its own, one after
the other:

    plain    one image at a time, as the published loop: the UNet's weights want gradients, the
             activations of all steps are kept
    ours     `aligned`: all networks frozen, activations computed again step by step except those
             of the last `--stored` steps; batches of several images. With `--backprop` also such
             whose gradient goes through the network of the last steps alone, which is no longer
             the same computation

Memory is the peak on top of what the process held before its first iteration, networks included
there; on CUDA the allocator's, on the CPU the resident set's. So the gradients of the plain loop's
weights count, the weights do not. On CUDA ours also runs with the UNet in bfloat16, as a run does
there by default. On a CPU that does other work, read the processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

WARM_UP = 1
FULL_UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
AUTOENCODERS: dict[str, dict[str, Any]] = {
    "miniature": {
        "sample_size": 64,
        "block_out_channels": (24, 48, 64),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
    },
    "full": {"sample_size": 512, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2},
}
TOWERS: dict[str, dict[str, Any]] = {
    "miniature": {
        "hidden_size": 80,
        "intermediate_size": 320,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 8,
    },
    "full": {},  # transformers' defaults are ViT-B/32's
}


def networks(size: str, device: str) -> tuple[Any, Any, Any]:
    """Build the UNet, the autoencoder and CLIP's image tower with random weights, frozen."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from brainkit_minddiffuser.train.unet import CONFIG

    torch.manual_seed(0)
    sizes = AUTOENCODERS[size]
    blocks = len(sizes["block_out_channels"])
    with torch.device(device):
        made = (
            UNet2DConditionModel(**(CONFIG if size == "miniature" else FULL_UNET)),
            AutoencoderKL(
                latent_channels=4,
                down_block_types=("DownEncoderBlock2D",) * blocks,
                up_block_types=("UpDecoderBlock2D",) * blocks,
                **sizes,
            ),
            CLIPVisionModelWithProjection(CLIPVisionConfig(**TOWERS[size])),
        )
    return tuple(each.eval().requires_grad_(False) for each in made)  # type: ignore[return-value]


def conditioned(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the UNet and a condition of random z, c and targets for a batch."""
    import torch

    from brainkit import Condition
    from brainkit_minddiffuser.loading import denoiser
    from brainkit_minddiffuser.structure import LAYERS, structural_misfit

    unet, autoencoder, tower = networks(args.size, args.device)
    if args.contender == "plain":
        unet.requires_grad_(True)
    else:
        autoencoder.enable_gradient_checkpointing()
        unet.to(getattr(torch, args.dtype))
    side, dim = unet.config.sample_size, unet.config.cross_attention_dim
    vision = tower.config
    tokens = (vision.image_size // vision.patch_size) ** 2 + 1
    draw = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw).to(args.device)

    def decode(latent: Any) -> Any:
        return ((autoencoder.decode(latent / 0.18215).sample + 1) / 2).clamp(0, 1)

    targets = {f"layer_{layer}": drawn(args.batch, tokens, vision.hidden_size) for layer in LAYERS}
    denoise_with, sigmas = denoiser(unet, drawn(1, 15, dim), 5.0)
    context = drawn(args.batch, 15, dim)
    condition = Condition(
        denoise=denoise_with(context),
        start=drawn(args.batch, 4, side, side),
        sigmas=sigmas,
        strength=0.7,
        misfit=structural_misfit(decode, tower)(targets),
        context=context,
        denoise_with=denoise_with,
    )
    return unet, condition


def plain(condition: Any, args: argparse.Namespace, tick: Callable[[], None]) -> None:
    """Iterate as the published loop does, through torch's optimiser and scheduler."""
    from dataclasses import replace

    import torch

    from brainkit.samplers.diffusion import DDIM

    z, c = (each.clone().requires_grad_() for each in (condition.start, condition.context))
    optimiser = torch.optim.Adam([c, z], lr=0.01)
    for iteration in range(args.iterations + WARM_UP):
        optimiser.param_groups[0]["lr"] = 0.01 * 0.999 ** (iteration + 1)
        begun = replace(condition, start=z, denoise=condition.denoise_with(c))
        latent = DDIM(steps=50, noise_lead=3).walk(begun, torch.randn_like(z))
        optimiser.zero_grad()
        condition.misfit(latent).sum().backward()
        optimiser.step()
        tick()


def ours(condition: Any, args: argparse.Namespace, tick: Callable[[], None]) -> None:
    """Iterate as `aligned` does, without the walk at its end."""
    from brainkit_minddiffuser.aligned import Aligned
    from brainkit_minddiffuser.descent import Descent

    options = Aligned(stored_steps=args.stored, backprop_steps=args.backprop, every=10**6)
    descent = Descent.begun(options, condition, range(args.batch))
    for _ in range(args.iterations + WARM_UP):
        descent.iterate(range(args.batch))
        tick()


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Run one contender; give its peak MB and its seconds per image and iteration."""
    import torch

    cuda = args.device.startswith("cuda")
    torch.set_num_threads(args.threads)
    _, condition = conditioned(args)
    before, times = _held(cuda), [(time.perf_counter(), time.process_time())]

    def tick() -> None:
        if cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter(), time.process_time()))

    {"plain": plain, "ours": ours}[args.contender](condition, args, tick)
    kept = times[WARM_UP:]
    wall, processor = (
        median(b[which] - a[which] for a, b in pairwise(kept)) / args.batch for which in (0, 1)
    )
    return {"megabytes": _peak(cuda) - before, "seconds": wall, "processor": processor}


def _held(cuda: bool) -> float:
    import torch

    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _peak(cuda: bool) -> float:
    import torch

    if cuda:
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def contenders(args: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """List what is compared, the plain loop first."""
    one = {"contender": "plain", "batch": 1, "stored": 0, "backprop": None, "dtype": "float32"}
    listed = [("plain", one)]
    dtypes = ["float32", "bfloat16"] if args.device.startswith("cuda") else ["float32"]
    ways = [(stored, None) for stored in args.stored] + [(0, last) for last in args.backprop]
    for dtype, batch, (stored, backprop) in product(dtypes, args.batches, ways):
        name = "ours" + (f", last {stored} steps kept" if stored else "")
        name += f", gradient of last {backprop} steps" if backprop else ""
        name += ", bfloat16" if dtype == "bfloat16" else ""
        one = {"contender": "ours", "batch": batch, "dtype": dtype}
        listed.append((name, {**one, "stored": stored, "backprop": backprop}))
    return listed


def run_one(args: argparse.Namespace, one: dict[str, Any]) -> dict[str, float] | str:
    """Measure a contender in a process of its own; a text when it could not run."""
    command = [sys.executable, __file__, "--size", args.size, "--device", args.device]
    command += ["--iterations", str(args.iterations), "--threads", str(args.threads)]
    command += ["--one", json.dumps(one)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        return "out of memory" if "out of memory" in done.stderr.lower() else said[-1]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(
    rows: Sequence[tuple[str, dict[str, Any], dict[str, float] | str]], cuda: bool
) -> list[str]:
    """Write markdown; speed and memory are relative to the plain loop, per image."""
    which, shown = ("seconds", "seconds") if cuda else ("processor", "processor seconds")
    lines = [
        f"| loop | images | peak MB | MB per image | {shown} per image and iteration | images "
        "per second | memory per image |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    first = rows[0][2]
    for name, one, found in rows:
        if isinstance(found, str):
            lines.append(f"| {name} | {one['batch']} | {found} | | | | |")
            continue
        each = found["megabytes"] / one["batch"]
        faster = less = ""
        if not isinstance(first, str):
            faster = f"{first[which] / found[which]:.2f} x"
            less = f"1 / {first['megabytes'] / each:.1f}"
        lines.append(
            f"| {name} | {one['batch']} | {found['megabytes']:.0f} | {each:.0f} "
            f"| {found[which]:.3f} | {faster} | {less} |"
        )
    return lines


def main() -> None:
    """Measure all contenders and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", choices=tuple(TOWERS), default="miniature")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--stored", type=int, nargs="+", default=[0])
    parser.add_argument("--backprop", type=int, nargs="*", default=[])
    parser.add_argument("--iterations", type=int, default=3, help="after one that is not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    from brainkit.run.machine import resolved_device

    args.device = resolved_device(args.device)
    if args.one:
        print(json.dumps(measure(argparse.Namespace(**{**vars(args), **json.loads(args.one)}))))
        return
    rows = []
    for name, one in contenders(args):
        rows.append((name, one, run_one(args, one)))
        print(f"{name}, {one['batch']} images: {rows[-1][2]}", file=sys.stderr, flush=True)
    print("\n".join(table(rows, args.device.startswith("cuda"))))


if __name__ == "__main__":
    main()
