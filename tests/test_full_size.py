"""The released four-flow network at its true size, with random weights: written, converted, run.

Every phase is a process of its own, whose peak of memory is measured; they print it, so that
`pytest -m slow -s tests/test_full_size.py` shows what a machine has to have.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FILE = "vd-four-flow-v1-0.pth"
DISK, MEMORY = 11.5e9, 10e9
"""Bytes that have to be free and available."""
PARAMETERS = 2_566_318_852
LIMIT = 24e9
"""Bytes that a phase may take at most; 1.5 times the file is asked for, not two copies of it."""


def write(folder: Path) -> None:
    """Write the official file in bfloat16. Numbers lie in files until torch writes them."""
    import torch

    from brainkit_unibrain.released import FOUR_FLOW

    raw, tensors, sums = folder / "raw", {}, {}
    raw.mkdir()
    for number, (name, shape) in enumerate(FOUR_FLOW.shapes(FOUR_FLOW.config).items()):
        size = torch.Size(shape).numel()
        mapped = torch.from_file(
            str(raw / str(number)), shared=True, size=size, dtype=torch.bfloat16
        )
        gain = len(shape) == 1 and name.endswith("weight")
        spread = 0.02 if len(shape) == 1 else torch.Size(shape[1:]).numel() ** -0.5
        drawn = torch.Generator().manual_seed(number)
        tensors[name] = mapped.normal_(float(gain), spread, generator=drawn).view(shape)
        sums[name] = checksum(mapped)
    torch.save(tensors, folder / FILE)
    shutil.rmtree(raw)
    (folder / "sums.json").write_text(json.dumps(sums))


def checksum(tensor: Any) -> int:
    import torch

    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy())


def convert(folder: Path) -> None:
    """Bring the file into the store, which another process does; its peak counts too."""
    from brainkit.weights.convert import ReleasedFiles
    from brainkit.weights.convert import convert as into_the_store

    source = ReleasedFiles((folder / FILE,))
    (done,) = into_the_store(["brainkit_unibrain.released:FOUR_FLOW"], source, folder / "store")
    assert (done.layout, done.tensors) == ("official", 1368)


def compare(folder: Path) -> None:
    """Read every tensor back and compare it with what was written."""
    import torch
    from safetensors import safe_open

    sums = json.loads((folder / "sums.json").read_text())
    with safe_open(folder / "store/vd-four-flow/model.safetensors", framework="pt") as opened:
        assert set(opened.keys()) == set(sums)
        for name, wanted in sums.items():
            tensor = opened.get_tensor(name)
            assert tensor.dtype == torch.bfloat16
            assert checksum(tensor) == wanted, name


def load(folder: Path) -> None:
    """Load the network through the store."""
    network(folder)


def network(folder: Path) -> Any:
    import torch

    from brainkit.checkpoints import CheckpointStore
    from brainkit_unibrain.loading import load_four_flow

    built = load_four_flow(CheckpointStore(folder / "store", dtype="bfloat16"))
    assert sum(each.numel() for each in built.parameters()) == PARAMETERS
    assert {each.dtype for each in built.parameters()} == {torch.bfloat16}
    return built


def image(folder: Path) -> None:
    """Take one guided step of the image flow: 64 x 64 latent, 257 and 77 tokens, batch 1."""
    step(folder, "image", (1, 4, 64, 64))


def caption(folder: Path) -> None:
    """Take one guided step of the text flow."""
    step(folder, "text", (1, 768))


def step(folder: Path, data: str, shape: tuple[int, ...]) -> None:
    import torch

    from brainkit.samplers.guidance import guided
    from brainkit_unibrain.networks import Context

    built = network(folder)
    drawn = torch.Generator().manual_seed(0)

    def normal(*sizes: int) -> Any:
        return torch.randn(*sizes, generator=drawn).to(torch.bfloat16)

    contexts = [
        Context("image", normal(2, 257, 768), 0.6), Context("text", normal(2, 77, 768), 0.4)
    ]  # fmt: skip
    latent = normal(*shape)

    def predict(latents: Any, timesteps: Any) -> Any:
        assert len(latents) == 2  # without and with the contexts
        return built(latents, timesteps, data, contexts)

    with torch.inference_mode():
        noise = guided(predict, 7.5)(latent, torch.tensor([721]))
    assert noise.shape == shape
    assert bool(noise.isfinite().all())
    assert float(noise.float().std()) > 0


PHASES: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (write, convert, compare, load, image, caption)
}


def main() -> None:
    """Run a phase and print its peak of memory and its duration."""
    import resource

    begin = time.perf_counter()
    PHASES[sys.argv[1]](Path(sys.argv[2]))
    seconds = time.perf_counter() - begin
    own = status("VmHWM")
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    facts = {"peak": max(own, others), "own": status("RssAnon"), "seconds": seconds}
    print(json.dumps(facts))


def status(key: str, path: str = "/proc/self/status") -> int:
    """Return a number of bytes that the system tells."""
    lines = Path(path).read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def run(phase: str, folder: Path) -> dict[str, float]:
    """Run a phase in a process of its own and give its facts."""
    command = [sys.executable, __file__, phase, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    facts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\n{phase:8} peak {facts['peak'] / 1e9:5.2f} GB, at the end {facts['own'] / 1e9:5.2f} GB "
        f"not mapped from files, {facts['seconds']:5.0f} s",
        flush=True,
    )
    return facts


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    if not Path("/proc/self/status").is_file():
        pytest.skip("memory is measured through /proc")
    pytest.importorskip("brainkit_unibrain")
    if shutil.disk_usage(tmp_path).free < DISK:
        pytest.skip(f"less than {DISK / 1e9} GB free at {tmp_path}")
    if status("MemAvailable", "/proc/meminfo") < MEMORY:
        pytest.skip(f"less than {MEMORY / 1e9} GB of memory available")
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_released_size_is_converted_loaded_and_stepped_within_24_gb(folder: Path) -> None:
    run("write", folder)
    size = (folder / FILE).stat().st_size
    assert size == pytest.approx(2 * PARAMETERS, rel=1e-3)
    most = min(LIMIT, 1.5 * size)
    assert run("convert", folder)["peak"] < most
    (folder / FILE).unlink()
    run("compare", folder)
    assert run("load", folder)["peak"] < size / 2  # the numbers stay in their file
    for phase in ("image", "caption"):
        assert run(phase, folder)["peak"] < most


if __name__ == "__main__":
    main()
