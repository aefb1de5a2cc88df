"""`list-plugins` and `show`: what is installed, and what a method is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainkit.cli.flags import AsJson, MethodName, OptionTexts, UseTexts

if TYPE_CHECKING:
    from brainkit.method import Method
    from brainkit.plugins import Plugin, Registry


SLOW = 0.5
"""Seconds of loading from which on a plugin makes everybody wait."""


def list_plugins(
    context: typer.Context,
    as_json: AsJson = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Also tell slow imports; exit with 1 if one cannot be used."),
    ] = False,
) -> None:
    """List the plugins, what they offer, and those that are broken.

    With `brainkit --debug list-plugins`, tracebacks of those that cannot be loaded are printed.

    Examples:
        brainkit list-plugins
        brainkit list-plugins --json
        brainkit list-plugins --check
    """
    from brainkit.plugins import Registry

    registry = Registry.installed()
    print(listed(registry, as_json=as_json, slow=check))
    if any(each.params.get("debug") for each in (context, context.find_root())):
        _print_tracebacks(registry)
    if check and any(plugin.broken or plugin.disputed for plugin in registry.plugins):
        raise typer.Exit(1)


def _print_tracebacks(registry: Registry) -> None:
    import traceback

    from brainkit.console import to_stderr

    for plugin in registry.broken():
        if plugin.error:
            trace = "".join(traceback.format_exception(plugin.error)).rstrip()
            to_stderr(f"\n{plugin.name}  ({plugin.owner})\n{trace}")


def show(
    context: typer.Context,
    method: MethodName,
    preset: Annotated[
        str, typer.Option(help="The method's own set of options that is shown.")
    ] = "paper",
    use: UseTexts = None,
    option: OptionTexts = None,
) -> None:
    """Show a method: its parts, their options and limits, its presets.

    Examples:
        brainkit show unibrain
        brainkit show unibrain --preset miniature
        brainkit show mindreader --use regressor=ridge
    """
    from brainkit.plugins import Registry
    from brainkit.run import configured

    config = configured(method, context.params)
    print(described(config.composed(Registry.installed().get)))


def listed(registry: Registry, *, as_json: bool, slow: bool = False) -> str:
    """Return the text of `list-plugins`; with `slow`, plugins that make others wait are told."""
    if as_json:
        import json

        return json.dumps([_entry(plugin, slow=slow) for plugin in registry.plugins], indent=2)
    return "\n".join(line for plugin in registry.plugins for line in _lines(plugin, slow=slow))


def _lines(plugin: Plugin, *, slow: bool) -> list[str]:
    lines = [plugin.name + (f"  ({plugin.distribution})" if plugin.distribution else "")]
    if plugin.broken:
        lines.append(f"  cannot be used: {plugin.broken}")
    lines += [f"  cannot be used: {sentence}" for sentence in plugin.disputed]
    lines += [f"  {_slowness(plugin)}"] if slow and _slowness(plugin) else []
    for kind, offer in plugin.offers:
        lines.append(f"  {kind:<12} {offer.name:<18} {_summary(kind, offer)}".rstrip())
    if not plugin.broken and not plugin.offers:
        lines.append("  registers nothing")
    return lines


def _slowness(plugin: Plugin) -> str:
    """Say what of a plugin's loading takes so long that every command is slow; "" if nothing."""
    libraries = f" and imports {', '.join(plugin.heavy)}" if plugin.heavy else ""
    if plugin.seconds < SLOW and not libraries:
        return ""
    return (
        f"slow: loading it takes {plugin.seconds:.1f} s{libraries}, for which every command waits; "
        "import what is large inside functions"
    )


def _entry(plugin: Plugin, *, slow: bool) -> dict[str, Any]:
    offers = [
        {"kind": kind, "name": offer.name, "summary": _summary(kind, offer)}
        for kind, offer in plugin.offers
    ]
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "broken": plugin.broken or None,
        "disputed": list(plugin.disputed),
        **({"slow": _slowness(plugin) or None} if slow else {}),
        "offers": offers,
    }


def _summary(kind: str, offer: Any) -> str:
    text = offer.summary if kind == "method" else (type(offer).__doc__ or "")
    return str(text).strip().partition("\n")[0]


def described(method: Method) -> str:
    """Return the text of `show`: each part, and each option with value, limits and help."""
    lines = [f"{method.name}: {method.summary}", f"source: {method.source}", ""]
    for address, part in method.parts():
        lines += _part_lines(address, part)
    if method.samples > 1:
        lines += ["", f"--samples {method.samples}: reconstructions of each image, all scored"]
    if method.scores:
        lines += ["", f"scores of the paper: {', '.join(method.scores)}"]
    for name, values in method.presets.items():
        lines += ["", f"--preset {name}:"]
        lines += [f"    {address} = {value}" for address, value in values.items()]
    lines += ["", *(f"note: {note}" for note in method.footnotes)] if method.footnotes else []
    return "\n".join(lines)


def _part_lines(address: str, part: Any) -> list[str]:
    from brainkit.console import aligned
    from brainkit.options import options
    from brainkit.parts import checkpoints_of

    summary = (type(part).__doc__ or "").strip().partition("\n")[0]
    title = f"{address} = {part.name}" if address != "selection" else address
    rows = [_option_row(address, part, field) for field in options(part)]
    needs = [f"needs the weights {each.name}" for each in checkpoints_of(part)]
    return [title, *(f"    {line}" for line in (summary, *aligned(rows), *needs))]


def _option_row(address: str, part: Any, field: Any) -> tuple[str, str]:
    from brainkit.options import limits

    value = getattr(part, field.name)
    allowed = limits(field) or _choices(field.type)
    return (
        f"{address}.{field.name} = {value}",
        field.metadata.get("help", "") + (f" ({allowed})" if allowed else ""),
    )


def _choices(annotation: Any) -> str:
    text = str(annotation)
    return text.replace("Literal", "").strip('[]"') if text.startswith("Literal") else ""
