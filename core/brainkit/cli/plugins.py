"""`list-plugins` and `show`: what is installed, and what a method is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainkit.cli.flags import AsJson, MethodName, OptionTexts, UseTexts

if TYPE_CHECKING:
    from brainkit.method import Method
    from brainkit.plugins import Plugin, Registry
    from brainkit.schema import MethodShown, OptionEntry, PartEntry, PluginEntry
    from brainkit.tables import Block


LONG = 40
"""Signs from which on an option's value stands in lines of its own."""
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
        str, typer.Option(help="The method's own set of options that is shown.")
    ] = "paper",
    use: UseTexts = None,
    option: OptionTexts = None,
    as_json: AsJson = False,
) -> None:
    """Show a method: its parts, their options and limits, its presets.

    Examples:
        brainkit show unibrain
        brainkit show unibrain --preset miniature
        brainkit show mindreader --use regressor=ridge
    """
    from brainkit import tables
    from brainkit.plugins import Registry
    from brainkit.run import configured

    config = configured(method, context.params)
    composed = config.composed(Registry.installed().get)
    if as_json:
        tables.show_json(method_entry(composed))
    else:
        tables.show(*described(composed))


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


def summary(kind: str, offer: Any) -> str:
    """Return the line that says what a part or method is."""
    text = offer.summary if kind == "method" else (type(offer).__doc__ or "")
    return str(text).strip().partition("\n")[0]


def described(method: Method) -> list[Block]:
    """Return what `show` prints: each part, and each option with value, limits and help."""
    from brainkit.tables import Title

    shown = method_entry(method)
    blocks: list[Block] = [
        Title(f"{shown['name']}: {shown['summary']}"),
        f"source: {shown['source']}",
        *(f"cite: {paper}" for paper in shown["papers"]),
    ]
    for part in shown["parts"]:
        blocks += ["", *_part_blocks(part)]
    if shown["samples"] > 1:
        number = shown["samples"]
        blocks += ["", f"--samples {number}: reconstructions of each image, all scored"]
    if shown["scores"]:
        blocks += ["", f"scores of the paper: {', '.join(shown['scores'])}"]
    for name, options in shown["presets"].items():
        blocks += ["", Title(f"--preset {name}:")]
        blocks += [f"    {address} = {_typed(value)}" for address, value in options.items()]
    return blocks + (["", *(f"note: {note}" for note in shown["notes"])] if shown["notes"] else [])


def _part_blocks(part: PartEntry) -> list[Block]:
    from brainkit.tables import TextTable, Title

    rows = [
        (
            option["address"],
            _typed(option["value"]),
            option["help"] + f" ({option['allowed']})" * bool(option["allowed"]),
        )
        for option in part["options"]
    ]
    long = [row for row in rows if len(row[1]) > LONG]
    usual = [row for row in rows if row not in long]
    return [
        Title(part["address"] + f" = {part['name']}" * bool(part["name"])),
        *([f"  {part['summary']}"] if part["summary"] else []),
        *([TextTable((), usual, indent=2)] if usual else []),
        *(line for row in long for line in (f"  {row[0]} = {row[1]}", f"    {row[2]}")),
        *(f"  needs the weights {name}" for name in part["weights"]),
    ]


def _typed(value: Any) -> str:
    """Return a value as `-o` takes it.

    >>> _typed(True), _typed(("a", "b")), _typed(None)
    ('true', '["a", "b"]', '')
    """
    import json

    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, default=str)


def method_entry(method: Method) -> MethodShown:
    """Return the same for programs."""
    return {
        "name": method.name,
        "summary": method.summary,
        "source": method.source,
        "papers": [paper.text() for paper in method.papers],
        "samples": method.samples,
        "scores": list(method.scores),
        "parts": [_part_entry(address, part) for address, part in method.parts()],
        "presets": {name: dict(values) for name, values in method.presets.items()},
        "notes": list(method.footnotes),
    }


def _part_entry(address: str, part: Any) -> PartEntry:
    from brainkit.options import options
    from brainkit.parts import checkpoints_of

    return {
        "address": address,
        "name": part.name if address != "selection" else None,
        "summary": summary("part", part),
        "options": [_option_entry(address, part, field) for field in options(part)],
        "weights": [each.name for each in checkpoints_of(part)],
    }


def _option_entry(address: str, part: Any, field: Any) -> OptionEntry:
    from brainkit.options import limits

    return {
        "address": f"{address}.{field.name}",
        "value": getattr(part, field.name),
        "help": field.metadata.get("help", ""),
        "allowed": limits(field) or _choices(field.type),
    }


def _choices(annotation: Any) -> str:
    text = str(annotation)
    return text.replace("Literal", "").strip('[]"') if text.startswith("Literal") else ""
