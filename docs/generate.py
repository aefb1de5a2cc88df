"""Write what the docs say of commands and weights from the program itself.

`docs/cli.md` is the commands' own help; in `docs/weights.md` the tables between two comments are
made from the releases. With --check, files are only compared.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from typer.main import get_command
from typer.testing import CliRunner

from brainkit.cli import app
from brainkit.console import human_size
from brainkit.fetch.hub import MOVED
from brainkit.fetch.known import Known, known, of_method
from brainkit.plugins import Registry, Source
from brainkit.weights import Origin

DOCS = Path(__file__).parent
INTRO = """# Command line

Written by `python docs/generate.py` from the commands themselves. Data go to stdout, progress to
stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped.
"""


def commands() -> str:
    """Return the text of `cli.md`."""
    os.environ["COLUMNS"] = "96"
    names = sorted(get_command(app).commands)  # type: ignore[attr-defined]
    sections = [_section([])] + [_section([name]) for name in names]
    return INTRO + "".join(sections)


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


PAGES: dict[str, Callable[[], str]] = {"cli.md": commands, "weights.md": weights}


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
