"""A method described: its parts, their options, limits and help, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainkit.method import Method
    from brainkit.schema import MethodShown, OptionEntry, PartEntry
    from brainkit.tables import Block

LONG = 40
"""Signs from which on an option's value stands in lines of its own."""


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
        blocks += [f"    {address} = {typed(value)}" for address, value in options.items()]
    return blocks + (["", *(f"note: {note}" for note in shown["notes"])] if shown["notes"] else [])


def _part_blocks(part: PartEntry) -> list[Block]:
    from brainkit.tables import TextTable, Title

    rows = [
        (
            option["address"],
            typed(option["value"]),
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


def summary(kind: str, offer: Any) -> str:
    """Return the line that says what a part or method is."""
    text = offer.summary if kind == "method" else (type(offer).__doc__ or "")
    return str(text).strip().partition("\n")[0]


def typed(value: Any) -> str:
    """Return a value as `-o` takes it.

    >>> typed(True), typed(("a", "b")), typed(None)
    ('true', '["a", "b"]', '')
    """
    import json

    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, default=str)


def _choices(annotation: Any) -> str:
    text = str(annotation)
    return text.replace("Literal", "").strip('[]"') if text.startswith("Literal") else ""
