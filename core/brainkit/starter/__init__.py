"""Start a plugin: a whole distribution with one working part, its tests, licence and CI."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from brainkit import __version__
from brainkit.admission import KINDS
from brainkit.disk import writing, written_aside
from brainkit.errors import UsageError, did_you_mean
from brainkit.names import unfit, unfit_method

PREFIX = "brainkit-"
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    ".gitignore": "gitignore",
    ".github/workflows/tests.yml": "tests.yml",
    "brainkit_{name}.py": "kinds/{kind}.py",
    "tests/test_{name}.py": "tests/{kind}.py",
}
"""Each file of a plugin and the template it is made from."""


def write_plugin(name: str, kind: str, parent: Path, author: str = "") -> list[Path]:
    """Write a plugin into a new folder and return the paths of its files.

    Args:
        name: of the part or method; the distribution and the folder are `brainkit-NAME`.
        kind: of the part, or "method".
        parent: folder that gets the new one.
        author: for the licence.

    Raises:
        UsageError: the name or kind does not do, or the folder is there.
        UnwritableError: a file cannot be written.
    """
    name = name.removeprefix(PREFIX)
    why = unfit(name) or (unfit_method(name) if kind == "method" else "")
    if why or not name[0].isalpha():
        raise UsageError(f"NAME is {why or f'{name!r}, expected one that begins with a letter'}")
    if kind not in KINDS:
        raise UsageError(
            f"--kind is {kind!r}, expected one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"
        )
    folder = parent / f"{PREFIX}{name}"
    if folder.exists():
        raise UsageError(f"{folder} is there already; choose another name, or delete it")
    texts = _texts(name, kind, author)
    for path, text in texts.items():
        with writing(folder):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with written_aside(folder / path) as aside:
            aside.write_text(text, encoding="utf-8")
    return [folder / path for path in texts]


def _texts(name: str, kind: str, author: str) -> dict[str, str]:
    """Return the content of each file by its path in the folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("brainkit.starter"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,
    )
    words = re.split(r"[-_]+", name)
    module = "_".join(words)
    facts = {
        "name": name,
        "kind": kind,
        "module": f"brainkit_{module}",
        "distribution": f"{PREFIX}{name}",
        "cls": "".join(word[:1].upper() + word[1:] for word in words),
        "constant": module.upper(),
        "words": " ".join(words),
        "author": author or f"the authors of {PREFIX}{name}",
        "year": date.today().year,
        "bounds": _bounds(),
    }
    return {
        path.format(name=module): environment.get_template(
            f"{template.format(kind=kind)}.jinja"
        ).render(facts)
        for path, template in FILES.items()
    }


def _bounds() -> str:
    """Return which releases of brainkit a plugin that is written now is for."""
    major, minor = (int(number) for number in __version__.split(".")[:2])
    upper = f"{major}.{minor + 1}" if major == 0 else f"{major + 1}"
    return f">={major}.{minor},<{upper}"
