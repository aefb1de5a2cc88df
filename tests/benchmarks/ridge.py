"""Compare `Ridge` with the loops it replaces: seconds, memory and predictions on equal data.

    python tests/benchmarks/ridge.py

Every contender runs in a process of its own on the same float32 arrays, one after the other. On a
machine that does other work, set OMP_NUM_THREADS=1 and read the processor seconds: threads that
wait for one another on shared cores say nothing. The contenders:

    ours      brainkit's Ridge, alpha fixed, no scaling
    scaled    the same with scaling from leave-one-out predictions
    single    one scikit-learn Ridge for all targets
    loop      one scikit-learn Ridge per token, as the reference code
    himalaya  himalaya's KernelRidge on centred data, numpy backend
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

Floats = NDArray[np.float32]
ALPHA = 3000.0
REAL = {"trials": 8859, "voxels": 15724, "targets": 257 * 768, "new": 982}


def make(folder: Path, sizes: argparse.Namespace) -> None:
    """Write train, new and feature arrays of a linear map with noise."""
    rng = np.random.default_rng(0)
    targets = sizes.tokens * sizes.dims
    train = rng.standard_normal((sizes.trials, sizes.voxels), dtype=np.float32)
    np.save(folder / "train.npy", train)
    np.save(folder / "new.npy", rng.standard_normal((sizes.new, sizes.voxels), dtype=np.float32))
    basis = rng.standard_normal((sizes.voxels, 64), dtype=np.float32)
    feature = train @ basis @ rng.standard_normal((64, targets), dtype=np.float32) / 100
    feature += rng.standard_normal((sizes.trials, targets), dtype=np.float32)
    np.save(folder / "feature.npy", feature.reshape(sizes.trials, sizes.tokens, sizes.dims))


def ours(train: Floats, new: Floats, feature: Floats, scaling: str = "none") -> Floats:
    """Fit and predict with brainkit, noting how long each stage took."""
    import torch

    from brainkit.regressors import Ridge

    ridge = Ridge(alpha=ALPHA, scaling=scaling)  # type: ignore[arg-type]
    betas, targets = torch.from_numpy(train), torch.from_numpy(feature)
    started = time.perf_counter()
    factor = ridge.factorise(betas)
    factorised = time.perf_counter()
    weights = ridge.fit_shared(betas, targets, factor)
    fitted = time.perf_counter()
    predicted = ridge.predict_shared(weights, torch.from_numpy(new), targets, factor, betas)
    ended = time.perf_counter()
    stages = (factorised - started, fitted - factorised, ended - fitted)
    print(json.dumps({"stages": stages}))
    return predicted.numpy()


def scaled(train: Floats, new: Floats, feature: Floats) -> Floats:
    """Fit and predict with brainkit and scaling from leave-one-out predictions."""
    return ours(train, new, feature, "train")


def single(train: Floats, new: Floats, feature: Floats) -> Floats:
    """Fit and predict with one scikit-learn model."""
    from sklearn.linear_model import Ridge

    flat = feature.reshape(len(feature), -1)
    predicted: Floats = Ridge(ALPHA).fit(train, flat).predict(new)
    return predicted.reshape(-1, *feature.shape[1:])


def loop(train: Floats, new: Floats, feature: Floats) -> Floats:
    """Fit and predict with a scikit-learn model a token, keeping all weights."""
    from sklearn.linear_model import Ridge

    tokens, dims = feature.shape[1:]
    weights = np.zeros((tokens, dims, train.shape[1]), np.float32)
    predicted = np.zeros((len(new), tokens, dims), np.float32)
    for token in range(tokens):
        model = Ridge(ALPHA).fit(train, feature[:, token])
        weights[token] = model.coef_
        predicted[:, token] = model.predict(new)
    return predicted


def himalaya(train: Floats, new: Floats, feature: Floats) -> Floats:
    """Fit and predict with himalaya's kernel ridge."""
    from himalaya.kernel_ridge import KernelRidge

    flat = feature.reshape(len(feature), -1)
    mean, offset = train.mean(0), flat.mean(0)
    model = KernelRidge(alpha=ALPHA, kernel="linear").fit(train - mean, flat - offset)
    predicted: Floats = model.predict(new - mean) + offset
    return predicted.reshape(-1, *feature.shape[1:])


