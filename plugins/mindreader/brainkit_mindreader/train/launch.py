"""Begin a training in one process or in several that `accelerate launch` started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from brainkit.errors import UsageError
from brainkit.run import quick_device

if TYPE_CHECKING:
    from accelerate import Accelerator


def launched(device: str, mixed_precision: str | None = None) -> Accelerator:
    """Return what ties this process to the others.

    Args:
        device: "auto", "cpu" or "cuda"; each process takes a GPU of its own.
        mixed_precision: "no", "bf16", "fp16", or None for what the launcher says, else "no".

    Raises:
        UsageError: the device is absent, names one GPU, or cannot compute in float16.
    """
    resolved = quick_device(device)
    if ":" in resolved:
        raise UsageError(
            f"--device is {device!r}, but each process takes a GPU itself; write cuda and choose "
            "GPUs by CUDA_VISIBLE_DEVICES"
        )
    precision = mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision == "fp16" and resolved == "cpu":
        raise UsageError("--mixed-precision is 'fp16', which CPUs do not train in; take bf16 or no")
    from accelerate import Accelerator

    try:
        return Accelerator(cpu=resolved == "cpu", mixed_precision=precision)
    except ValueError as error:
        raise UsageError(
            f"--mixed-precision is {precision!r}, which this device cannot do ({error}); take no"
        ) from error
