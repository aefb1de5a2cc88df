"""Compare `Ridge` with what it replaces: seconds, memory and predictions on equal values.

    python tests/benchmarks/ridge.py

Targets hold float16 values, so every contender can be given the very same numbers in the dtype it
reads. Each runs in a process of its own with the same number of threads, one after the other. On a
machine that does other work, pass --threads 1 and read the processor seconds: threads that wait
for one another on shared cores say nothing. The contenders:

    ours         brainkit's Ridge, alpha fixed, no scaling; float32 betas and float16 targets mapped
                 from safetensors, as a run reads them
    ours-f32     the same from float32 targets
    ours-train   ours with scaling from leave-one-out predictions; its predictions differ by purpose
    ours-cv      ours with its factor for alpha="cv", then given alpha: the cost of a spectrum
    loop         one scikit-learn Ridge per token on float64 arrays, keeping the weights in float32,
                 as the code published for Brain-Diffuser
    loop-f32     the same on float32 arrays
    single       one scikit-learn Ridge for all targets on float64 arrays
    single-f32   the same on float32 arrays
    himalaya     himalaya's KernelRidge on centred float32 arrays, numpy backend

Memory is what a contender allocates at its peak on top of the arrays it is given; the pages of a
file that ours maps are the system's to drop and do not count, nor do the arrays the others hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import watched
from numpy.typing import NDArray

Floats = NDArray[Any]
Given = dict[str, Any]  # train, new and feature, arrays or tensors
ALPHA = 3000.0
REAL = {"trials": 8859, "voxels": 15724, "new": 982}
BARS = (("loop", "seconds", 100.0), ("single", "seconds", 6.0), ("loop", "megabytes", 10.0))


def make(folder: Path, sizes: argparse.Namespace) -> None:
    """Write betas, float32, and targets, float16 and float32, of a linear map with noise."""
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(0)
    train = torch.randn(sizes.trials, sizes.voxels, generator=draw)
    basis = torch.randn(sizes.voxels, 64, generator=draw)
    targets = sizes.all_tokens * sizes.dims
    feature = train @ basis @ torch.randn(64, targets, generator=draw) / 100
    feature += torch.randn(sizes.trials, targets, generator=draw)
    feature = feature.half().reshape(sizes.trials, sizes.all_tokens, sizes.dims)
    betas = {"train": train, "new": torch.randn(sizes.new, sizes.voxels, generator=draw)}
    save_file({**betas, "feature": feature}, folder / "float16.safetensors")
    save_file({**betas, "feature": feature.float()}, folder / "float32.safetensors")


def ours(given: Given, alpha: float | str = ALPHA, scaling: str = "none", **_: Any) -> Floats:
    """Fit and predict with brainkit, noting how long each stage took."""
    from brainkit.regressors import Ridge

    ridge = Ridge(alpha=ALPHA, scaling=scaling)  # type: ignore[arg-type]
    betas, feature = given["train"], given["feature"]
    times = [time.perf_counter()]
    factor = Ridge(alpha=alpha).factorise(betas)  # type: ignore[arg-type]
    times.append(time.perf_counter())
    weights = ridge.fit_shared(betas, feature, factor)
    times.append(time.perf_counter())
    predicted = ridge.predict_shared(weights, given["new"], feature, factor, betas)
    times.append(time.perf_counter())
    print(json.dumps({"stages": np.diff(times).tolist()}))
    return predicted.numpy()


def ours_train(given: Given, **_: Any) -> Floats:
    """Fit and predict with brainkit and scaling from leave-one-out predictions."""
    return ours(given, scaling="train")


def ours_cv(given: Given, **_: Any) -> Floats:
    """Fit and predict with brainkit and a factor that holds the spectrum."""
    return ours(given, alpha="cv")


def single(given: Given, **_: Any) -> Floats:
    """Fit and predict with one scikit-learn model."""
    from sklearn.linear_model import Ridge

    flat = given["feature"].reshape(len(given["feature"]), -1)
    predicted: Floats = Ridge(ALPHA).fit(given["train"], flat).predict(given["new"])
    return predicted.reshape(-1, *given["feature"].shape[1:])


def loop(given: Given, tokens: int = 0) -> Floats:
    """Fit and predict with a scikit-learn model a token, for the first `tokens` of them."""
    from sklearn.linear_model import Ridge

    train, new, feature = given["train"], given["new"], given["feature"]
    every, dims = feature.shape[1:]
    weights = np.zeros((every, dims, train.shape[1]), np.float32)
    predicted = np.zeros((len(new), every, dims), feature.dtype)
    for token in range(tokens or every):
        model = Ridge(ALPHA, fit_intercept=True).fit(train, feature[:, token])
        weights[token] = model.coef_
        predicted[:, token] = model.predict(new)
    return predicted


def himalaya(given: Given, **_: Any) -> Floats:
    """Fit and predict with himalaya's kernel ridge."""
    from himalaya.kernel_ridge import KernelRidge

    flat = given["feature"].reshape(len(given["feature"]), -1)
    mean, offset = given["train"].mean(0), flat.mean(0)
    model = KernelRidge(alpha=ALPHA, kernel="linear").fit(given["train"] - mean, flat - offset)
    predicted: Floats = model.predict(given["new"] - mean)
    predicted += offset
    return predicted.reshape(-1, *given["feature"].shape[1:])


