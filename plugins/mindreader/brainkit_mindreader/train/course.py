"""The course of a training: steps, snapshots and saved states until its length is reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from brainkit.console import Say
from brainkit.errors import UsageError
from brainkit.training.loop import SAY_EVERY, Losses, every, train
from brainkit_mindreader.train.draws import Draw
from brainkit_mindreader.train.gan import GanTraining
from brainkit_mindreader.train.snapshots import Snapshots
from brainkit_mindreader.train.state import save
from brainkit_mindreader.train.validation import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

SAVE_EVERY = 600.0


@dataclass(frozen=True)
class Length:
    """How long a training goes on, and how often it shows itself.

    Attributes:
        kimg: thousands of pictures in all, over every resumption.
        seconds: of this call, after which the state is kept for the next; None for no end.
        snapshot_kimg: thousands of pictures between snapshots.
    """

    kimg: float = 25_000
    seconds: float | None = None
    snapshot_kimg: float = 200

    def check(self) -> None:
        """Check that there is something to do.

        Raises:
            UsageError: a length is not above 0.
        """
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is {value:g}, expected more than 0")


@dataclass(frozen=True)
class Course:
    """A training under way. Only the main process says and writes anything.

    Attributes:
        training: the networks.
        draw: gives this process's share of a batch.
        shown: gives the test images under the embeddings of the moment.
        snapshots: where snapshots go.
        saved: where the state goes.
        say: shows one line.
    """

    training: GanTraining
    draw: Draw
    shown: Callable[[], Validation]
    snapshots: Snapshots
    saved: Path
    say: Say

    def run(self, length: Length) -> None:
        """Train until the length is reached, then take a last snapshot and keep the state."""
        training, accelerator = self.training, self.training.accelerator
        total, snapshot_every = length.kimg * 1000, length.snapshot_kimg * 1000
        say_due, save_due, began = every(SAY_EVERY), every(SAVE_EVERY), time.monotonic()

        def after(losses: Losses) -> None:
            if not accelerator.is_main_process:
                return
            if say_due():
                self._tell(losses, length)
            if _crossed(training, snapshot_every) and training.pictures < total:
                self._keep(losses)
            elif save_due():
                self._save()

        losses = train(
            training,
            lambda: training.pictures / total,
            lambda progress: training.advance(self.draw, progress),
            after=after,
            stop=lambda: _over(began, length.seconds, accelerator),
        )
        if losses and accelerator.is_main_process:
            self._keep(losses)
        accelerator.wait_for_everyone()

    def _keep(self, losses: Losses) -> None:
        """Take a snapshot and keep the state."""
        line = self.snapshots.take(self.training, self.shown(), losses)
        self.say(f"snapshot {described(line)}")
        self._save()

    def _save(self) -> None:
        save(self.training, self.saved, self.snapshots.made_by)

    def _tell(self, losses: Losses, length: Length) -> None:
        kimg = f"{self.training.pictures / 1000:.1f} of {length.kimg:g}"
        self.say(f"step {self.training.step}, {kimg} kimg: {described(losses)}")


def described(values: Mapping[str, float]) -> str:
    """Return numbers by name in one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _crossed(training: GanTraining, pictures: float) -> bool:
    """Say whether the last step crossed a multiple of so many pictures."""
    before = training.pictures - training.recipe.batch
    return training.pictures // pictures > before // pictures


def _over(began: float, seconds: float | None, accelerator: Accelerator) -> bool:
    """Say whether the time is up, on the main process's clock, so that all stop together."""
    if seconds is None:
        return False
    gone = time.monotonic() - began
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        gone = float(broadcast(torch.tensor([gone], device=accelerator.device)))
    return gone >= seconds
