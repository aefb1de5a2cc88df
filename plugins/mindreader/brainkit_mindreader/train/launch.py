"""Begin a training in one process or in several that `accelerate launch` started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainkit.devices import quick_device
from brainkit.errors import UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator


def launched(device: str, mixed_precision: str | None = None) -> Accelerator:
    """Give what ties this process to the others.

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
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=resolved == "cpu", mixed_precision=mixed_precision)
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UsageError("--mixed-precision is 'fp16', which CPUs do not train in; take bf16 or no")
    return accelerator