@dataclass(frozen=True)
class Contender:
    """What runs, which file it reads, and the dtype of its arrays; None leaves it mapped."""

    run: Callable[..., Floats]
    file: str
    dtype: str | None = None


CONTENDERS = {
    "ours": Contender(ours, "float16"),
    "ours-f32": Contender(ours, "float32"),
    "ours-train": Contender(ours_train, "float16"),
    "ours-cv": Contender(ours_cv, "float16"),
    "loop": Contender(loop, "float32", "float64"),
    "loop-f32": Contender(loop, "float32", "float32"),
    "single": Contender(single, "float32", "float64"),
    "single-f32": Contender(single, "float32", "float32"),
    "himalaya": Contender(himalaya, "float32", "float32"),
}


def given_to(contender: Contender, folder: Path) -> Given:
    """Open the three arrays: tensors mapped from the file, or copies in the dtype asked for."""
    from safetensors import safe_open

    with safe_open(folder / f"{contender.file}.safetensors", framework="pt") as opened:
        found = {name: opened.get_tensor(name) for name in ("train", "new", "feature")}
    if contender.dtype is None:
        return found
    return {name: each.numpy().astype(contender.dtype) for name, each in found.items()}


def contend(folder: Path, name: str, tokens: int) -> None:
    """Run one contender in this process and print what was measured."""
    contender = CONTENDERS[name]
    given = given_to(contender, folder)
    small = {"train": given["train"][:64, :64], "new": given["new"][:64, :64]}
    contender.run({**small, "feature": given["feature"][:64, :2, :4]})  # imports, starts threads
    found: dict[str, float] = {}
    with watched(found):
        predicted = contender.run(given, tokens=tokens)
    every = predicted.shape[1]
    if contender.run is loop and tokens:
        missing = predicted[:, tokens:].nbytes
        missing += (every - tokens) * predicted.shape[2] * given["train"].shape[1] * 4
        found["megabytes"] += missing / 1e6
        found["seconds"] *= every / tokens
        found["busy"] *= every / tokens
    np.save(folder / f"{name}.npy", predicted[:, : tokens or every])
    print(json.dumps(found))


def measured(folder: Path, name: str, sizes: argparse.Namespace) -> dict[str, Any]:
    """Start a process for one contender and give what it printed last of each."""
    command = [sys.executable, __file__, "--folder", str(folder), "--contender", name]
    command += ["--tokens", str(sizes.tokens)]
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = os.environ | dict.fromkeys(pools, str(sizes.threads))
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    found: dict[str, Any] = {}
    for line in lines.split("\n"):
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def table(folder: Path, found: dict[str, dict[str, Any]]) -> str:
    """Return the measured numbers as a Markdown table."""
    reference = np.load(folder / "loop.npy").astype(np.float64)
    head = ("contender", "seconds", "x ours", "processor s", "x ours", "MB", "x ours", "difference")
    lines = ["| " + " | ".join(head) + " |", "| --- " + "| ---: " * 7 + "|"]
    for name, row in found.items():
        gap = np.abs(np.load(folder / f"{name}.npy") - reference).max() / reference.std()
        cells = [name]
        for key, digits in (("seconds", 2), ("busy", 2), ("megabytes", 0)):
            cells += [f"{row[key]:.{digits}f}", f"{row[key] / found['ours'][key]:.1f}"]
        lines.append("| " + " | ".join([*cells, "" if "train" in name else f"{gap:.0e}"]) + " |")
    return "\n".join(lines)


