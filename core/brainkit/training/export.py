"""Write what a training made: a checkpoint in half precision, its scores, a line of the curve."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from brainkit.disk import written_aside
from brainkit.training.state import write_state


def export(folder: Path, weights: Mapping[str, Tensor], **tables: Mapping[str, Any]) -> None:
    """Write a checkpoint folder: the weights in half precision, and each table as NAME.json."""
    halves = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    write_state(folder / "model.safetensors", halves, {"format": "pt"})
    for name, table in tables.items():
        write_json(folder / f"{name}.json", table)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a small JSON file that is either whole or absent."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def publish(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    curve: Path,
    reached: Mapping[str, int],
    scores: Callable[[], Mapping[str, float]],
) -> None:
    """Write a checkpoint and then how it scores, as its metrics and as a line of the curve.

    Args:
        folder: of the checkpoint.
        weights: by name.
        config: of the network.
        curve: a file of JSON lines, which gains one.
        reached: how far the training is, the beginning of that line.
        scores: asked once the checkpoint is written, which it may read.
    """
    export(folder, weights, config=config)
    line = {**reached, **scores()}
    write_json(folder / "metrics.json", line)
    with curve.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(line, flush=True)
