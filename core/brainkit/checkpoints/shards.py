"""Read the index of weights that are spread over several files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brainkit.checkpoints.safetensors import MAX_HEADER, shown
from brainkit.errors import CheckpointError

INDEX = ".index.json"


def read_index(path: Path) -> dict[str, Path]:
    """Give the file of each tensor that an index lists, all of which lie beside it.

    Raises:
        CheckpointError: the index is damaged, a file it names is missing, or its name leads to
            another folder.
    """
    try:
        if path.stat().st_size > MAX_HEADER:
            raise _damaged(path, f"it has more than {MAX_HEADER} bytes")
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON: {shown(str(error))[1:-1]}") from error
    listed = loaded.get("weight_map") if type(loaded) is dict else None
    if type(listed) is not dict or not listed:
        raise _damaged(path, "it has no weight_map with the file of each tensor")
    shards = {file: _shard(path, file) for file in map(_text(path), listed.values())}
    if missing := sorted(name for name, place in shards.items() if not place.is_file()):
        raise CheckpointError(
            f"{path} lists {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "beside it; download what is missing"
        )
    return {name: shards[file] for name, file in listed.items()}


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a whole index of weights ({why}); download it again")


def _text(path: Path) -> Any:
    def check(value: Any) -> str:
        if type(value) is not str:
            raise _damaged(path, f"it names the file {shown(value)}, expected a text")
        return value

    return check


def _shard(path: Path, file: str) -> Path:
    """Give the place of a shard, which is named by a file name and nothing more."""
    plain = file and file.isprintable() and not set(file) & set('/\\:*?"<>|')
    if not plain or file in {".", ".."} or not file.endswith((".safetensors", ".bin")):
        raise CheckpointError(
            f"{path} names the file {shown(file)}, expected the name of a file with weights beside "
            "it; download it again"
        )
    return path.with_name(file)
