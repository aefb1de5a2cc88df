"""What the trainings of the shared networks have in common: scenes, the command line, the state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from brainkit.miniature.scenes import TRAIN_SEEDS, images
from brainkit.training.loop import Losses, Plan, Steps, Training

CHECKPOINTS: Final = Path(__file__).resolve().parent.parent / "checkpoints"
"""Where the finished weights lie, as package data."""
SAVE_EVERY: Final = 60.0
SAY_EVERY: Final = 50

Terms = Callable[[Tensor, torch.Generator], dict[str, Tensor]]
"""Returns named terms, all scalars, the first being the one to minimise, for int64 (batch,) rows of
the training scenes and a generator for anything random."""


@dataclass(frozen=True)
class Lesson:
    """What one network is trained for, and how long: always the same steps, never over time.

    Attributes:
        name: of the checkpoint and of the state.
        steps: in all.
        batch: scenes a step.
        plan: how fast.
    """

    name: str
    steps: int
    batch: int
    plan: Plan


@dataclass(frozen=True)
class Options:
    """What the command line says about one training."""

    work: Path
    seconds: float
    device: str


def learn(lesson: Lesson, network: nn.Module, terms: Terms, options: Options) -> bool:
    """Train until the lesson or the time ends; if the lesson did, take over the averaged weights.

    The state is kept in the work folder, from which the next call goes on.

    Returns:
        whether the lesson is finished, and the network ready for evaluation.
    """
    clock = Steps(lesson.steps)
    training = Training(network.to(options.device), lesson.plan, clock=clock)
    saved = options.work / f"{lesson.name}.safetensors"
    if saved.exists():
        training.resume(saved)

    def gradients(step: int) -> Losses:
        generator = torch.Generator().manual_seed(step)
        rows = torch.randint(len(TRAIN_SEEDS), (lesson.batch,), generator=generator)
        values = terms(rows, generator)
        torch.autograd.backward(next(iter(values.values())))
        return {name: float(value.detach()) for name, value in values.items()}

    def tell(losses: Losses) -> None:
        if training.step % SAY_EVERY == 0:
            told = " ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            print(
                f"{lesson.name} {training.step} cpu {time.process_time():.0f}s {told}", flush=True
            )

    network.train()
    finished = training.run(
        gradients, saved, tell=tell, save_every=SAVE_EVERY, seconds=options.seconds
    )
    if finished:
        network.load_state_dict(training.averaged)
        network.eval()
    return finished


def training_pictures() -> Tensor:
    """Draw all training scenes as uint8 (batch, height, width, channels)."""
    return torch.from_numpy(images(TRAIN_SEEDS))


def as_input(pictures: Tensor) -> Tensor:
    """Turn uint8 (batch, height, width, channels) into float32 (batch, channels, ...), [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
