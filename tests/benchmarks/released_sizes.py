"""Measure pictures and captions a second, and memory, of the released networks with random weights.

    python tests/benchmarks/released_sizes.py [--small] [--batches 1,2,4,8,16,32] [--steps 50]

For each method, brainkit samples and decodes batches of each size; then the same network is driven
by a plain loop of diffusers' DDIMScheduler at batch 1, in the same process, with the same noise. It
runs on CUDA, in bfloat16, where there is one. `--small` takes the miniature's networks on the CPU
in float32, which shows that the program works and nothing else; without CUDA that is what is run
unless `--full` asks for the released sizes on the CPU. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.method import Method
from brainkit.networks.autokl.network import decoded, load_autokl
from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.noise import noise
from brainkit.weights.random import RandomStore

SEED = 3
Sampled = Callable[[int], Tensor]
"""Return finished latents, or pictures, of a batch of so many."""


@dataclass(frozen=True)
class Row:
    """One measurement: `per_second` pictures or captions, `gigabytes` at most."""

    what: str
    driver: str
    batch: int
    per_second: float
    gigabytes: float
    difference: float | None = None


def main() -> None:
    """Measure what is asked for and print a table."""
    asked = arguments()
    small = asked.small or not (torch.cuda.is_available() or asked.full)
    device = "cuda" if torch.cuda.is_available() and not small else "cpu"
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        dtype = "bfloat16" if device == "cuda" else "float32"
        if small:
            store: CheckpointStore = CheckpointStore(Path(folder), device, dtype, miniature=True)
        else:
            store = RandomStore(Path(folder), device, dtype)
        print(heading(store, small=small, steps=asked.steps), flush=True)
        batches = [int(each) for each in asked.batches.split(",")]
        rows = []
        for name in asked.methods.split(","):
            for row in METHODS[name](store, batches, asked.steps):
                rows.append(row)
                print(line(row), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="the miniature's sizes on the CPU")
    parser.add_argument("--full", action="store_true", help="released sizes without CUDA too")
    parser.add_argument("--batches", default="1,2,4,8,16,32")
    parser.add_argument("--steps", type=int, default=50, help="network evaluations a picture")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


def heading(store: CheckpointStore, *, small: bool, steps: int) -> str:
    """Say what is measured on what."""
    device = torch.cuda.get_device_name() if store.device == "cuda" else "CPU"
    sizes = "the miniature's sizes" if small else "released sizes, random weights"
    return (
        f"{sizes}, {store.dtype} on {device}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, {steps} steps\n"
        f"{'':<28} {'driver':<10} {'batch':>5} {'a second':>10} {'GB':>7}  largest difference"
    )


def line(row: Row) -> str:
    """Write a measurement as a line of the table."""
    difference = "" if row.difference is None else f"{row.difference:.1e}"
    return (
        f"{row.what:<28} {row.driver:<10} {row.batch:>5} {row.per_second:>10.4g} "
        f"{row.gigabytes:>7.2f}  {difference}"
    )


def method(name: str) -> Method:
    """Return an installed method."""
    from brainkit.plugins import Registry

    found: Method = Registry.installed().get("method", name)
    return found


def features(store: CheckpointStore, of: Method, batch: int) -> dict[str, Tensor]:
    """Make up features: the same numbers in every row."""
    made = {}
    for index, name in enumerate(of.conditioner.needs):
        shape = of.encoders[name].shape(store)
        row = torch.randn(shape, generator=torch.Generator().manual_seed(index))
        made[name] = row.expand(batch, *shape).to(store.device)
    return made


def measured(what: str, driver: str, batch: int, work: Sampled) -> tuple[Row, Tensor]:
    """Do the work once to warm up, then once by the clock."""
    work(batch)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = perf_counter()
    made = work(batch)
    if on_gpu:
        torch.cuda.synchronize()
    took = perf_counter() - began
    if on_gpu:
        peak = torch.cuda.max_memory_allocated()
    else:  # of the whole process so far, in kilobytes on Linux and bytes on macOS
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Row(what, driver, batch, batch / took, peak / 1e9), made


def brainkit_rows(
    store: CheckpointStore, of: Method, output: str, what: str, batches: list[int]
) -> Iterator[tuple[Row, Tensor]]:
    """Measure brainkit's own path: condition, sample, decode."""
    prepare = of.conditioner.load(store)
    decode = of.decoders[output].load(store)

    def work(batch: int) -> Tensor:
        condition = prepare(features(store, of, batch))[output]
        latents = of.sampler.sample(condition, [SEED] * batch)
        decode(latents, [SEED] * batch)
        return latents

    for batch in batches:
        yield measured(what, "brainkit", batch, work)


def with_plain(
    rows: Iterator[tuple[Row, Tensor]], what: str, plain: Callable[[], Sampled]
) -> Iterator[Row]:
    """Add the plain loop's measurement, and how far its latents are from brainkit's."""
    first: Tensor | None = None
    for row, made in rows:
        first = made[:1].float().cpu() if first is None else first
        yield row
    gc.collect()
    row, made = measured(what, "diffusers", 1, plain())
    assert first is not None
    yield replace(row, difference=float((made.float().cpu() - first).abs().max()))


