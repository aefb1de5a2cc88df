"""Read the golden files and build the tiny networks they were computed with."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from brainkit_unibrain.networks import FourFlow
from brainkit_unibrain.walk import FourFlowConfig

FOLDER = Path(__file__).parent / "golden"


def tensors(name: str) -> dict[str, Tensor]:
    loaded = load_file(FOLDER / f"{name}.safetensors")
    return {n: t.float() if t.dtype == torch.float16 else t for n, t in loaded.items()}


def zipped(name: str) -> Any:
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))


def tiny_config() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "tiny_config.json").read_text())
    return loaded


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """Draw a weight as the golden files' README says."""
    values = np.random.RandomState(zlib.crc32(name.encode())).randn(*shape)
    if len(shape) > 1:
        values = 0.9 / np.sqrt(np.prod(shape[1:])) * values
    elif name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values = 0.1 * values
    return torch.from_numpy(values.astype(np.float16)).float()


def tiny_four_flow() -> FourFlow:
    net = FourFlow(FourFlowConfig.from_dict({**tiny_config()["four_flow"], "groups": 32}))
    weights = {name: drawn(name, tuple(t.shape)) for name, t in net.state_dict().items()}
    net.load_state_dict(weights | tensors("tiny_four_flow_rest"))
    return net.eval().requires_grad_(False)
