"""Serve the tensors of a pickled file to another process; run as a script, imports no brainkit.

    python -P unpickle.py FILE

The first line on stdout is JSON: `{"tensors": {name: [dtype, shape]}}`, or `{"refused": name}` of
the global that is no part of any weights, or `{"damaged": reason}`. Then each line on stdin, a name
in JSON, is answered with that tensor's bytes. Only `torch.load(weights_only=True)` reads the file.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import torch

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}


def main(path: str) -> None:
    """Answer on stdout; whatever libraries print goes to stderr."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tensors: dict[str, torch.Tensor] = {}
    try:
        tensors = tensors_of(torch.load(path, "cpu", weights_only=True, mmap=_mappable(path)))
        said: dict[str, Any] = {
            "tensors": {n: [dtype(t), list(t.shape)] for n, t in tensors.items()}
        }
    except Exception as error:
        # Damaged files raise whatever their bytes happen to spell.
        said = reason(str(error).strip() or type(error).__name__)
    answer.write(json.dumps(said).encode() + b"\n")
    answer.flush()
    for line in sys.stdin:
        tensor = tensors[json.loads(line)].detach().contiguous()
        answer.write(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        answer.flush()


def reason(error: str) -> dict[str, str]:
    """Give the global that torch refused, or else what is wrong with the file."""
    refused = re.search(r"GLOBAL ([\w.]+)", error)
    if refused:
        return {"refused": refused[1]}
    foreign = error.startswith("Weights only load failed")
    return {"damaged": "not what torch writes" if foreign else error.partition(".")[0]}


def tensors_of(loaded: object) -> dict[str, torch.Tensor]:
    """Give the tensors under `state_dict`, where training programs put them, or at the top."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise ValueError(f"it holds a {type(loaded).__name__} in place of named tensors")
    return {str(name): each for name, each in loaded.items() if isinstance(each, torch.Tensor)}


def dtype(tensor: torch.Tensor) -> str:
    """Name a tensor's dtype as safetensors does, or anything else about it that is unusual."""
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return DTYPES.get(tensor.dtype, str(tensor.dtype)) if plain else f"{tensor.layout} tensor"


def _mappable(path: str) -> bool:
    """Files of the older kind, which are no archives, have to be read whole."""
    return zipfile.is_zipfile(path)


if __name__ == "__main__":
    main(sys.argv[1])
