"""A training loop that can be killed at any moment and goes on where it was.

Each step draws everything random from a generator seeded with the step's number, so a resumed run
sees exactly what an uninterrupted one would have seen. The learning rate follows a cosine over a
fixed number of steps, never over time, because a shared machine's clock says little.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from brainkit.miniature.scenes import TRAIN_SEEDS, images

CHECKPOINTS: Final = Path(__file__).resolve().parent.parent / "checkpoints"
"""Where the finished weights lie, as package data."""

_SAVE_EVERY: Final = 60.0
"""Seconds between two savings of the whole state."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast one network learns."""

    name: str
    steps: int
    rate: float
    batch: int
    warmup: int = 100
    ema: float = 0.998
    decay: float = 0.01


@dataclass(frozen=True)
class Options:
    """What the command line says about one training."""

    work: Path
    seconds: float
    device: str


class Training:
    """The state of one training: network, its running average, optimiser and step."""

    def __init__(
        self, plan: Plan, network: nn.Module, options: Options, *, own_rate: Mapping[str, float]
    ) -> None:
        self.plan, self.options = plan, options
        self.network = network.to(options.device)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step = 0
        self.optimiser = torch.optim.AdamW(_groups(network, plan, own_rate), betas=(0.9, 0.99))
        self.path = options.work / f"{plan.name}.pt"
        if self.path.exists():
            self._load()

    def run(self, loss: Callable[[Tensor, torch.Generator], dict[str, Tensor]]) -> bool:
        """Train until the plan or the time ends; say whether the plan was finished.

        Args:
            loss: gives named terms, all scalars, the first being the one to minimise, for int64
                (batch,) rows of the training scenes and a generator for anything random.
        """
        started = saved = time.monotonic()
        self.network.train()
        while self.step < self.plan.steps and time.monotonic() - started < self.options.seconds:
            terms = self._advance(loss)
            if self.step % 50 == 0:
                self._tell(terms)
            if time.monotonic() - saved > _SAVE_EVERY:
                self._save()
                saved = time.monotonic()
        self._save()
        return self.step >= self.plan.steps

    def averaged(self) -> nn.Module:
        """Put the running average into the network and give it for evaluation."""
        self.network.load_state_dict(self.average)
        return self.network.eval()

    def _advance(
        self, loss: Callable[[Tensor, torch.Generator], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.step)
        rows = torch.randint(len(TRAIN_SEEDS), (self.plan.batch,), generator=generator)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self._pace()
        self.optimiser.zero_grad(set_to_none=True)
        terms = loss(rows, generator)
        torch.autograd.backward(next(iter(terms.values())))
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return terms

    def _pace(self) -> float:
        """Give the share of the peak rate: a linear rise, then a cosine down to 1 %."""
        rise = min(1.0, (self.step + 1) / self.plan.warmup)
        return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.step / self.plan.steps)))

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)
            else:
                self.average[name].copy_(value)

    def _tell(self, terms: Mapping[str, Tensor]) -> None:
        told = " ".join(f"{name} {float(value.detach()):.4f}" for name, value in terms.items())
        print(f"{self.plan.name} {self.step} cpu {time.process_time():.0f}s {told}", flush=True)

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        torch.save(state, part)
        os.replace(part, self.path)

    def _load(self) -> None:
        device = self.options.device
        state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def _groups(network: nn.Module, plan: Plan, own_rate: Mapping[str, float]) -> list[dict[str, Any]]:
    """Group parameters: matrices decay, vectors do not, and those with a rate of their own."""
    named = list(network.named_parameters())
    own = [
        {"params": [p], "peak": own_rate[n], "weight_decay": 0.0} for n, p in named if n in own_rate
    ]
    rest = [p for n, p in named if n not in own_rate]
    return [
        {"params": [p for p in rest if p.ndim > 1], "peak": plan.rate, "weight_decay": plan.decay},
        {"params": [p for p in rest if p.ndim <= 1], "peak": plan.rate, "weight_decay": 0.0},
        *own,
    ]


def training_pictures() -> Tensor:
    """Draw all training scenes as uint8 (batch, height, width, channels)."""
    return torch.from_numpy(images(TRAIN_SEEDS))


def as_input(pictures: Tensor) -> Tensor:
    """Turn uint8 (batch, height, width, channels) into float32 (batch, channels, ...), [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def write(folder: Path, weights: Mapping[str, Tensor], **tables: Mapping[str, Any]) -> None:
    """Write float16 weights and one JSON per table, as `model.safetensors` and `<table>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    halved = {
        k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in weights.items()
    }
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    for name, table in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(table, indent=2, sort_keys=True) + "\n")
