"""Train a generator against a discriminator: the step, its state, its publication.

Processes share nothing but gradients, which are averaged by hand: the regularisers differentiate
twice, which wrapped networks do not allow. One process is the plain case.

Source: Karras et al. 2020, arXiv 1912.04958 (lazy regularisation, running averages); Lin et al.
2022, arXiv 2210.01769.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import safe_open
from torch import Generator as Randomness
from torch import Tensor, nn

from brainkit.miniature.training import write_tensors
from brainkit_mindreader.discriminator import Discriminator
from brainkit_mindreader.generator import Generator, Noise
from brainkit_mindreader.objectives import (
    Seen,
    Terms,
    Weights,
    fake_terms,
    generator_terms,
    noised,
    path_length_penalty,
    path_lengths,
    r1,
    real_terms,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

LARGEST = 1e5
EPSILON = 1e-8


@dataclass(frozen=True)
class Recipe:
    """How a generator is trained; the defaults are the published ones.

    Attributes:
        batch: pictures a step over all processes.
        rate: learning rate of both networks.
        discriminator_rate: factor on it for the discriminator.
        betas: of Adam.
        gamma: weight of R1; None for 0.0002 * resolution^2 / batch.
        r1_every: steps between R1 penalties.
        path_every: steps between path length penalties; 0 for none.
        path_weight: of that penalty.
        style_mixing: chance that late style vectors come from another, random z.
        random_z: chance that a picture's first z is random; else it is 0.
        noise: "random" or "const", added to feature maps.
        condition_noise: least and most share of noise in a condition.
        ema_kimg: half-life of the running average in thousands of pictures; None for
            batch * 10 / 32.
        ema_rampup: at first the half-life is at most this share of the pictures seen; 0 for never.
        adversary_from: progress at which the discriminator joins; before, only `weights.paired` and
            terms of other networks count.
        decay_from: progress from which the learning rate falls to 0; 1 for never.
        faster: factor on the learning rate of the condition branches.
        weights: of the loss terms.
    """

    batch: int = 16
    rate: float = 0.0025
    discriminator_rate: float = 1.0
    betas: tuple[float, float] = (0.0, 0.99)
    gamma: float | None = None
    r1_every: int = 16
    path_every: int = 4
    path_weight: float = 2.0
    style_mixing: float = 0.9
    random_z: float = 0.0
    noise: str = "random"
    condition_noise: tuple[float, float] = (0.1, 0.1)
    ema_kimg: float | None = None
    ema_rampup: float = 0.05
    adversary_from: float = 0.0
    decay_from: float = 1.0
    faster: float = 1.0
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True)
class Batch:
    """Pictures with what is known of them.

    Attributes:
        pictures: float32 (batch, 3, side, side) in [-1, 1].
        conditions: (batch, f_dim) each, before noise.
        clip: CLIP embedding of the pictures, or None.
    """

    pictures: Tensor
    conditions: tuple[Tensor, ...]
    clip: Tensor | None = None


Draw = Callable[[int, Randomness], Batch]
"""`draw(n, generator)` gives n pictures chosen by the generator."""


class Watcher(Protocol):
    """Sees in pictures what a loss term asks for."""

    def __call__(self, pictures: Tensor, generator: Randomness) -> Tensor:
        """Give one vector a picture, (batch, numbers), that gradients pass through."""
        ...


class GanTraining:
    """Both networks with their optimisers and averages, and how far they have come."""

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        recipe: Recipe,
        accelerator: Accelerator,
        *,
        clip: Watcher | None = None,
        resnet: Watcher | None = None,
    ) -> None:
        self.recipe = recipe
        self.accelerator = accelerator
        self.device = accelerator.device
        self.generator = generator.to(self.device)
        self.discriminator = discriminator.to(self.device)
        self.averaged = deepcopy(self.generator).eval().requires_grad_(False)
        self.clip, self.resnet = clip, resnet
        self.path_mean = torch.zeros([], device=self.device)
        self.step = 0
        self.pictures = 0
        self.elapsed = 0.0
        own = recipe.rate
        self.generator_adam = _adam(generator, own, recipe, recipe.path_every)
        own = recipe.rate * recipe.discriminator_rate
        self.discriminator_adam = _adam(discriminator, own, recipe, recipe.r1_every)
        resolution = generator.shape.resolution
        gamma = recipe.gamma
        self.gamma = 2e-4 * resolution**2 / recipe.batch if gamma is None else gamma

    def advance(self, draw: Draw, progress: float) -> dict[str, float]:
        """Do one step and give the terms of its losses.

        Args:
            draw: gives this process's share of a batch.
            progress: how much of the training is done, in [0, 1].
        """
        recipe, process = self.recipe, self.accelerator.process_index
        processes = self.accelerator.num_processes
        self._set_rates(progress)
        randomness = Randomness().manual_seed(self.step * processes + process + 2**40)
        n = recipe.batch // processes
        batch = draw(n, randomness)
        adversary = progress >= recipe.adversary_from
        said = self._generator_step(batch, randomness, adversary)
        if adversary and recipe.path_every and self.step % recipe.path_every == 0:
            said |= self._path_step(batch, randomness)
        if adversary:
            said |= self._discriminator_step(batch, randomness)
            if recipe.r1_every and self.step % recipe.r1_every == 0:
                said |= self._r1_step(batch, randomness)
        self.step += 1
        self.pictures += recipe.batch
        self._average()
        return said

    def _generator_step(
        self, batch: Batch, randomness: Randomness, adversary: bool
    ) -> dict[str, float]:
        weights = self.recipe.weights
        conditions = self._conditions(batch, randomness)
        self.discriminator.requires_grad_(False)
        with self.accelerator.autocast():
            pictures = self._generated(conditions, randomness)
            fake = self.discriminator(pictures, conditions) if adversary else None
            real = None
            if adversary and (weights.matching or weights.real_heads):
                real = self.discriminator(batch.pictures, conditions)
        seen = self._seen(pictures, batch, randomness)
        terms = generator_terms(fake, real, conditions, seen, weights)
        torch.stack(list(terms.values())).sum().backward()
        self.discriminator.requires_grad_(True)
        self._apply(self.generator_adam, self.generator)
        return _floats(terms)

    def _discriminator_step(self, batch: Batch, randomness: Randomness) -> dict[str, float]:
        conditions = self._conditions(batch, randomness)
        with self.accelerator.autocast():
            with torch.no_grad():
                pictures = self._generated(conditions, randomness)
            fake = self.discriminator(pictures, conditions)
        terms = fake_terms(fake)
        terms["fake"].backward()
        with self.accelerator.autocast():
            real = self.discriminator(batch.pictures, conditions)
        own = real_terms(real, conditions, self.recipe.weights)
        torch.stack(list(own.values())).sum().backward()
        self._apply(self.discriminator_adam, self.discriminator)
        return _floats(terms | own)

    def _r1_step(self, batch: Batch, randomness: Randomness) -> dict[str, float]:
        conditions = self._conditions(batch, randomness)
        pictures = batch.pictures.detach().requires_grad_()
        verdict = self.discriminator(pictures, conditions)
        penalty = r1(pictures, verdict, self.gamma).mean()
        (penalty * self.recipe.r1_every).backward()
        self._apply(self.discriminator_adam, self.discriminator)
        return {"r1": float(penalty.detach())}

    def _path_step(self, batch: Batch, randomness: Randomness) -> dict[str, float]:
        half = max(1, len(batch.pictures) // 2)
        conditions = [each[:half] for each in self._conditions(batch, randomness)]
        ws = self._styles(half, randomness)
        pictures = self.generator.synthesis(ws, conditions, self._noise(half, randomness))
        drawn = torch.randn(pictures.shape, generator=randomness).to(self.device)
        lengths = path_lengths(pictures, ws, drawn)
        weight = self.recipe.path_weight
        penalty, self.path_mean = path_length_penalty(lengths, self.path_mean, weight)
        # The pictures take part with no weight so that every parameter has a gradient.
        loss = (penalty + 0 * pictures[:, 0, 0, 0]).mean()
        (loss * self.recipe.path_every).backward()
        self._apply(self.generator_adam, self.generator)
        return {"path": float(loss.detach())}

    def _generated(self, conditions: Sequence[Tensor], randomness: Randomness) -> Tensor:
        n = len(conditions[0])
        ws = self._styles(n, randomness)
        pictures: Tensor = self.generator.synthesis(ws, conditions, self._noise(n, randomness))
        return pictures

    def _styles(self, n: int, randomness: Randomness) -> Tensor:
        """Give style vectors of z = 0, some from random z, late ones mixed from another z."""
        shape, recipe = self.generator.shape, self.recipe
        drawn = torch.randn(n, shape.z_dim, generator=randomness)
        z = drawn * (torch.rand(n, 1, generator=randomness) < recipe.random_z)
        ws: Tensor = self.generator.mapping(z.to(self.device))
        self.generator.mapping.follow(ws)
        mixes = float(torch.rand([], generator=randomness)) < recipe.style_mixing
        if mixes:
            cut = int(torch.randint(1, shape.num_ws, [], generator=randomness))
            other = torch.randn(n, shape.z_dim, generator=randomness).to(self.device)
            ws = torch.cat([ws[:, :cut], self.generator.mapping(other)[:, cut:]], dim=1)
        return ws

    def _noise(self, n: int, randomness: Randomness) -> Noise:
        if self.recipe.noise != "random":
            return Noise("const")
        seeds = torch.randint(2**62, (n,), generator=randomness).tolist()
        return Noise("random", [Randomness().manual_seed(seed) for seed in seeds])

    def _conditions(self, batch: Batch, randomness: Randomness) -> list[Tensor]:
        """Give conditions of length 1 with fresh noise."""
        least, most = self.recipe.condition_noise
        noisy = []
        for condition in batch.conditions:
            share = least + (most - least) * torch.rand(len(condition), 1, generator=randomness)
            drawn = torch.randn(condition.shape, generator=randomness)
            noisy.append(noised(condition, drawn.to(self.device), share.to(self.device)))
        return noisy

    def _seen(self, pictures: Tensor, batch: Batch, randomness: Randomness) -> Seen:
        weights = self.recipe.weights
        seen = Seen(picture=pictures, true_picture=batch.pictures, true_clip=batch.clip)
        if (weights.clip or weights.clip_image) and self.clip is not None:
            seen = replace(seen, clip=self.clip(pictures, randomness))
        if weights.resnet and self.resnet is not None:
            with torch.no_grad():
                true = self.resnet(batch.pictures, randomness)
            seen = replace(seen, resnet=self.resnet(pictures, randomness), true_resnet=true)
        return seen

    def _apply(self, adam: torch.optim.Adam, net: nn.Module) -> None:
        """Average gradients over processes, take one step along them and clear them."""
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        flat = torch.cat([each.flatten() for each in gradients])
        if self.accelerator.num_processes > 1:
            flat = self.accelerator.reduce(flat, "mean")
        flat = flat.nan_to_num(nan=0.0, posinf=LARGEST, neginf=-LARGEST)
        parts = flat.split([each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        adam.step()
        adam.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _average(self) -> None:
        recipe = self.recipe
        kimg = recipe.batch * 10 / 32 if recipe.ema_kimg is None else recipe.ema_kimg
        if recipe.ema_rampup:
            kimg = min(kimg, self.pictures / 1000 * recipe.ema_rampup)
        keep = 0.5 ** (recipe.batch / max(kimg * 1000, EPSILON))
        mine = dict(self.generator.named_parameters())
        for name, tensor in self.averaged.named_parameters():
            tensor.lerp_(mine[name], 1 - keep)
        buffers = dict(self.generator.named_buffers())
        for name, tensor in self.averaged.named_buffers():
            tensor.copy_(buffers[name])

    def _set_rates(self, progress: float) -> None:
        start = self.recipe.decay_from
        share = 1.0
        if start < 1 and progress > start:
            share = 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - start) / (1 - start))))
        for adam in (self.generator_adam, self.discriminator_adam):
            for group in adam.param_groups:
                group["lr"] = group["own_rate"] * share

    def save(self, path: Path) -> None:
        """Write everything needed to go on as if there had been no break."""
        tensors = {"path_mean": self.path_mean}
        for name, net in self._networks().items():
            tensors |= {f"{name}/{n}": t for n, t in net.state_dict().items()}
        for name, adam in self._optimisers().items():
            for index, moments in adam.state_dict()["state"].items():
                tensors |= {f"{name}/{index}/{n}": t for n, t in moments.items()}
        facts = {"step": self.step, "pictures": self.pictures, "elapsed": self.elapsed}
        write_tensors(path, tensors, {"facts": json.dumps(facts)})

    def resume(self, path: Path) -> None:
        """Take up a training that `save` wrote."""
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.path_mean = tensors["path_mean"].to(self.device)
        for name, net in self._networks().items():
            net.load_state_dict(_under(tensors, f"{name}/"))
        for name, adam in self._optimisers().items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _under(tensors, f"{name}/").items():
                index, _, moment = key.partition("/")
                state.setdefault(int(index), {})[moment] = tensor
            groups = adam.state_dict()["param_groups"]
            adam.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.pictures = facts["step"], facts["pictures"]
        self.elapsed = facts["elapsed"]

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "averaged": self.averaged,
        }

    def _optimisers(self) -> dict[str, torch.optim.Adam]:
        return {
            "generator_adam": self.generator_adam,
            "discriminator_adam": self.discriminator_adam,
        }


def _adam(net: nn.Module, rate: float, recipe: Recipe, every: int) -> torch.optim.Adam:
    """Make Adam for a network that is regularised every so many steps by a step of its own."""
    share = every / (every + 1) if every else 1.0
    betas = (recipe.betas[0] ** share, recipe.betas[1] ** share)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        quick = any(part.startswith("pre_") for part in name.split("."))
        groups.setdefault(recipe.faster if quick else 1.0, []).append(parameter)
    tables = [
        {"params": parameters, "lr": rate * share * factor, "own_rate": rate * share * factor}
        for factor, parameters in sorted(groups.items())
    ]
    return torch.optim.Adam(tables, lr=rate * share, betas=betas, eps=EPSILON)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _floats(terms: Terms) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in terms.items()}
