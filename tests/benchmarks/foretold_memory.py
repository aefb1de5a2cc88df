"""Hold the memory that a dry run foretells against what a process allocates, step by step.

Networks have their released sizes and random weights; samplers take as few steps as their options
admit. Each step runs in a process of its own, since freed memory stays with a process. Prints
megabytes; `foretold_memory.py METHOD...` measures other methods than Mind Reader and Takagi's.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from _measure import watched

from brainkit.data import Stimuli
from brainkit.encoders.autokl import AutoKL
from brainkit.plugins import Registry
from brainkit.run import Run, RunConfig, prepare
from brainkit.run.estimate import CAPTIONS, ENCODED_AT_ONCE, PICTURE, estimate

FEW = {
    "mindreader": {},
    "takagi": {"sampler.steps": 2},
    "minddiffuser": {"sampler.steps": 2, "sampler.iterations": 1},
    "unibrain": {"sampler.steps": 2},
}


def planned(method: str, work: Path, batch: int) -> Run:
    """Prepare a run that computes nothing."""
    config = RunConfig(
        method=method, work=work, weights="random", dtype="bfloat16",
        batch_size=batch, images=batch, options=FEW[method],
    )  # fmt: skip
    return prepare(config, Registry.installed(), lambda line: None, dry=True)


def encode(run: Run, feature: str) -> None:
    """Encode one batch."""
    ids = np.arange(ENCODED_AT_ONCE, dtype=np.int32)
    pictures = np.random.default_rng(0).integers(0, 256, (len(ids), *PICTURE), dtype=np.uint8)
    run.method.encoders[feature].load(run.store)(Stimuli(pictures, (CAPTIONS,) * len(ids), ids))


def sample(run: Run, output: str) -> None:
    """Sample one batch from features of spread 1."""
    batch, conditioner = run.config.batch_size, run.method.conditioner
    shapes = {name: run.method.encoders[name].shape(run.store) for name in conditioner.needs}
    features = {name: torch.randn(batch, *shape) for name, shape in shapes.items()}
    condition = conditioner.load(run.store)(features)[output.removesuffix("s")]
    run.method.sampler.sample(condition, list(range(batch)))


def decode(run: Run, output: str) -> None:
    """Decode one batch of latents of spread 1, in the network's own size."""
    decoder, batch = run.method.decoders[output.removesuffix("s")], run.config.batch_size
    latent = AutoKL() if output == "images" else run.method.encoders["text_latent"]
    decoder.load(run.store)(torch.randn(batch, *latent.shape(run.store)), list(range(batch)))


WORK = {"encoding": encode, "sampling": sample, "decoding": decode}


def measured(method: str, work: Path, batch: int, step: str) -> float:
    """Return the megabytes that a step allocates at most."""
    import diffusers  # noqa: F401 (what libraries take is not the step's)
    import transformers  # noqa: F401

    verb, what = step.split()
    run, found = planned(method, work, batch), {}
    with torch.no_grad(), watched(found):
        WORK[verb](run, what)
    return found["megabytes"]


def compare(method: str, work: Path, batch: int) -> None:
    """Print both for each step of a method that holds a network."""
    for need in filter(lambda need: need.weights, estimate(planned(method, work, batch)).needs):
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            truth = alone.submit(measured, method, work, batch, need.step).result()
        sizes = f"{need.weights / 1e6:>9.0f} {need.memory / 1e6:>9.0f} {truth:>9.0f}"
        print(f"{method:<13} {need.step:<24} {need.batch:>3} {sizes}", flush=True)


if __name__ == "__main__":
    print(f"{'method':<13} {'step':<24} {'at':>3} {'weights':>9} {'foretold':>9} {'measured':>9}")
    with TemporaryDirectory() as folder:
        for name in sys.argv[1:] or ("mindreader", "takagi"):
            compare(name, Path(folder), batch=2 if name == "mindreader" else 1)
