"""What a training shows and keeps as it goes: a curve, pictures, the last networks and the best."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from brainkit.run import Recipe, write_tensors, write_text
from brainkit_mindreader.checkpoints import DISCRIMINATOR, GENERATOR
from brainkit_mindreader.generator.discriminator import Discriminator
from brainkit_mindreader.generator.network import Generator
from brainkit_mindreader.train.gan import GanTraining
from brainkit_mindreader.train.pictures import write_grid
from brainkit_mindreader.train.validation import Validation

SHOWN = 12
CURVE = "curve.jsonl"
FRECHET = "Fréchet distance"
LAST, BEST = "last", "best"


class Snapshots:
    """Writes snapshots of a training into a folder.

    The folder gets `curve.jsonl` (a line a snapshot: step, kimg, seconds, the terms of the losses
    and, where a network for it is there, the Fréchet distance), `pictures/KIMG.png` (true pictures
    above those of the running average), and the checkpoints `last/` and `best/`.
    """

    def __init__(self, folder: Path, made_by: Recipe) -> None:
        self.folder = folder
        self.made_by = made_by

    def take(
        self, training: GanTraining, validation: Validation, said: Mapping[str, float]
    ) -> dict[str, float]:
        """Write a snapshot and return its line of the curve.

        Args:
            training: as it is.
            validation: the images to show and to score.
            said: terms of the losses.
        """
        kimg = training.pictures / 1000
        line = {"step": training.step, "kimg": kimg, "seconds": round(training.elapsed, 1)}
        scores = validation.scores(training.averaged)
        made = validation.made(training.averaged, SHOWN)
        grid = self.folder / "pictures" / f"{round(training.pictures):09d}.png"
        write_grid(grid, validation.pictures[:SHOWN], made)
        for name in (LAST, *([BEST] if self._is_best(scores) else [])):
            write_networks(self.folder / name, training, self.made_by)
        line |= {name: round(value, 5) for name, value in (*scores.items(), *said.items())}
        self._add(line)
        return line

    def lines(self) -> list[dict[str, Any]]:
        """Return the curve as it is."""
        path = self.folder / CURVE
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def cut(self, step: int) -> None:
        """Forget what came after a step: a training goes on from there."""
        kept = [line for line in self.lines() if line["step"] <= step]
        self._write(kept)
        if all(distance_in(line) is None for line in kept):
            shutil.rmtree(self.folder / BEST, ignore_errors=True)

    def _add(self, line: Mapping[str, float]) -> None:
        self._write([*(each for each in self.lines() if each["step"] < line["step"]), dict(line)])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines)
        write_text(self.folder / CURVE, text)

    def _is_best(self, scores: Mapping[str, float]) -> bool:
        mine = distance_in(scores)
        if mine is None:
            return False
        others = [found for line in self.lines() if (found := distance_in(line)) is not None]
        return all(mine < other for other in others)


def distance_in(line: Mapping[str, float]) -> float | None:
    """Return the Fréchet distance in a line of the curve, None when it has none."""
    return next((value for name, value in line.items() if name.startswith(FRECHET)), None)


def write_networks(folder: Path, training: GanTraining, made_by: Recipe) -> None:
    """Write the running average and the discriminator as checkpoints of the store's layout."""
    networks: dict[str, Generator | Discriminator] = {
        GENERATOR.name: training.averaged,
        DISCRIMINATOR.name: training.discriminator,
    }
    for name, net in networks.items():
        write_checkpoint(folder / name, net, net.config(), made_by)
    if training.joint:
        from brainkit_mindreader.train.pairs import FEATURES

        for feature, mapper in zip(FEATURES, training.joint.networks, strict=True):
            named = mapper.state_dict().items()
            tensors = {n.removeprefix("network."): t.detach().cpu() for n, t in named}
            write_tensors(folder / "mappers" / f"{feature}.safetensors", tensors, made_by)


def write_checkpoint(
    folder: Path, net: nn.Module, config: Mapping[str, Any], made_by: Recipe
) -> None:
    """Write a network and its configuration aside, then put the folder in place of any older one.

    Weights keep their precision.
    """
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    tensors = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
    write_tensors(aside / "model.safetensors", tensors, made_by)
    write_text(aside / "config.json", json.dumps(dict(config), indent=2) + "\n")
    replace_folder(aside, folder)


def replace_folder(aside: Path, folder: Path) -> None:
    """Return a folder that was written aside its name; an older one of that name goes."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def publish(folder: Path, store: Path) -> None:
    """Copy the checkpoints in a folder of snapshots into a store, each whole or not at all."""
    for name in (GENERATOR.name, DISCRIMINATOR.name):
        aside = store / f"{name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder / name, aside)
        replace_folder(aside, store / name)
