"""`doctor`: what a bug report needs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.cli.flags import AsJson

if TYPE_CHECKING:
    from brainkit.plugins import Registry
    from brainkit.schema import DeviceEntry, Diagnosis, PluginEntry
    from brainkit.tables import Block


def doctor(as_json: AsJson = False) -> None:
    """Print versions, devices, weights and caches, for bug reports.

    Examples:
        brainkit doctor
        brainkit doctor --json
    """
    from brainkit.plugins import Registry
    from brainkit.tables import show, show_json

    found = diagnosis(Registry.installed())
    if as_json:
        show_json(found)
    else:
        show(*diagnosed(found))


def diagnosis(registry: Registry) -> Diagnosis:
    """Return what a bug report needs."""
    import os
    import platform

    import torch

    from brainkit.cli.plugins import entries
    from brainkit.fetch import stored
    from brainkit.run import default_home
    from brainkit.run.machine import log_versions

    home = default_home()
    return {
        "versions": log_versions(),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count() or 1,
        "devices": _devices(),
        "plugins": entries(registry),
        "home": str(home),
        "home_size": _folder_size(home),
        "store": stored(registry, home / "checkpoints").json(),
    }


def diagnosed(found: Diagnosis) -> list[Block]:
    """Return what `doctor` prints."""
    from brainkit.console import human_size
    from brainkit.fetch.inventory import STYLES
    from brainkit.tables import TextTable, Title

    cpu, *cuda = found["devices"]
    devices = [(cpu["name"], f"{found['threads']} threads of {found['processors']} processors")]
    devices += [(each["name"], f"{each['model']}, {_size(each['memory'])}") for each in cuda]
    devices += [] if cuda else [("cuda", "absent")]
    plugins = [(each["distribution"] or each["name"], _word(each)) for each in found["plugins"]]
    store = found["store"]
    weights = [
        (
            each["name"],
            each["state"],
            human_size(each["size"]) if each["size"] else "",
            "miniature shipped" if each["miniature"] else "",
        )
        for each in store["checkpoints"]
    ]
    return [
        TextTable((), [*found["versions"].items(), ("system", found["system"])]),
        *("", Title("devices"), TextTable((), devices, indent=2)),
        *("", Title("plugins"), TextTable((), plugins, styles={"works": "green"}, indent=2)),
        *("", Title("weights"), TextTable((), weights, {2}, STYLES, indent=2)),
        *(
            f"  {each['name']}: {fault}"
            for each in store["checkpoints"]
            for fault in each["faults"]
        ),
        *("", f"home   {found['home']}, {_size(found['home_size'])}"),
        f"store  {store['store']}, {human_size(store['size'])}",
    ]


def _word(plugin: PluginEntry) -> str:
    faults = [*([plugin["broken"]] if plugin["broken"] else []), *plugin["disputed"]]
    return f"cannot be used: {'; '.join(faults)}" if faults else "works"


def _devices() -> list[DeviceEntry]:
    import platform

    import torch

    model = platform.processor() or platform.machine()
    devices: list[DeviceEntry] = [{"name": "cpu", "model": model, "memory": None}]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        found = torch.cuda.get_device_properties(index)
        devices.append({"name": f"cuda:{index}", "model": found.name, "memory": found.total_memory})
    return devices


def _size(n_bytes: int | None) -> str:
    from brainkit.console import human_size

    return "absent" if n_bytes is None else human_size(n_bytes)


def _folder_size(folder: Path) -> int | None:
    """Return the bytes of all files in a folder and below; None when it is not there."""
    if not folder.is_dir():
        return None
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it vanished meanwhile, or may not be looked at
            total += path.stat().st_size if path.is_file() else 0
    return total
