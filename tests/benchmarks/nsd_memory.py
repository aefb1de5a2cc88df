"""Measure memory and seconds of loading full-size NSD sessions, and of checking a download.

    python tests/benchmarks/nsd_memory.py [--folder FOLDER]

Makes three synthetic sessions of subject 1 (81 x 104 x 83 voxels, 750 trials) in both file formats,
with the chunks of the release, and hard links that stand for the other sessions. 15,724 voxels in
the back of the volume are `nsdgeneral`. Needs 5 GB of disk; a folder that is given is kept and
used again. Every measurement runs in a process of its own. Checking the download names the links,
which are one session under many names.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VOLUME = (81, 104, 83)
TRIALS = 750
SESSIONS = 40
MADE = 3
N_GENERAL = 15_724
PREPARATIONS = ("betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR")
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm"
ROIS = "nsddata/ppdata/subj01/func1pt8mm/roi"
EXPERIMENT = "nsddata/experiments/nsd"


def make(root: Path) -> None:
    """Write the download: betas of one session, links for the rest, ROI, design, tables."""
    for name in (ROIS, EXPERIMENT, *(f"{BETAS}/{each}" for each in PREPARATIONS)):
        (root / name).mkdir(parents=True, exist_ok=True)
    x, y, z = np.indices(VOLUME, dtype=np.float32)
    centre = [(size - 1) / 2 for size in VOLUME]
    radius = sum(
        ((axis - middle) / (0.48 * size)) ** 2
        for axis, middle, size in zip((x, y, z), centre, VOLUME, strict=True)
    )
    make_roi(root / ROIS / "nsdgeneral.nii.gz", radius, y)
    for session in range(1, MADE + 1):
        make_session(root / BETAS / PREPARATIONS[2], radius < 1, session)
    make_design(root / EXPERIMENT)
    for preparation in PREPARATIONS:
        for session in range(1, SESSIONS + 1):
            for suffix in (".hdf5", ".nii.gz"):
                link = root / BETAS / preparation / f"betas_session{session:02d}{suffix}"
                if not link.exists():
                    os.link(root / BETAS / PREPARATIONS[2] / f"betas_session01{suffix}", link)


def save_volume(path: Path, volume: np.ndarray) -> None:
    """Write a volume with the affine of the release at 1.8 mm."""
    import nibabel

    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[:3, 3] = [-((size + 1) / 2 - 1) * 1.8 for size in VOLUME]
    nibabel.save(nibabel.Nifti1Image(volume, affine), path)


def make_roi(path: Path, radius: np.ndarray, y: np.ndarray) -> None:
    """Mark the voxels of a ribbon in the back of the head, as many as subject 1 has."""
    back = np.where((y < 45) & (radius < 1), np.abs(radius - 0.75), np.inf)
    labels = np.full(VOLUME, -1.0, dtype=np.float32)
    labels[radius < 1] = 0
    labels[np.unravel_index(np.argsort(back, axis=None)[:N_GENERAL], VOLUME)] = 1
    save_volume(path, labels)


def make_session(folder: Path, brain: np.ndarray, session: int) -> None:
    """Write one session twice: noise inside the brain, zero outside, int16."""
    import h5py
    import nibabel

    rng = np.random.default_rng(session - 1)
    noise = rng.normal(0, 450, size=1 << 22).astype(np.int16)
    starts = rng.integers(0, len(noise) - TRIALS, size=VOLUME)
    with h5py.File(folder / f"betas_session{session:02d}.hdf5", "w") as file:
        shape = (TRIALS, *reversed(VOLUME))
        betas = file.create_dataset("betas", shape, np.int16, chunks=(TRIALS, 1, 1, 1))
        for z in range(VOLUME[2]):
            plane = np.lib.stride_tricks.sliding_window_view(noise, TRIALS)[starts[:, :, z]]
            betas[:, z] = (plane * brain[:, :, z, None]).transpose(2, 1, 0)
    header = nibabel.Nifti1Image(np.zeros((1, 1, 1, 1), np.int16), None).header
    header.set_data_shape((*VOLUME, TRIALS))
    header.set_zooms((1.8, 1.8, 1.8, 4 / 3))
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[:3, 3] = [-((size + 1) / 2 - 1) * 1.8 for size in VOLUME]
    header.set_sform(affine, code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(folder / f"betas_session{session:02d}.nii.gz", "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + bytes(4))
        for trial in range(TRIALS):
            volume = noise[starts + trial] * brain
            stream.write(volume.astype("<i2").tobytes(order="F"))


def make_design(folder: Path) -> None:
    """Write a design of 40 sessions and the table of 73,000 pictures that agrees with it."""
    import scipy.io

    rng = np.random.default_rng(1)
    order = rng.permutation(np.repeat(np.arange(1, 10_001), 3))
    shared = np.sort(rng.choice(73_000, 1000, replace=False)) + 1
    rest = np.setdiff1d(np.arange(1, 73_001), shared)
    images = [np.concatenate([shared, rng.permutation(rest)[:9000]]) for _ in range(8)]
    fields = {"masterordering": order, "subjectim": np.stack(images), "sharedix": shared}
    scipy.io.savemat(folder / "nsd_expdesign.mat", fields)
    repeats = np.zeros((73_000, 3), dtype=int)
    seen = np.zeros(73_000, dtype=int)
    for trial, image in enumerate(images[0][order - 1] - 1):
        repeats[image, seen[image]] = trial + 1
        seen[image] += 1
    names = [f"subject{s}_rep{r}" for s in range(1, 9) for r in range(3)]
    columns = ["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000"]
    columns += ["shared1000", *(f"subject{s}" for s in range(1, 9)), *names]
    with (folder / "nsd_stim_info_merged.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(73_000):
            facts = [row, row + 9, "train2017", "(0.0, 0.0, 0.125, 0.125)", 0.1, row, False, False]
            writer.writerow([*facts, False, *[0] * 8, *repeats[row], *[0] * 21])


def measure(root: Path, beta_format: str, sessions: int) -> None:
    """Load some sessions in this process and print seconds and bytes as JSON."""
    import warnings

    import h5py  # noqa: F401  (imported now so that libraries do not count)
    import nibabel  # noqa: F401
    import scipy.io  # noqa: F401

    from brainkit.data import Selection
    from brainkit.nsd import load_trials

    warnings.simplefilter("ignore")
    before = peak()
    start, cpu = time.perf_counter(), time.process_time()
    trials = load_trials(root, 1, Selection(sessions=sessions), beta_format=beta_format)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    held = trials.train.betas.nbytes + trials.test.betas.nbytes
    facts = {"seconds": seconds, "cpu": cpu, "before": before, "peak": peak(), "result": held}
    print(json.dumps(facts))


def measure_check(root: Path) -> None:
    """Check the download in this process and print seconds as JSON."""
    from brainkit.nsd import check_data

    start, cpu = time.perf_counter(), time.process_time()
    report = check_data(root)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "contradictions": report.contradictions}))


def peak() -> int:
    """Return this process's largest resident memory so far in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(*arguments: str) -> str:
    """Run this file in a process of its own and give what it prints."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def compare(folder: Path) -> None:
    """Make the download if needed, measure, and print a table."""
    if not (folder / EXPERIMENT / "nsd_stim_info_merged.csv").exists():
        child("make", str(folder))
    masked = TRIALS * N_GENERAL * 4 / 1e6
    print(f"one session's masked trials: {masked:.0f} MB float32, {masked / 2:.0f} MB int16")
    for beta_format in ("hdf5", "nifti"):
        for sessions in (1, 3):
            facts = json.loads(child("measure", str(folder), beta_format, str(sessions)))
            extra = facts["peak"] - facts["before"] - facts["result"]
            print(
                f"{beta_format:6} {sessions} sessions: {facts['seconds']:.1f} s "
                f"({facts['cpu']:.1f} s of CPU), result {facts['result'] / 1e6:.0f} MB, peak "
                f"{facts['peak'] / 1e6:.0f} MB, beyond imports and result {extra / 1e6:.0f} MB"
            )
    facts = json.loads(child("check", str(folder)))
    print(f"check_data, {6 * SESSIONS} session files: {facts['seconds']:.1f} s")
    print(*facts["contradictions"], sep="\n")


def main() -> None:
    """Run the benchmark, or one of its parts in a child process."""
    parts = {"make": make, "check": measure_check}
    if len(sys.argv) > 2 and sys.argv[1] in parts:
        parts[sys.argv[1]](Path(sys.argv[2]))
    elif len(sys.argv) > 2 and sys.argv[1] == "measure":
        measure(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--folder", type=Path, help="keep the download here")
        folder = parser.parse_args().folder
        with tempfile.TemporaryDirectory() as temporary:
            compare(folder or Path(temporary))


if __name__ == "__main__":
    main()