def ddim_loop(
    predict: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], steps: int, device: str
) -> Tensor:
    """Walk as people write it with diffusers: one picture, scheduler steps, from noise alone.

    Args:
        predict: guided noise for a latent (1, *shape) and a timestep ().
        shape: of the latent.
        steps: network evaluations.
        device: of the latent.
    """
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    latent = noise(shape, [SEED]).to(device)
    for timestep in scheduler.timesteps:
        latent = scheduler.step(predict(latent, timestep), timestep, latent).prev_sample
    return latent


def guided(both: Tensor, scale: float) -> Tensor:
    """Mix the two halves of a doubled batch."""
    without, given = both.float().chunk(2)
    return without + scale * (given - without)


def unibrain(store: CheckpointStore, batches: list[int], steps: int) -> Iterator[Row]:
    """Measure both flows of UniBrain."""
    from brainkit_unibrain.contexts import unconditional_contexts
    from brainkit_unibrain.loading import load_four_flow
    from brainkit_unibrain.networks import Context

    of = method("unibrain").with_options({"sampler.steps": steps, "conditioner.strength": 1.0})
    of = of.with_options({"sampler.noise_lead": 0})

    def plain(output: str, kind: str, latent_of: str) -> Sampled:
        network, empty = load_four_flow(store), unconditional_contexts(store, "grey")
        given, dtype = features(store, of, 1), store.torch_dtype()
        weights = of.conditioner.weights(output).items()  # type: ignore[attr-defined]
        contexts = [
            Context(name, torch.cat([empty[name], given[f"clip_{name}"]]).to(dtype), weight)
            for name, weight in weights
        ]
        decode = of.decoders[output].load(store)

        def predict(latent: Tensor, timestep: Tensor) -> Tensor:
            times = timestep.to(store.device).expand(2)
            both = network(torch.cat([latent, latent]).to(dtype), times, kind, contexts)
            return guided(both, of.conditioner.guidance)  # type: ignore[attr-defined]

        def work(batch: int) -> Tensor:
            latent = ddim_loop(predict, given[latent_of].shape[1:], steps, store.device)
            decode(latent, [SEED])
            return latent

        return work

    for output, kind in (("image", "image"), ("caption", "text")):
        what = f"unibrain {output}s"
        rows = brainkit_rows(store, of, output, what, batches)
        yield from with_plain(
            rows, what, lambda output=output, kind=kind: plain(output, kind, f"{kind}_latent")
        )


def minddiffuser(store: CheckpointStore, batches: list[int], steps: int) -> Iterator[Row]:
    """Measure MindDiffuser's first stage, and iterations a second of its second."""
    from brainkit_minddiffuser.aligned import Aligned
    from brainkit_minddiffuser.loading import load_reader, load_unet

    of = method("minddiffuser").with_options({"conditioner.strength": 1.0})
    of = replace(of, sampler=DDIM(steps=steps))

    def plain() -> Sampled:
        network, vae, given = load_unet(store), load_autokl(store), features(store, of, 1)
        context = given["text_tokens"]
        empty = load_reader(store)([""])[:, : context.shape[1]]
        both = torch.cat([empty, context]).to(network.dtype)

        def predict(latent: Tensor, timestep: Tensor) -> Tensor:
            doubled = torch.cat([latent, latent]).to(network.dtype)
            return guided(
                network(doubled, timestep.to(store.device), both).sample,
                of.conditioner.guidance,  # type: ignore[attr-defined]
            )

        def work(batch: int) -> Tensor:
            latent = ddim_loop(predict, given["image_latent"].shape[1:], steps, store.device)
            decoded(vae, latent)
            return latent

        return work

    what = "minddiffuser stage 1"
    yield from with_plain(brainkit_rows(store, of, "image", what, batches), what, plain)
    # One iteration is one walk with its gradient; a picture of the paper takes 300.
    second = replace(of, sampler=Aligned(steps=steps, iterations=1))
    for row, _ in brainkit_rows(store, second, "image", "minddiffuser iterations", batches):
        yield row


def mindreader(store: CheckpointStore, batches: list[int], steps: int) -> Iterator[Row]:
    """Measure Mind Reader's generator, and the same called directly."""
    from brainkit_mindreader.captions.targets import first_row
    from brainkit_mindreader.loading import load_generator

    of = method("mindreader")

    def plain() -> Sampled:
        network, given = load_generator(store), features(store, of, 1)
        rows = [first_row(given[name]) for name in ("clip_image", "clip_text")]
        used = [each / each.norm(dim=1, keepdim=True) for each in rows]
        return lambda batch: network(torch.zeros(1, network.shape.z_dim, device=store.device), used)

    rows = brainkit_rows(store, of, "image", "mindreader images", batches)
    for row in with_plain(rows, "mindreader images", plain):
        yield replace(row, driver="direct") if row.driver == "diffusers" else row


METHODS = {"unibrain": unibrain, "minddiffuser": minddiffuser, "mindreader": mindreader}

if __name__ == "__main__":
    main()
