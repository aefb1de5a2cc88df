"""What the trainings of plugins' small networks share.

A schedule by elapsed time, averaged weights, saving and resuming, threads that share each step,
and features of scenes that are computed once.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.miniature import referee
from brainkit.miniature.scenes import Scene

WARM_UP = 100
DECAY = 0.01
CLIP_NORM = 1.0
SAVE_EVERY = 300.0
ENCODED_AT_ONCE = 250

Encode = Callable[[Sequence[int]], Tensor]
"""Gives one feature of the scenes of some seeds, (scenes, *shape)."""

Share = Callable[[nn.Module, int, int], dict[str, Tensor]]
"""`share(net, step, worker)` gives the losses of one worker's part of a step, scalars by name."""


class Training:
    """A network with its optimiser, the running average of its weights, and how far it has come.

    Progress counts seconds of training, not steps, so that a run ends on time however busy the
    machine is. The learning rate rises for the first hundred steps and then falls along a cosine to
    nothing.
    """

    def __init__(
        self,
        net: nn.Module,
        rate: float,
        seconds: float,
        *,
        decay: float = 0.999,
        faster: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        self.net = net
        self.rate = rate
        self.seconds = seconds
        self.decay = decay
        self.step = 0
        self.elapsed = 0.0
        self.averaged = {n: t.detach().clone() for n, t in net.state_dict().items()}
        groups = _groups(net, faster)
        self.optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)

    @property
    def progress(self) -> float:
        """How much of the training is done, 0 to 1."""
        return min(1.0, self.elapsed / self.seconds)

    def update(self) -> None:
        """Take one step along the gradients, clear them, and update the average."""
        rise = min(1.0, (self.step + 1) / WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = (
                self.rate * group["faster"] * rise * 0.5 * (1 + math.cos(math.pi * self.progress))
            )
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        share = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.net.state_dict().items():
                if tensor.is_floating_point():
                    self.averaged[name].lerp_(tensor, share)

    def steps(self) -> Iterator[int]:
        """Count steps until the time is used up, keeping the clock."""
        while self.elapsed < self.seconds:
            begun = time.monotonic()
            yield self.step
            self.elapsed += time.monotonic() - begun

    def learn(
        self, crew: Crew, saved: Path, publish: Callable[[], None], publish_every: float
    ) -> None:
        """Train until the time is used up; tell, save and publish now and then and at the end."""
        save_due, publish_due, say_due = every(SAVE_EVERY), every(publish_every), every(30)
        for step in self.steps():
            losses = crew.gradients(step)
            self.update()
            if say_due():
                told = " ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
                print(f"step {step} progress {self.progress:.3f} {told}", flush=True)
            if save_due():
                self.save(saved)
            if publish_due():
                publish()
        self.save(saved)
        publish()

    def publish(
        self,
        folder: Path,
        config: Mapping[str, Any],
        curve: Path,
        scores: Callable[[], dict[str, float]],
    ) -> None:
        """Write the averaged weights, then their held-out scores, and add a line to the curve."""
        export(folder, self.averaged, config)
        line: dict[str, Any] = {"step": self.step, "seconds": round(self.elapsed)} | scores()
        write_json(folder / "metrics.json", line)
        with curve.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)

    def save(self, path: Path) -> None:
        """Write everything needed to go on as if there had been no break."""
        tensors = {f"net.{n}": t for n, t in self.net.state_dict().items()}
        tensors |= {f"averaged.{n}": t for n, t in self.averaged.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{n}": t for n, t in moments.items()}
        facts = {"step": str(self.step), "elapsed": repr(self.elapsed)}
        write_tensors(path, tensors, facts)

    def resume(self, path: Path) -> None:
        """Take up a training that `save` wrote."""
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.net.load_state_dict(under(tensors, "net."))
        for name, tensor in under(tensors, "averaged.").items():
            self.averaged[name].copy_(tensor)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under(tensors, "optimiser.").items():
            index, _, moment = name.partition(".")
            state.setdefault(int(index), {})[moment] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.elapsed = int(facts["step"]), float(facts["elapsed"])


class Crew:
    """Shares each step among threads, every one with a network of its own over the same weights.

    On a CPU this is nearly twice as fast as letting two threads share every small operation.
    """

    def __init__(self, nets: Sequence[nn.Module], share: Share) -> None:
        """Begin with one network a worker; the first one's weights become those of all."""
        self.nets = nets
        self.share = share
        self.pool = ThreadPoolExecutor(len(nets))
        for other in nets[1:]:
            for mine, theirs in zip(nets[0].parameters(), other.parameters(), strict=True):
                theirs.data = mine.data

    def gradients(self, step: int) -> dict[str, float]:
        """Leave the gradients of one step in the first network; give the summed losses."""
        losses = list(self.pool.map(lambda worker: self._work(step, worker), range(len(self.nets))))
        for other in self.nets[1:]:
            for mine, theirs in zip(self.nets[0].parameters(), other.parameters(), strict=True):
                if theirs.grad is not None:
                    mine.grad = theirs.grad if mine.grad is None else mine.grad.add_(theirs.grad)
                    theirs.grad = None
        return {name: sum(loss[name] for loss in losses) for name in losses[0]}

    def _work(self, step: int, worker: int) -> dict[str, float]:
        losses = self.share(self.nets[worker], step, worker)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        return {name: loss.item() for name, loss in losses.items()}


def small_store(device: str = "cpu") -> CheckpointStore:
    """Give the store of the miniature's weights."""
    return CheckpointStore(root=Path(), device=device, miniature=True)


def picture_scores(
    prefix: str, made: NDArray[np.uint8], true: NDArray[np.uint8], scenes: Sequence[Scene]
) -> dict[str, float]:
    """Score uint8 pictures (batch, height, width, 3) by the referee and by pixel correlation."""
    judge = referee.load_referee()
    return {
        f"{prefix}_objects": referee.object_recall(judge, made, scenes),
        f"{prefix}_background": referee.background_accuracy(judge, made, scenes),
        f"{prefix}_pixcorr": pixel_correlation(made, true),
    }


def pixel_correlation(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    """Give the mean Pearson correlation of pictures with their originals."""
    pairs = zip(made.reshape(len(made), -1), true.reshape(len(true), -1), strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))


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
            if file.metadata().get("stamp") == stamp:
                found: Tensor = file.get_tensor(name)
                return found
    made = encoded(load(), seeds)
    write_tensors(path, {name: made}, {"stamp": stamp})
    print(f"wrote {path}", flush=True)
    return made


def _groups(net: nn.Module, faster: Callable[[str], float]) -> list[dict[str, Any]]:
    """Group parameters: matrices decay, vectors do not; each group with its factor on the rate."""
    grouped: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        grouped.setdefault((parameter.ndim <= 1, faster(name)), []).append(parameter)
    return [
        {
            "params": grouped[vector, factor],
            "faster": factor,
            "weight_decay": 0.0 if vector else DECAY,
        }
        for vector, factor in sorted(grouped)
    ]


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Give the tensors whose names begin with a prefix, which is cut off."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, str]) -> None:
    """Write a safetensors file that is either whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, part, facts)
    part.chmod(0o644)
    part.replace(path)


def export(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write a checkpoint folder: the weights in half precision and the configuration."""
    halves = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    write_tensors(folder / "model.safetensors", halves, {"format": "pt"})
    write_json(folder / "config.json", config)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a small JSON file that is either whole or absent."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def every(seconds: float) -> Callable[[], bool]:
    """Make a question that is true once per so many seconds."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due


def pick_device(name: str) -> torch.device:
    """Give the device of a name, where `auto` takes an accelerator when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
