"""Features of scenes, which trainings of the miniature's networks compute once and keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.training.state import write_state

ENCODED_AT_ONCE = 250

Encode = Callable[[Sequence[int]], Tensor]
"""Returns one feature of the scenes of some seeds, (scenes, *shape)."""


def small_store(device: str = "cpu") -> CheckpointStore:
    """Return the store of the miniature's weights."""
    return CheckpointStore(root=Path(), device=device, miniature=True)


@torch.no_grad()
def encoded(encode: Encode, seeds: Sequence[int]) -> Tensor:
    """Run an encoder over scenes in batches, float16 on the CPU."""
    parts = [seeds[i : i + ENCODED_AT_ONCE] for i in range(0, len(seeds), ENCODED_AT_ONCE)]
    return torch.cat([encode(part).half().cpu() for part in parts])


def encoded_once(
    name: str,
    checkpoint: Checkpoint,
    load: Callable[[], Encode],
    seeds: Sequence[int],
    cache: Path | None,
    store: CheckpointStore,
) -> Tensor:
    """Compute one feature of scenes, or load what the same weights wrote into `cache`."""
    if cache is None:
        return encoded(load(), seeds)
    path = cache / f"{name}.safetensors"
    stamp = f"{store.fingerprint(checkpoint)} {seeds[0]} {len(seeds)}"
    if path.exists():
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("stamp") == stamp:
                kept: Tensor = file.get_tensor(name)
                return kept
    feature = encoded(load(), seeds)
    write_state(path, {name: feature}, {"stamp": stamp})
    print(f"wrote {path}", flush=True)
    return feature
