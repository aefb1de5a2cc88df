"""The loop of every training, which can be killed at any moment and goes on where it was.

What a step draws follows from its number alone, so a training that was killed sees what an unbroken
one would have seen, and ends in the same bytes wherever progress counts steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from brainkit.training.export import publish
from brainkit.training.state import moments, read_state, take_moments, under, write_state

BETAS = (0.9, 0.99)
CLIP_NORM = 1.0
SAVE_EVERY = 300.0
SAY_EVERY = 30.0

Losses = Mapping[str, float]


class Timed(Protocol):
    """A training whose time the loop keeps."""

    elapsed: float
    """Seconds of training, over every resumption."""


def train(
    training: Timed,
    progress: Callable[[], float],
    advance: Callable[[float], Losses],
    *,
    after: Callable[[Losses], None] = lambda losses: None,
    stop: Callable[[], bool] = lambda: False,
) -> Losses:
    """Advance until progress is 1, keeping the time; return the losses of the last step, if any.

    Args:
        training: whose seconds are counted, without those that `after` takes.
        progress: how much of the training is done, in [0, 1].
        advance: takes one step at that progress and returns its losses.
        after: called after every step: to tell, to save, to publish.
        stop: asked before every step whether to end early.
    """
    losses: Losses = {}
    while (done := progress()) < 1 and not stop():
        begun = time.monotonic()
        losses = advance(done)
        training.elapsed += time.monotonic() - begun
        after(losses)
    return losses


@dataclass(frozen=True)
class Steps:
    """Progress counts steps: all trainings are equally long, and end in the same bytes."""

    total: int

    def progress(self, step: int, elapsed: float) -> float:
        """Return how much is done after so many steps, in [0, 1]."""
        return min(1.0, step / self.total)


@dataclass(frozen=True)
class Seconds:
    """Progress counts seconds of training, so that it ends on time however busy the machine is."""

    total: float

    def progress(self, step: int, elapsed: float) -> float:
        """Return how much is done after so many seconds, in [0, 1]."""
        return min(1.0, elapsed / self.total)


@dataclass(frozen=True)
class Plan:
    """How a network learns.

    The rate rises from 0 over the first steps, then falls along a cosine. Matrices decay, vectors
    do not.

    Attributes:
        rate: the highest learning rate.
        warm_up: steps of the rise.
        least: share of the rate that is left at the end.
        keep: share of the running average that a step keeps, later on.
        weight_decay: of matrices.
        faster: factor on the rate of a parameter by its name.
    """

    rate: float
    warm_up: int = 100
    least: float = 0.0
    keep: float = 0.999
    weight_decay: float = 0.01
    faster: Callable[[str], float] = lambda name: 1.0

    def pace(self, step: int, progress: float) -> float:
        """Return the share of the rate at a step, 0-based, and a progress in [0, 1]."""
        rise = min(1.0, (step + 1) / self.warm_up)
        fall = 0.5 * (1 + math.cos(math.pi * progress))
        return rise * (self.least + (1 - self.least) * fall)

    def groups(self, net: nn.Module) -> list[dict[str, Any]]:
        """Return a network's parameters as groups of one rate and one decay."""
        grouped: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, parameter in net.named_parameters():
            grouped.setdefault((parameter.ndim <= 1, self.faster(name)), []).append(parameter)
        return [
            {
                "params": grouped[vector, factor],
                "own_rate": self.rate * factor,
                "weight_decay": 0.0 if vector else self.weight_decay,
            }
            for vector, factor in sorted(grouped)
        ]


