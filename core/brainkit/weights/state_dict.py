"""Find the table of tensors in what a training program saved."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from brainkit.checkpoints.safetensors import quoted
from brainkit.errors import enumerated
from brainkit.weights.tensors import OtherTensor, Tensor

WRAPPERS = ("state_dict", "model", "net", "model_state_dict", "module")
"""Where training programs put the tensors, when they are not at the top; the first is taken."""
PREFIX = re.compile(r"(?:module\.|_orig_mod\.)+")
"""What DataParallel and torch.compile put before every name."""


def named_tensors(loaded: Mapping[Any, Any]) -> dict[str, Tensor | OtherTensor]:
    """Return the tensors at the top, or where training programs put them; none where it is unclear.

    A table of any name below the top is taken when it is the only one with tensors.
    """
    table = _table(loaded)
    return {str(n): each for n, each in table.items() if isinstance(each, Tensor | OtherTensor)}


def _table(loaded: Mapping[Any, Any]) -> Mapping[Any, Any]:
    inner: list[Mapping[Any, Any]] = [
        loaded[name] for name in WRAPPERS if _holds_tensors(loaded.get(name))
    ]
    if _holds_tensors(loaded):
        # Tensors beside a state dict are none of it, such as a schedule's.
        return inner[0] if inner and inner[0] is loaded.get("state_dict") else loaded
    if inner:
        return inner[0]
    tables = [each for each in _distinct(loaded.values()) if _holds_tensors(each)]
    if tables:
        return tables[0] if len(tables) == 1 else {}
    return _below(loaded)


def _below(loaded: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the only table with tensors two levels down."""
    inner = [value for each in _distinct(loaded.values()) for value in each.values()]
    tables = [each for each in _distinct(inner) if _holds_tensors(each)]
    return tables[0] if len(tables) == 1 else {}


def _distinct(values: Collection[Any]) -> list[dict[Any, Any]]:
    """Return the tables among values, each once: a pickle may name one table a million times."""
    return list({id(each): each for each in values if isinstance(each, dict)}.values())


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(each, Tensor | OtherTensor) for each in value.values()
    )


def prefix(names: Collection[str]) -> str:
    """Return what wrappers of networks put before all of some names, or nothing.

    >>> prefix(["module.a.w", "module.b"])
    'module.'
    >>> prefix(["module.a.w", "b"])
    ''
    """
    first = min(names, default="")
    match = PREFIX.match(first)
    shared = match[0] if match else ""
    return shared if all(name.startswith(shared) for name in names) else ""


def listed(names: Collection[Any]) -> str:
    """Return the first of names from a file, for messages."""
    shown = [quoted(name) for name in islice(names, 5)]
    return enumerated([*shown, *[""] * (len(names) - len(shown))])
