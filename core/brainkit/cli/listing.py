"""What `list-plugins`, `show`, `doctor` and `--dry-run` print."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.method import Method
from brainkit.options import limits, options
from brainkit.parts import checkpoints_of
from brainkit.plugins import Registry

if TYPE_CHECKING:
    from brainkit.run.shared import Run


def plugins(registry: Registry, *, as_json: bool) -> str:
    """Give the text of `list-plugins`."""
    if as_json:
        return json.dumps([_plugin_entry(plugin) for plugin in registry.plugins], indent=2)
    lines: list[str] = []
    for plugin in registry.plugins:
        title = plugin.name + (f"  ({plugin.distribution})" if plugin.distribution else "")
        lines.append(title)
        if plugin.broken:
            lines.append(f"  cannot be used: {plugin.broken}")
        for kind, offer in plugin.offers:
            summary = _summary(kind, offer)
            lines.append(f"  {kind:<12} {offer.name:<18} {summary}".rstrip())
        if not plugin.broken and not plugin.offers:
            lines.append("  registers nothing")
    return "\n".join(lines)


def _plugin_entry(plugin: Any) -> dict[str, Any]:
    offers = [
        {"kind": kind, "name": offer.name, "summary": _summary(kind, offer)}
        for kind, offer in plugin.offers
    ]
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "broken": plugin.broken or None,
        "offers": offers,
    }


def _summary(kind: str, offer: Any) -> str:
    text = offer.summary if kind == "method" else (type(offer).__doc__ or "")
    return str(text).strip().partition("\n")[0]


def method(shown: Method) -> str:
    """Give the text of `show`: each part, and each option with value, limits and help."""
    lines = [f"{shown.name}: {shown.summary}", f"source: {shown.source}", ""]
    for address, part in shown.parts():
        about = (type(part).__doc__ or "").strip().partition("\n")[0]
        lines.append(f"{address} = {part.name}" if address != "selection" else address)
        lines.append(f"    {about}")
        rows = [_option_row(address, part, field) for field in options(part)]
        width = max((len(left) for left, _ in rows), default=0)
        lines += [f"    {left:<{width}}  {right}".rstrip() for left, right in rows]
        for checkpoint in checkpoints_of(part):
            lines.append(f"    needs the weights {checkpoint.name}")
    if shown.samples > 1:
        lines += ["", f"--samples {shown.samples}: reconstructions of each image, all scored"]
    if shown.scores:
        lines += ["", f"scores of the paper: {', '.join(shown.scores)}"]
    for name, values in shown.presets.items():
        lines += ["", f"--preset {name}:"]
        lines += [f"    {address} = {value}" for address, value in values.items()]
    lines += ["", *(f"note: {note}" for note in shown.footnotes)] if shown.footnotes else []
    return "\n".join(lines)


def _option_row(address: str, part: Any, field: Any) -> tuple[str, str]:
    value = getattr(part, field.name)
    allowed = limits(field) or _choices(field.type)
    return (
        f"{address}.{field.name} = {value}",
        field.metadata.get("help", "") + (f" ({allowed})" if allowed else ""),
    )


def _choices(annotation: Any) -> str:
    text = str(annotation)
    return text.replace("Literal", "").strip('[]"') if text.startswith("Literal") else ""


def doctor(registry: Registry) -> str:
    """Give the text of `doctor`."""
    from brainkit.fetch.inventory import doctor_lines
    from brainkit.run import default_home
    from brainkit.run.shared import log_versions

    lines = [f"{name} {version}" for name, version in log_versions().items()]
    lines.append(f"system {platform.platform()}")
    lines += _devices()
    lines += ["", "plugins:"]
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
        found = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index} {found.name}, {found.total_memory / 1e9:.0f} GB")
    return lines


def _folder_size(folder: Path) -> str:
    from brainkit.console import human_size

    if not folder.is_dir():
        return "absent"
    return human_size(sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()))


def plan(run: Run) -> str:
    """Give what a dry run prints first: what is read, how much, and where files go."""
    train, test = run.image_ids
    each = f" {run.method.samples} times" if run.method.samples > 1 else ""
    lines = [
        f"method   {run.method.name} on {'the miniature' if run.miniature else run.nsd}",
        f"weights  {_networks(run)}",
        f"subject  {run.config.subject}: {len(train)} training images, {len(test)} test images, "
        f"{len(run.chosen)} to be reconstructed{each}",
        f"tests    {run.plan.test_images}",
        f"network  {run.store.dtype} on {run.store.device}, batches of {run.config.batch_size}",
        f"reads    {run.plan.text()}",
        f"writes   {run.folder}",
    ]
    return "\n".join(lines)


def _networks(run: Run) -> str:
    if run.networks == "random":
        return "random, in the released sizes: pictures and scores will mean nothing"
    return "the miniature's" if run.networks == "miniature" else f"released, in {run.store.root}"
