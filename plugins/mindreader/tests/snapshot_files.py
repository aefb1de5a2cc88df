"""Write snapshots in the layout of the official training code, genuine ones and forged ones."""

from __future__ import annotations

import struct
import sys
import types
from functools import cache
from pathlib import Path
from pickle import dumps
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from brainkit.errors import CheckpointError
from brainkit_mindreader.snapshot import Network, open_snapshot

GOLDEN = Path(__file__).parent / "golden" / "snapshots"
GENUINE = [
    f"{name}_tiny{end}.pkl"
    for name in ("lafite_single_head", "mindreader_two_head")
    for end in ("", "_proto3")
]


class Call:
    """Pickles as the call of a named function, and would be that call if it were loaded."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@cache
def named(module: str, name: str) -> Any:
    """Return a function that pickles under a module and name, which need not exist."""

    def function(*_: object) -> None:
        raise AssertionError("a name of a pickle was called")

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        path = ".".join(parts[:count])
        sys.modules.setdefault(path, types.ModuleType(path))
    setattr(sys.modules[module], name, function)
    return function


def network(tensors: dict[str, Any], class_name: str = "Generator", **arguments: object) -> Call:
    """Return what pickles as a network of these tensors; parameters and buffers by their type."""
    return module(nested(tensors), class_name, _init_kwargs=arguments)


def nested(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return tables within tables, one for each dot in a name."""
    found: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        table = found
        for part in path:
            table = table.setdefault(part, {})
        table[last] = tensor
    return found


def module(content: dict[str, Any], class_name: str = "Block", **state: object) -> Call:
    """Return what pickles as a persistent module; tables in its content are modules within it."""
    parameters = {n: each for n, each in content.items() if isinstance(each, Parameter)}
    modules = {n: each for n, each in content.items() if isinstance(each, dict | Call)}
    buffers = {n: content[n] for n in content.keys() - parameters.keys() - modules.keys()}
    made = {
        "_parameters": parameters,
        "_buffers": buffers,
        "_modules": {n: module(e) if isinstance(e, dict) else e for n, e in modules.items()},
    }
    return persistent(made | state, class_name)


def persistent(state: object, class_name: str = "Block") -> Call:
    """Return what pickles as a persistent object; its source raises an error if it is run."""
    return Call(
        named("torch_utils.persistence", "_reconstruct_persistent_obj"),
        {
            "type": "class",
            "version": 6,
            "module_src": "raise AssertionError('the source was run')",
            "class_name": class_name,
            "state": state,
        },
    )


def written(path: Path, content: object, protocol: int = 4) -> Path:
    """Write a pickle and give its path."""
    path.write_bytes(dumps(content, protocol))
    return path


def text(value: str) -> bytes:
    """Return the opcode of a text, of any letters."""
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def refused(content: bytes | Path, name: str = "G_ema") -> str:
    """Read in vain; give the sentence after checking that it is one, and that nothing was run."""
    path = content if isinstance(content, Path) else Path("forged.pkl")
    if isinstance(content, bytes):
        path.write_bytes(content)
    before = sorted(Path.cwd().iterdir())
    with pytest.raises(CheckpointError) as caught, open_snapshot(path) as snapshot:
        snapshot.network(name)
    said = str(caught.value)
    assert str(path) in said
    assert said.isprintable()
    assert len(said) < 500
    assert sorted(Path.cwd().iterdir()) == before
    return said


DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "torch.int32": torch.int32, "torch.int16": torch.int16},
    **{"torch.int8": torch.int8, "torch.uint8": torch.uint8},
}


def tensors_of(network: Network) -> dict[str, Tensor]:
    """Return a network's tensors as torch has them."""
    return {
        name: torch.frombuffer(bytearray(each.read()), dtype=DTYPES[each.entry.dtype]).reshape(
            each.shape
        )
        for name, each in network.tensors.items()
    }


def tensors_in(path: Path, network: str = "G") -> dict[str, Tensor]:
    """Return the tensors of one network of a file."""
    with open_snapshot(path) as snapshot:
        return tensors_of(snapshot.network(network))


def everything(path: Path) -> dict[str, Tensor]:
    """Return the tensors of all networks of a file."""
    with open_snapshot(path) as snapshot:
        return {
            f"{network}.{name}": tensor
            for network in snapshot.records
            for name, tensor in tensors_of(snapshot.network(network)).items()
        }