class Training:
    """A network with its optimiser, the running average of its weights, and how far it has come.

    Attributes:
        step: steps done.
        elapsed: seconds of training, over every resumption.
        averaged: the running average, by name.
    """

    def __init__(self, net: nn.Module, plan: Plan, *, clock: Steps | Seconds) -> None:
        self.net = net
        self.plan = plan
        self.clock = clock
        self.step = 0
        self.elapsed = 0.0
        self.averaged = {n: t.detach().clone() for n, t in net.state_dict().items()}
        self.optimiser = torch.optim.AdamW(plan.groups(net), lr=plan.rate, betas=BETAS, fused=True)

    @property
    def progress(self) -> float:
        """How much of the training is done, 0 to 1."""
        return self.clock.progress(self.step, self.elapsed)

    def update(self) -> None:
        """Take one step along the gradients, clear them, and update the average."""
        pace = self.plan.pace(self.step, self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = group["own_rate"] * pace
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._follow()

    def run(
        self,
        gradients: Callable[[int], Losses],
        saved: Path,
        *,
        tell: Callable[[Losses], None] | None = None,
        save_every: float = SAVE_EVERY,
        publish: Callable[[], None] = lambda: None,
        publish_every: float = math.inf,
        seconds: float = math.inf,
    ) -> bool:
        """Train until all is done, or for so many seconds; say whether all is done.

        Args:
            gradients: leaves the gradients of a step in the network and returns its losses.
            saved: where the state is kept, now and then and at the end.
            tell: shows the losses of a step as it likes; by default a line every 30 seconds.
            save_every: seconds between two savings.
            publish: shows the network as it is, now and then and at the end.
            publish_every: seconds between two publications.
            seconds: of this call, after which the state is kept for the next.
        """
        telling = tell or self._teller()
        save_due, publish_due, over = every(save_every), every(publish_every), every(seconds)

        def advance(progress: float) -> Losses:
            losses = gradients(self.step)
            self.update()
            return losses

        def after(losses: Losses) -> None:
            telling(losses)
            if save_due():
                self.save(saved)
            if publish_due():
                publish()

        train(self, lambda: self.progress, advance, after=after, stop=over)
        self.save(saved)
        publish()
        return self.progress >= 1

    def publish(
        self,
        folder: Path,
        config: Mapping[str, Any],
        curve: Path,
        scores: Callable[[], dict[str, float]],
    ) -> None:
        """Write the averaged weights, then their held-out scores, and add a line to the curve."""
        reached = {"step": self.step, "seconds": round(self.elapsed)}
        publish(folder, self.averaged, config, curve=curve, reached=reached, scores=scores)

    def save(self, path: Path) -> None:
        """Write everything needed to go on as if there had been no break."""
        tensors = {f"net.{n}": t for n, t in self.net.state_dict().items()}
        tensors |= {f"averaged.{n}": t for n, t in self.averaged.items()}
        tensors |= moments(self.optimiser, "optimiser.")
        write_state(path, tensors, {"step": str(self.step), "elapsed": repr(self.elapsed)})

    def resume(self, path: Path) -> None:
        """Take up a training that `save` wrote."""
        tensors, facts = read_state(path)
        self.net.load_state_dict(under(tensors, "net."))
        for name, tensor in under(tensors, "averaged.").items():
            self.averaged[name].copy_(tensor)
        take_moments(self.optimiser, tensors, "optimiser.")
        self.step, self.elapsed = int(facts["step"]), float(facts["elapsed"])

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the average follow, faster at first; what is no fraction is copied."""
        keep = min(self.plan.keep, (1 + self.step) / (10 + self.step))
        for name, tensor in self.net.state_dict().items():
            if tensor.is_floating_point():
                self.averaged[name].lerp_(tensor, 1 - keep)
            else:
                self.averaged[name].copy_(tensor)

    def _teller(self) -> Callable[[Losses], None]:
        due = every(SAY_EVERY)

        def tell(losses: Losses) -> None:
            if due():
                told = " ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
                print(f"step {self.step} progress {self.progress:.3f} {told}", flush=True)

        return tell


def every(seconds: float) -> Callable[[], bool]:
    """Return a question that is true once per so many seconds."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due


def pick_device(name: str) -> torch.device:
    """Return the device of a name, where `auto` takes an accelerator when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
