"""Write what the docs say of commands, weights and code from the program itself.

`docs/cli.md` is the commands' own help, `docs/json.md` what `brainkit/schema.py` says; in
`docs/weights.md` the tables between two comments are made from the releases, `docs/code.md` from
the first lines of modules, and the rows of `docs/style.md` from `tests/test_layers.py`. With
--check, files are only compared.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

from typer.main import get_command
from typer.testing import CliRunner

from brainkit import schema
from brainkit.cli import app
from brainkit.console import human_size
from brainkit.fetch.hub import MOVED
from brainkit.fetch.known import Known, known, of_method
from brainkit.plugins import Registry, Source
from brainkit.weights import Origin

DOCS = Path(__file__).parent
INTRO = """# Command line

Written by `python docs/generate.py` from the commands themselves (as typer {typer} shows them).
Data go to stdout, progress to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + n stopped
by signal n (130 interrupted, 143 ended by a batch system).
"""
JSON = """# What --json prints

Written by `python docs/generate.py` from `brainkit/schema.py`. With `--json` a command prints one
JSON value on stdout and nothing else; progress, warnings and errors go to stderr, exit codes stay.
Sizes are in bytes, and what is not known is null. Fields may be added; none is renamed or given
another meaning. In Python the same are types, `brainkit.schema.COMMANDS["show"]` for instance.
"""
CODE = """# The code in one screen

