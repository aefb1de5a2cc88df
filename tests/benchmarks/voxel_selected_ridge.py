"""Compare `VoxelSelectedRidge` with a loop over units: seconds, memory and predictions.

    python tests/benchmarks/voxel_selected_ridge.py

All contenders fit and predict the same values, each in a process of its own with the same number of
threads, one after the other. On a machine that does other work, pass --threads 1 and read the
processor seconds: threads that wait for one another on shared cores say nothing. The contenders:

    ours         brainkit's VoxelSelectedRidge on float32 betas and a float16 feature
    loop         for each unit in numpy, on float64: correlate all voxels with it, sort, take the
                 columns of the best, and solve
    tuned        the same with the betas centred and measured once for all correlations
    gram         the same with one matrix of products, of which each unit takes rows and columns, as
                 FastL2LiR

The difference is the largest from the loop's predictions, as a part of their standard deviation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _measure import watched
from numpy.typing import NDArray

Floats = NDArray[Any]
ALPHA = 0.15
FASTER, EQUAL = 10.0, 1e-5


def make(folder: Path, sizes: argparse.Namespace) -> None:
    """Write betas of neighbouring voxels alike, and units that read some of them, with noise."""
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(0)
    rows, voxels, units = sizes.trials + sizes.new, sizes.voxels, sizes.units
    betas = torch.randn(rows, voxels, generator=draw)
    betas = 1.5 * (betas + 0.5 * betas.roll(1, 1) + 0.3 * betas.roll(7, 1)) + 2
    weight = torch.randn(voxels, units, generator=draw)
    weight *= torch.rand(voxels, units, generator=draw) < 0.05
    feature = betas @ weight
    feature += feature.std() * torch.randn(rows, units, generator=draw)
    cut = sizes.trials
    arrays = {"train": betas[:cut], "new": betas[cut:], "feature": feature[:cut].half()}
    save_file({name: each.contiguous() for name, each in arrays.items()}, folder / "values")


def ours(given: dict[str, Any], voxels: int) -> Floats:
    """Fit and predict with brainkit."""
    from brainkit.regressors import VoxelSelectedRidge

    part = VoxelSelectedRidge(voxels=voxels, alpha=ALPHA)
    weights = part.fit(given["train"], given["feature"])
    return part.predict(weights, given["new"], given["feature"]).numpy()


def loop(given: dict[str, Any], voxels: int, units: int = 0) -> Floats:
    """Fit and predict unit by unit, each from the betas themselves."""
    return looped(given, voxels, units, by_itself)


def tuned(given: dict[str, Any], voxels: int, units: int = 0) -> Floats:
    """Fit and predict unit by unit, all correlations from betas centred once."""
    return looped(given, voxels, units, centred_once)


def gram(given: dict[str, Any], voxels: int, units: int = 0) -> Floats:
    """Fit and predict unit by unit, taking rows and columns of one matrix of products."""
    return looped(given, voxels, units, from_products)


Fit = Callable[[Floats], tuple[NDArray[np.intp], Floats]]


def looped(
    given: dict[str, Any], voxels: int, units: int, fitter: Callable[[Floats, int], Fit]
) -> Floats:
    """Fit and predict z-scored units one by one."""
    x, new, y = (given[name].numpy().astype(np.float64) for name in ("train", "new", "feature"))
    mean, std = x.mean(0), x.std(0)
    x, new = (x - mean) / std, (new - mean) / std
    centre, spread = y.mean(0), y.std(0)
    fit = fitter(x, voxels)
    predicted = np.zeros((len(new), units or y.shape[1]))
    for unit in range(predicted.shape[1]):
        best, weight = fit((y[:, unit] - centre[unit]) / spread[unit])
        guessed = new[:, best] @ weight[:-1] + weight[-1]
        predicted[:, unit] = guessed * spread[unit] + centre[unit]
    return predicted


def by_itself(x: Floats, voxels: int) -> Fit:
    """Return a fit of one unit: correlate, sort, take columns, solve."""

    def fit(y: Floats) -> tuple[NDArray[np.intp], Floats]:
        centred, target = x - x.mean(0), y - y.mean()
        r = target @ centred / np.sqrt((centred**2).sum(0) * (target**2).sum())
        best = np.argsort(-np.abs(r))[:voxels]
        return best, solved_by_columns(x, y, best)

    return fit


def centred_once(x: Floats, voxels: int) -> Fit:
    """Return a fit of one unit that need not centre and measure the betas again."""
    centred = x - x.mean(0)
    centred /= np.sqrt((centred**2).sum(0))

    def fit(y: Floats) -> tuple[NDArray[np.intp], Floats]:
        best = np.argsort(-np.abs(y @ centred))[:voxels]
        return best, solved_by_columns(x, y, best)

    return fit


def from_products(x: Floats, voxels: int) -> Fit:
    """Return a fit of one unit that multiplies no columns."""
    every = np.hstack([x, np.ones((len(x), 1))])
    products = every.T @ every
    length = np.sqrt(products.diagonal()[:-1])

    def fit(y: Floats) -> tuple[NDArray[np.intp], Floats]:
        crossed = y @ every
        best = np.argsort(-np.abs(crossed[:-1] / length))[:voxels]
        places = np.append(best, x.shape[1])
        system = products[np.ix_(places, places)] + ALPHA * np.eye(voxels + 1)
        return best, np.linalg.solve(system, crossed[places])

    return fit


def solved_by_columns(x: Floats, y: Floats, best: NDArray[np.intp]) -> Floats:
    """Return the weights of the chosen voxels and of the constant."""
    a = np.hstack([x[:, best], np.ones((len(x), 1))])
    weight: Floats = np.linalg.solve(a.T @ a + ALPHA * np.eye(a.shape[1]), a.T @ y)
    return weight


CONTENDERS: dict[str, Callable[..., Floats]] = {
    "ours": ours,
    "loop": loop,
    "tuned": tuned,
    "gram": gram,
}


def contend(folder: Path, name: str, sizes: argparse.Namespace) -> None:
    """Run one contender in this process and print what was measured."""
    from safetensors.torch import load_file

    given = {key: each.clone() for key, each in load_file(folder / "values").items()}
    small = {"train": given["train"][:99, :60], "new": given["new"][:9, :60]}
    run = CONTENDERS[name]
    run({**small, "feature": given["feature"][:99, :20]}, 20)  # imports, starts threads
    found: dict[str, float] = {}
    some = {"units": sizes.looped} if name != "ours" else {}
    with watched(found):
        predicted = run(given, sizes.selected, **some)
    if name != "ours" and sizes.looped:
        for each in ("seconds", "busy"):
            found[each] *= sizes.units / sizes.looped
    np.save(folder / f"{name}.npy", predicted)
    print(json.dumps(found))


def measured(folder: Path, name: str, sizes: argparse.Namespace) -> dict[str, float]:
    """Start a process for one contender and give what it printed."""
    command = [sys.executable, __file__, "--folder", str(folder), "--contender", name]
    for each in ("selected", "units", "looped"):
        command += [f"--{each}", str(getattr(sizes, each))]
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = os.environ | dict.fromkeys(pools, str(sizes.threads))
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    reference = np.load(folder / "loop.npy") if name != "loop" else np.load(folder / f"{name}.npy")
    gaps = np.abs(np.load(folder / f"{name}.npy")[:, : reference.shape[1]] - reference)
    found["difference"] = float(gaps.max() / reference.std())
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Return the measured numbers as a Markdown table."""
    head = ("contender", "seconds", "x ours", "processor s", "x ours", "MB", "x ours", "difference")
    lines = ["| " + " | ".join(head) + " |", "| --- " + "| ---: " * 7 + "|"]
    for name, row in found.items():
        cells = [name]
        for key, digits in (("seconds", 2), ("busy", 2), ("megabytes", 0)):
            cells += [f"{row[key]:.{digits}f}", f"{row[key] / found['ours'][key]:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{row['difference']:.0e}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Make the data, run every contender, print the table and whether the promises are kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sized = {"trials": 1500, "voxels": 3000, "units": 2000, "selected": 300, "new": 200}
    for name, value in sized.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--looped", type=int, default=0, help="units the loops fit, the rest extrapolated; 0: all"
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.contender:
        contend(sizes.folder, sizes.contender, sizes)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, sizes)
        found = {each: measured(folder, each, sizes) for each in ("loop", "ours", "tuned", "gram")}
    print(
        f"{sizes.trials} x {sizes.voxels} -> {sizes.units} units of {sizes.selected} voxels, "
        f"{sizes.new} new trials, {sizes.threads} threads each"
    )
    if sizes.looped:
        print(f"the loops fitted {sizes.looped} units; their times are extrapolated")
    print(table({each: found[each] for each in CONTENDERS}))
    ratio = found["loop"]["busy"] / found["ours"]["busy"]
    said = "met" if ratio >= FASTER else "MISSED"
    print(f"{ratio:.1f} times the processor time of ours, {FASTER:g} promised: {said}")
    gap = found["ours"]["difference"]
    print(f"difference {gap:.1e}, {EQUAL:g} promised: {'met' if gap <= EQUAL else 'MISSED'}")


if __name__ == "__main__":
    main()
