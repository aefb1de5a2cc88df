"""`list-plugins` and `show`: what is installed, and what a method is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brainkit.cli import completion
from brainkit.cli.described import described, method_entry, summary
from brainkit.cli.flags import AsJson, MethodName, OptionTexts, PluginFiles, UseTexts

if TYPE_CHECKING:
    from brainkit.plugins import Plugin, Registry
    from brainkit.schema import PluginEntry
    from brainkit.tables import Block


SLOW = 0.5
"""Seconds of loading from which on a plugin makes everybody wait."""


def list_plugins(
    context: typer.Context,
    as_json: AsJson = False,
    plugin: PluginFiles = None,
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

    registry = Registry.installed(plugin)
    show_plugins(registry, as_json=as_json, slow=check)
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
        str,
        typer.Option(
            help="The method's own set of options that is shown.", autocompletion=completion.presets
        ),
    ] = "paper",
    use: UseTexts = None,
    option: OptionTexts = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Show a method: its parts, their options and limits, its presets.

    Examples:
        brainkit show unibrain
        brainkit show minddiffuser --preset tuned
        brainkit show mindreader --use regressor=ridge
    """
    from brainkit import tables
    from brainkit.plugins import Registry
    from brainkit.run import configured

    config = configured(method, context.params)
    registry = Registry.installed(plugin)
    composed = config.composed(registry.get)
    if as_json:
        tables.show_json(method_entry(composed))
    else:
        tables.show(*described(composed), *config.lost(registry.get))


def show_plugins(registry: Registry, *, as_json: bool, slow: bool = False) -> None:
    """Print what `list-plugins` prints; with `slow`, plugins that make others wait are told."""
    from brainkit.tables import show, show_json

    if as_json:
        show_json(entries(registry, slow=slow))
    else:
        show(*(block for plugin in registry.plugins for block in _blocks(plugin, slow=slow)))


def _blocks(plugin: Plugin, *, slow: bool) -> list[Block]:
    from brainkit.tables import TextTable, Title

    title = Title(plugin.name + (f"  ({plugin.distribution})" if plugin.distribution else ""))
    rows = [(kind, offer.name, summary(kind, offer)) for kind, offer in plugin.offers]
    faults = [*([plugin.broken] if plugin.broken else []), *plugin.disputed]
    waits = _slowness(plugin) if slow else ""
    return [
        title,
        *(f"  cannot be used: {fault}" for fault in faults),
        *([f"  {waits}"] if waits else []),
        *([TextTable((), rows, indent=2)] if rows else []),
        *([] if rows or plugin.broken else ["  registers nothing"]),
    ]


def _slowness(plugin: Plugin) -> str:
    """Say what of a plugin's loading takes so long that every command is slow; "" if nothing."""
    libraries = f" and imports {', '.join(plugin.heavy)}" if plugin.heavy else ""
    if plugin.seconds < SLOW and not libraries:
        return ""
    return (
        f"slow: loading it takes {plugin.seconds:.1f} s{libraries}, for which every command waits; "
        "import what is large inside functions"
    )


def entries(registry: Registry, *, slow: bool = False) -> list[PluginEntry]:
    """Return the same for programs."""
    return [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "broken": plugin.broken or None,
            "disputed": list(plugin.disputed),
            "slow": (_slowness(plugin) or None) if slow else None,
            "offers": [
                {"kind": kind, "name": offer.name, "summary": summary(kind, offer)}
                for kind, offer in plugin.offers
            ],
        }
        for plugin in registry.plugins
    ]