Written by `python docs/generate.py` from the first line of each module. A file directly in
`brainkit/` is a contract, the shell, or a mechanism that every folder uses; everything else lies in
a folder named for what it does. A run is read from `run/line.py`. [How it is written](style.md) has
the rules.
"""


def commands() -> str:
    """Return the text of `cli.md`."""
    os.environ["COLUMNS"] = "96"
    names = sorted(get_command(app).commands)  # type: ignore[attr-defined]
    sections = [_section([])] + [_section([name]) for name in names]
    return INTRO.format(typer=typer_release()) + "".join(sections)


def typer_release() -> str:
    """Return which typer is installed, e.g. "0.29": each lays out the help its own way."""
    return ".".join(version("typer").split(".")[:2])


def _section(words: list[str]) -> str:
    shown = CliRunner().invoke(app, [*words, "--help"], prog_name="brainkit").stdout
    title = " ".join(["brainkit", *words])
    text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
    return f"\n## {title}\n\n```text\n{text}\n```\n"


def weights() -> str:
    """Return the text of `weights.md` with its tables made anew."""
    text = (DOCS / "weights.md").read_text(encoding="utf-8")
    registry = _registry()
    for name, lines in {
        "methods": _methods(registry),
        "checkpoints": _checkpoints(registry),
        "moved": _moved(),
    }.items():
        table = "\n".join(lines)
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, rf"\g<1>\n{table}\n\n\g<2>", text, flags=re.DOTALL)
    return text


def _registry() -> Registry:
    """Return core and the plugins of this repository, installed or not."""
    return Registry([_source(path) for path in sorted((DOCS.parent / "plugins").iterdir())])


def _source(folder: Path) -> Source:
    about = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    ((name, module),) = about["project"]["entry-points"]["brainkit"].items()

    def load() -> ModuleType:
        sys.path.insert(0, str(folder))
        return import_module(module)

    return Source(name, about["project"]["name"], load)


def _methods(registry: Registry) -> Iterator[str]:
    yield "| method | needs | its scores read besides |"
    yield "| --- | --- | --- |"
    for name in registry.names("method"):
        wanted = of_method(registry, registry.get("method", name))
        needed = ", ".join(f"`{each.name}`" for each in wanted if not each.scores)
        scores = ", ".join(f"`{each.name}`" for each in wanted if each.scores)
        yield f"| `{name}` | {needed} | {scores} |"


def _checkpoints(registry: Registry) -> Iterator[str]:
    yield "| checkpoint | files | size | licence | whence |"
    yield "| --- | --- | --- | --- | --- |"
    for name, each in sorted(known(registry).items()):
        origins = each.release.origins if each.release else ()
        if not origins:
            yield f"| `{name}` | by hand: {each.checkpoint.source} | | | |"
        for number, origin in enumerate(origins, start=1):
            first = f"`{name}`" if number == 1 else f"`--origin {number}`"
            yield (
                f"| {first} | {_files(origin)} | {_size(origin)} | {origin.licence} | "
                f"{_whence(origin)} |"
            )
        yield from _beside(each)


def _beside(each: Known) -> Iterator[str]:
    for companion in each.release.companions if each.release else ():
        for origin in companion.origins[:1]:
            yield (
                f"| `{companion.path}` | {_files(origin)} | {_size(origin)} | {origin.licence} "
                f"| {_whence(origin)} |"
            )


def _files(origin: Origin) -> str:
    return ", ".join(f"`{file.path}`" for file in origin.files) or "a file of yours"


def _size(origin: Origin) -> str:
    told = human_size(sum(file.size for file in origin.files))
    if origin.size:
        return told
    return f"over {told}" if any(file.size for file in origin.files) else ""


def _whence(origin: Origin) -> str:
    if origin.repository:
        commit = f" at `{origin.revision[:12]}`" if origin.revision else ""
        return f"`{origin.repository}`{commit}{', gated' if origin.gated else ''}"
    return f"<{origin.url}>" if origin.url else f"by hand: {origin.page}"


def _moved() -> Iterator[str]:
    yield "| id of old | id of now |"
    yield "| --- | --- |"
    yield from (f"| `{old}` | `{new}` |" for old, new in sorted(MOVED.items()))


def json_page() -> str:
    """Return the text of `json.md`: what each command prints with --json, field by field."""
    sections = [JSON]
    for command, kind in schema.COMMANDS.items():
        sections.append(f"## brainkit {command} --json\n\n{_meant(kind)}.\n")
    sections.append("## Objects\n")
    for model in (each for each in vars(schema).values() if is_typeddict(each)):
        rows = [
            f"| `{name}` | {_meant(get_args(hint)[0])} | {hint.__metadata__[0]} |"
            for name, hint in get_type_hints(model, include_extras=True).items()
        ]
        table = "\n".join(["| field | type | |", "| --- | --- | --- |", *rows])
        sections.append(f"### {model.__name__}\n\n{model.__doc__}\n\n{table}\n")
    return "\n".join(sections)


JSON_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any"}


def _meant(kind: Any) -> str:
    """Return a type in the words of JSON, its objects as links."""
    if is_typeddict(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _meant(inner[0])
    if origin is list:
        return f"list of {_meant(inner[0])}"
    if origin is dict:
        return f"object from {_meant(inner[0])} to {_meant(inner[1])}"
    if origin is Literal:
        return "text"
    if inner:
        return " or ".join("null" if each is NoneType else _meant(each) for each in inner)
    return JSON_TYPES[kind]


def code() -> str:
    """Return the text of `code.md`: a line a module of core, of a run and of plugins."""
    core = DOCS.parent / "core" / "brainkit"
    sections = [CODE, _tree("core/brainkit/", core), _tree("core/brainkit/run/", core / "run")]
    for plugin in sorted(DOCS.parent.glob("plugins/*/brainkit_*/")):
        sections.append(_tree(f"plugins/{plugin.parent.name}/{plugin.name}/", plugin))
    return "\n".join(sections)


def _tree(title: str, folder: Path) -> str:
    files = [each for each in folder.glob("*.py") if not each.name.startswith("__")]
    packages = [each for each in folder.iterdir() if (each / "__init__.py").is_file()]
    rows = [(each.name, _first_line(each)) for each in sorted(files)]
    rows += [(f"{each.name}/", _first_line(each / "__init__.py")) for each in sorted(packages)]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {about}" for name, about in rows]
    return "\n".join(
        ["```text", f"{title}  {_first_line(folder / '__init__.py')}", *lines, "```", ""]
    )


def _first_line(module: Path) -> str:
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def style() -> str:
    """Return the text of `style.md` with the rows of layers made anew."""
    page = (DOCS / "style.md").read_text(encoding="utf-8")
    layers = ast.parse((DOCS.parent / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    (rows,) = (
        ast.literal_eval(each.value)
        for each in layers.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "ROWS"
    )
    table = "\n".join(["```text", *(", ".join(row) for row in rows), "```"])
    pattern = r"(<!-- rows -->\n).*?(<!-- end -->)"
    return re.sub(pattern, rf"\g<1>\n{table}\n\n\g<2>", page, flags=re.DOTALL)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands,
    "code.md": code,
    "json.md": json_page,
    "style.md": style,
    "weights.md": weights,
}


def main(*, check: bool) -> None:
    """Write the pages, or only compare them; then a page that is out of date ends the program."""
    for name, made in PAGES.items():
        path, text = DOCS / name, made()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/{name} is out of date; run python docs/generate.py")


if __name__ == "__main__":
    main(check="--check" in sys.argv)
