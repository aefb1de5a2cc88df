"""Which code a part is of: its module's files, and a hash of them where they are being edited."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path


def package_of(module: str) -> Path | None:
    """Return the folder of the package that an imported module lies in, or its own file.

    Of packages without a file of their own (namespaces) the module's own folder is meant.
    """
    top = sys.modules.get(module.partition(".")[0])
    for found in (top, sys.modules.get(module)):
        file = getattr(found, "__file__", None)
        if file:
            path = Path(file)
            return path.parent if path.stem == "__init__" else path
    return None


def code_hash(root: Path) -> str:
    """Return 16 hex digits of a SHA-256 over the Python files of a package, or over one file.

    Files are read again when their size or time changes.
    """
    digest = sha256()
    for path in _python_files(root):
        facts = path.stat()
        name = path.relative_to(root.parent).as_posix()
        digest.update(f"{name} {_file_hash(path, facts.st_size, facts.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]


def _python_files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    else:
        yield from (path for path in sorted(root.rglob("*.py")) if path.is_file())


@cache
def _file_hash(path: Path, size: int, time: int) -> str:
    return sha256(path.read_bytes()).hexdigest()
