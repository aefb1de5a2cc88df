"""`doctor`: what a bug report needs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brainkit.plugins import Registry


def doctor() -> None:
    """Print versions, devices, weights and caches, for bug reports.

    Examples:
        brainkit doctor
    """
    from brainkit.plugins import Registry

    print(findings(Registry.installed()))


def findings(registry: Registry) -> str:
    """Return the text of `doctor`."""
    import platform

    from brainkit.fetch.inventory import doctor_lines
    from brainkit.run import default_home
    from brainkit.run.machine import log_versions

    lines = [f"{name} {version}" for name, version in log_versions().items()]
    lines += [f"system {platform.platform()}", *_devices(), "", "plugins:"]
    for plugin in registry.plugins:
        state = f"cannot be used: {plugin.broken}" if plugin.broken else "works"
        lines.append(f"  {plugin.distribution or plugin.name}: {state}")
    home = default_home()
    lines += ["", f"home {home} ({_folder_size(home)})", "weights:"]
    lines += doctor_lines(registry, home / "checkpoints")
    return "\n".join(lines)


def _devices() -> list[str]:
    import os

    import torch

    lines = [f"cpu {torch.get_num_threads()} threads of {os.cpu_count()} processors"]
    if not torch.cuda.is_available():
        return [*lines, "cuda absent"]
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index} {device.name}, {device.total_memory / 1e9:.0f} GB")
    return lines


def _folder_size(folder: Path) -> str:
    from brainkit.console import human_size

    if not folder.is_dir():
        return "absent"
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it vanished meanwhile, or may not be looked at
            total += path.stat().st_size if path.is_file() else 0
    return human_size(total)