def verdicts(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Say for each promise what was measured and whether it is kept."""
    for name, key, bar in (*BARS, ("single", "megabytes", 10.0)):
        ratio = found[name][key] / found["ours"][key]
        said = "met" if ratio >= bar else "MISSED"
        yield f"{name}: {ratio:.1f} times the {key} of ours, at least {bar:g} promised: {said}"


def work(stage: str, trials: float, voxels: float, targets: float, new: float) -> float:
    """Return the arithmetic of a stage in multiplications; of the loop, for one token."""
    n, p, t = trials, voxels, targets
    return {
        "factorise": n * n * p / 2,
        "spectrum": n**3,
        "fit": n * t,
        "scale": n * n * t / 2 + 7 / 6 * n**3,
        "predict": n**3 / 6 + new * n * (p + t),
        "loop": n * n * p + n**3 / 6 + (n * n + n * p + new * p) * t,
    }[stage]


def project(found: dict[str, dict[str, Any]], sizes: argparse.Namespace) -> str:
    """Scale each stage's seconds with its arithmetic to the size of NSD's subject 1."""
    ours, train, spectral = (found[name]["stages"] for name in ("ours", "ours-train", "ours-cv"))
    taken = {
        "factorise": ours[0],
        "spectrum": spectral[0] - ours[0],
        "fit": ours[1],
        "scale": train[1] - ours[1],
        "predict": ours[2],
        "loop": found["loop"]["seconds"] / sizes.all_tokens,
    }
    here = {"trials": sizes.trials, "voxels": sizes.voxels, "new": sizes.new}
    there = {name: REAL[name] for name in here}
    seconds = {}
    for stage, each in taken.items():
        parts = (sizes.dims, 768) if stage == "loop" else (sizes.all_tokens * sizes.dims, 257 * 768)
        old, new = work(stage, targets=parts[0], **here), work(stage, targets=parts[1], **there)
        seconds[stage] = each * new / old
    n, targets = REAL["trials"], 257 * 768
    return (
        f"projected to {n} x {REAL['voxels']} -> 257 x 768 and {REAL['new']} new trials: "
        f"factorise {seconds['factorise']:.0f} s and for alpha=cv {seconds['spectrum']:.0f} s "
        f"more, once for all features; fit {seconds['fit']:.0f} s and with scaling=train "
        f"{seconds['scale']:.0f} s more; predict {seconds['predict']:.0f} s; the loop "
        f"{seconds['loop'] * 257 / 3600:.1f} h. Factor {n * n * 4 / 1e9:.2f} GB instead of "
        f"weights of {targets * REAL['voxels'] * 4 / 1e9:.1f} GB"
    )


def main() -> None:
    """Make the data, run every contender and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sized = {"trials": 1500, "voxels": 3000, "new": 200, "all-tokens": 257, "dims": 256}
    for name, value in sized.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--tokens", type=int, default=0, help="that the loops fit, the rest extrapolated; 0: all"
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.contender:
        contend(sizes.folder, sizes.contender, sizes.tokens)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, sizes)
        found = {each: measured(folder, each, sizes) for each in CONTENDERS}
        print(
            f"{sizes.trials} x {sizes.voxels} -> {sizes.all_tokens} x {sizes.dims}, "
            f"{sizes.new} new trials, {sizes.threads} threads each; difference: largest from "
            "the loop's predictions, as a part of their standard deviation"
        )
        if sizes.tokens:
            print(f"the loops fitted {sizes.tokens} tokens; their numbers are extrapolated")
        print(table(folder, found))
    print(*verdicts(found), sep="\n")
    print(project(found, sizes))


if __name__ == "__main__":
    main()
