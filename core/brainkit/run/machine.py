"""What a run computes on and by: its device, its dtype, and the versions of libraries."""

from __future__ import annotations

import re
import sys

from brainkit.errors import UsageError


def resolved_device(name: str) -> str:
    """Return "cpu", "cuda" or "cuda:n" for "auto" or one of these.

    Raises:
        UsageError: the name is none of these, or the device is absent.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device is {name!r}, expected auto, cpu, cuda or cuda:n")
    if name == "cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    number = int(name.partition(":")[2] or 0)
    if number >= count:
        raise UsageError(
            f"--device is {name!r}, but torch sees {count} CUDA devices; use --device cpu or check "
            "the driver with `brainkit doctor`"
        )
    return name


def resolved_dtype(name: str, device: str) -> str:
    """Return the dtype networks run in: bfloat16 on CUDA and float32 on the CPU unless told."""
    if name != "auto":
        return name
    return "bfloat16" if device.startswith("cuda") else "float32"


def quick_device(name: str) -> str:
    """Resolve without importing torch where the answer does not need it.

    A machine without an NVIDIA driver file has no CUDA device, so "auto" is the CPU there.
    """
    from pathlib import Path

    if name == "auto" and not Path("/dev/nvidiactl").exists() and not Path("/dev/dxg").exists():
        return "cpu"
    return resolved_device(name)


def log_versions() -> dict[str, str]:
    """Return the versions of Python and of libraries that bear on results; "absent" for none."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": sys.version.split()[0]}
    names = ("brainkit", "torch", "diffusers", "transformers", "numpy", "scipy", "scikit-image")
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions
