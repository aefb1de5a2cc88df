"""`new-plugin` and `check-plugin`: for those who write plugins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainkit.cli.flags import AsJson, PluginFiles, StoreFolder

if TYPE_CHECKING:
    from brainkit.plugins import Plugin, Registry
    from brainkit.schema import PluginChecked
    from brainkit.tables import Block
    from brainkit.testing.survey import Verdict


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the part or method.")],
    kind: Annotated[
        str,
        typer.Option(help="encoder, regressor, conditioner, sampler, decoder or method."),
    ],
    folder: Annotated[
        Path, typer.Option("--in", help="Where the plugin's folder is made.  [default: .]")
    ] = Path(),
    author: Annotated[str, typer.Option(help="Who holds the copyright.")] = "",
) -> None:
    """Start a plugin: a distribution with one part that works, and its tests.

    Writes the folder brainkit-NAME with pyproject.toml, the part with an option, tests through the
    kit, README, licence and a workflow for GitHub, and prints what was written.

    Examples:
        brainkit new-plugin pls --kind regressor
        brainkit new-plugin edges --kind encoder --in plugins
    """
    from brainkit.starter import write_plugin

    for path in write_plugin(name, kind, folder, author):
        print(path)


def check_plugin(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of a plugin or its distribution, or a FILE.py.")
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Make no run of its methods.")] = False,
    checkpoints: StoreFolder = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Check every promise of a plugin, its parts, methods and weights.

    Exits with 1 when one is broken. What cannot be checked for want of weights is told. Promises
    that parts cannot keep are excused by EXPECTED_FAILURES in the plugin's module, with a reason.

    Examples:
        brainkit check-plugin mean
        brainkit check-plugin my_part.py
        brainkit check-plugin unibrain --quick --json
    """
    from brainkit import tables
    from brainkit.console import stdout_aside, tell
    from brainkit.plugins import Registry
    from brainkit.run import default_home
    from brainkit.testing.survey import survey

    files = [*(plugin or ()), *([Path(name)] if name.endswith(".py") else ())]
    registry = Registry.installed(files)
    checked = named(registry, name)
    released = checkpoints or default_home() / "checkpoints"
    with stdout_aside():
        verdicts = list(survey(checked, registry, released, runs=not quick, say=tell))
    if as_json:
        tables.show_json(entry(checked, verdicts))
    else:
        tables.show(*blocks(checked, verdicts))
    if any(each.outcome == "broken" for each in verdicts):
        raise typer.Exit(1)


def named(registry: Registry, name: str) -> Plugin:
    """Return the plugin of an entry-point name, a distribution or a file.

    Raises:
        UsageError: there is none, or several.
    """
    from brainkit.errors import UsageError, did_you_mean

    known = registry.plugins[1:]
    found = [each for each in known if name in _names(each)]
    if len(found) == 1:
        return found[0]
    if found:
        names = [_names(each)[-1] for each in found]
        raise UsageError(f"{name!r} may be {' or '.join(names)}; name one of these")
    names = [each.name for each in known]
    has = f" There are: {', '.join(names)}." if names else ""
    raise UsageError(f"no plugin is named {name!r}.{did_you_mean(name, names)}{has}")


def _names(plugin: Plugin) -> tuple[str, ...]:
    """Return what the user may call a plugin, the clearest last."""
    owner = plugin.distribution if plugin.single else plugin.distribution.partition(" ")[0]
    return (plugin.name, owner, plugin.distribution, f"{owner}:{plugin.name}")


def blocks(plugin: Plugin, verdicts: list[Verdict]) -> list[Block]:
    """Return what `check-plugin` prints: counts by subject, and a line for all that is not kept."""
    from brainkit.tables import TextTable, Title

    lines: list[Block] = [Title(f"{plugin.name}  ({plugin.distribution})")]
    for subject in dict.fromkeys(each.subject for each in verdicts):
        own = [each for each in verdicts if each.subject == subject]
        kept = sum(each.outcome == "kept" for each in own)
        lines.append(f"{subject}: {kept} of {sum(bool(each.check) for each in own)} promises kept")
        rows = [(each.outcome, each.check, each.why) for each in own if each.outcome != "kept"]
        if rows:
            lines.append(TextTable((), rows, styles={"broken": "red"}, indent=2))
    broken = sum(each.outcome == "broken" for each in verdicts)
    return [*lines, f"{broken} broken" if broken else "no promise is broken"]


def entry(plugin: Plugin, verdicts: list[Verdict]) -> PluginChecked:
    """Return the same for programs."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "broken": sum(each.outcome == "broken" for each in verdicts),
        "checks": [
            {
                "subject": each.subject,
                "check": each.check or None,
                "outcome": each.outcome,
                "why": each.why or None,
            }
            for each in verdicts
        ],
    }
