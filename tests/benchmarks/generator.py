"""Measure Mind Reader's networks: pictures a second of the generator, seconds of a mapper's epoch.

    python tests/benchmarks/generator.py                 both, on the CPU and on CUDA if present
    python tests/benchmarks/generator.py --threads 2

Weights and data are random: time does not depend on their values. The generator is the miniature's
at 64 px and the released one's at 256 px (two heads, 55.5 M parameters). The mapper is that of
NSD's subject 1 (15,724 voxels, padded to 15,744, embeddings of 512) at batch 128; of an epoch of
25,000 trials `--steps` steps are done and the rest is reckoned from their median, all of it with
`--whole-epoch`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

TRIALS, VOXELS, PADDED, DIM, BATCH = 25_000, 15_724, 15_744, 512, 128


def timed(call: Callable[[], object], device: str) -> float:
    """Return the seconds of one call."""
    import torch

    begun = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def generator_rates(device: str, batches: list[int], repeats: int) -> None:
    """Print pictures a second for each size and batch."""
    import torch

    from brainkit_mindreader.generator.network import Generator, GeneratorShape
    from brainkit_mindreader.train.scenes import SHAPE

    print(f"\n| generator, {device} | batch | pictures a second | ms a picture |")
    print("| --- | ---: | ---: | ---: |")
    for shape in (SHAPE, GeneratorShape()):
        network = Generator(shape).to(device).eval().requires_grad_(False)
        count = sum(each.numel() for each in network.parameters())
        for batch in batches:
            z = torch.zeros(batch, shape.z_dim, device=device)
            conditions = [torch.randn(batch, dim, device=device) for dim in shape.f_dims]

            def make(z: Any = z, conditions: Any = conditions, network: Any = network) -> None:
                with torch.inference_mode():
                    network(z, conditions)

            make()
            seconds = median(timed(make, device) for _ in range(repeats)) / batch
            name = f"{shape.resolution} px, {count / 1e6:.1f} M"
            print(f"| {name} | {batch} | {1 / seconds:.2f} | {1000 * seconds:.1f} |", flush=True)


def mapper_epoch(device: str, steps: int, whole: bool) -> None:
    """Print the seconds of an epoch of training a mapper at NSD's size."""
    import torch

    from brainkit_mindreader.mapper.losses import MapperLoss
    from brainkit_mindreader.mapper.network import MapperNetwork, MapperShape

    torch.manual_seed(0)
    network, loss = MapperNetwork(MapperShape(PADDED, DIM)).to(device), MapperLoss()
    adam = torch.optim.Adam(network.parameters(), lr=2e-4, weight_decay=1e-5)
    betas = torch.randn(BATCH, PADDED, device=device)
    targets = torch.nn.functional.normalize(torch.randn(BATCH, DIM, device=device), dim=1)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        loss(network(betas), targets).backward()
        adam.step()

    step()
    a_whole = -(-TRIALS // BATCH)
    taken = [timed(step, device) for _ in range(a_whole if whole else steps)]
    seconds = sum(taken) if whole else a_whole * median(taken)
    how = "measured" if whole else f"reckoned from {steps} steps"
    print(f"\nmapper, {device}: {seconds:.0f} s an epoch of {TRIALS} trials, {how}", flush=True)


def main() -> None:
    """Read the command line and measure."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--whole-epoch", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("generator", "mapper"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    print(f"torch {torch.__version__}, {given.threads} CPU threads")
    for device in devices:
        if given.only != "mapper":
            generator_rates(device, given.batches, given.repeats)
        if given.only != "generator":
            mapper_epoch(device, given.steps, given.whole_epoch)


if __name__ == "__main__":
    main()