CONTENDERS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "ours": ours,
    "scaled": scaled,
    "single": single,
    "loop": loop,
    "himalaya": himalaya,
}


def contend(folder: Path, name: str) -> None:
    """Run one contender in this process and print its seconds and its peak of memory."""
    arrays = [np.load(folder / f"{part}.npy") for part in ("train", "new", "feature")]
    small = [array[:64, :64] for array in arrays[:2]] + [arrays[2][:64, :2, :4].copy()]
    CONTENDERS[name](*small)  # imports and starts threads
    process = psutil.Process()
    before = peak = process.memory_info().rss
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    started, worked = time.perf_counter(), time.process_time()
    predicted = CONTENDERS[name](*arrays)
    seconds, busy = time.perf_counter() - started, time.process_time() - worked
    peak = max(peak, process.memory_info().rss)
    ended.set()
    thread.join()
    np.save(folder / f"{name}.npy", predicted)
    megabytes = (peak - before) / 1e6
    print(json.dumps({"seconds": seconds, "busy": busy, "megabytes": megabytes}))


def measured(folder: Path, name: str) -> dict[str, Any]:
    """Start a process for one contender and give what it printed last."""
    command = [sys.executable, __file__, "--folder", str(folder), "--contender", name]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    found: dict[str, Any] = {}
    for line in lines:
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def project(stages: list[float], scaled_stages: list[float], sizes: argparse.Namespace) -> str:
    """Scale each stage's seconds with its arithmetic to the size of NSD's subject 1."""
    n, t, targets = sizes.trials, REAL["trials"], sizes.tokens * sizes.dims
    factorise = stages[0] * (t / n) ** 3
    pairs = (t / n) * (REAL["targets"] / targets)
    predict = stages[2] * (REAL["new"] / sizes.new) * pairs
    fit = scaled_stages[1] * (t / n) * pairs
    return (
        f"projected to {t} x {REAL['voxels']} -> 257 x 768, {REAL['new']} new trials: factorise "
        f"{factorise / 60:.1f} min (once for all features), fit {stages[1] * pairs:.0f} s "
        f"(with scaling from left-out trials {fit / 60:.1f} min), predict {predict / 60:.1f} min; "
        f"eigenvectors {t * t * 4 / 1e9:.2f} GB instead of weights of "
        f"{REAL['targets'] * REAL['voxels'] * 4 / 1e9:.1f} GB"
    )


def main() -> None:
    """Make the data, run every contender and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("trials", 1500), ("voxels", 3000), ("new", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--tokens", type=int, default=257)
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.contender:
        contend(sizes.folder, sizes.contender)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, sizes)
        found = {name: measured(folder, name) for name in CONTENDERS}
        reference = np.load(folder / "ours.npy").astype(np.float64)
        print("contender   seconds  x ours  processor s  x ours  peak MB  difference / spread")
        for name, row in found.items():
            gap = np.abs(np.load(folder / f"{name}.npy") - reference).max() / reference.std()
            shown = "not comparable" if name == "scaled" else f"{gap:.1e}"
            wall, busy = (row[key] / found["ours"][key] for key in ("seconds", "busy"))
            print(
                f"{name:10} {row['seconds']:8.2f} {wall:7.1f} {row['busy']:12.2f} {busy:7.1f} "
                f"{row['megabytes']:8.0f}  {shown}"
            )
        stages, longer = found["ours"]["stages"], found["scaled"]["stages"]
        print("ours: factorise {:.2f} s, fit {:.2f} s, predict {:.2f} s".format(*stages))
        print(project(stages, longer, sizes))


if __name__ == "__main__":
    main()
