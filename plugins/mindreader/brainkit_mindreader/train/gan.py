"""One step of training a generator against a discriminator, phase by phase.

Processes share nothing but gradients and running means, which are averaged by hand: the
regularisers differentiate twice, which wrapped networks do not allow. One process is the plain
case. Contrastive terms compare the pictures of one process with each other.

Source: Karras et al. 2020, arXiv 1912.04958 (lazy regularisation, running averages); Lin et al.
2022, arXiv 2210.01769.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Generator as Randomness
from torch import Tensor, nn

from brainkit.networks.assemble import frozen
from brainkit_mindreader.generator.discriminator import Discriminator
from brainkit_mindreader.generator.network import Generator, Noise
from brainkit_mindreader.generator.objectives import (
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
from brainkit_mindreader.train.draws import Batch, Draw, Draws
from brainkit_mindreader.train.recipe import Recipe
from brainkit_mindreader.train.steps import (
    EPSILON,
    Scale,
    apply_gradients,
    follow,
    make_adam,
    make_alike,
    over_processes,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

    from brainkit_mindreader.train.joint import Joint


class Watcher(Protocol):
    """Sees in pictures what a loss term asks for."""

    def __call__(self, pictures: Tensor, generator: Randomness) -> Tensor:
        """Return one vector a picture, (batch, numbers), that gradients pass through."""
        ...


class GanTraining:
    """Both networks with their optimisers and averages, and how far they have come.

    Attributes:
        step: steps done.
        pictures: true pictures seen, over all processes.
        elapsed: seconds of training, kept by whoever calls.
        path_mean: float32 (), running mean of path lengths.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        recipe: Recipe,
        accelerator: Accelerator,
        *,
        clip: Watcher | None = None,
        resnet: Watcher | None = None,
        joint: Joint | None = None,
    ) -> None:
        """Begin with networks of these weights.

        Raises:
            UsageError: the recipe cannot be followed.
        """
        recipe.check(accelerator.num_processes, clip=clip is not None, resnet=resnet is not None)
        self.recipe = recipe
        self.accelerator = accelerator
        self.device = accelerator.device
        self.generator = generator.to(self.device)
        self.discriminator = discriminator.to(self.device)
        for net in (self.generator, self.discriminator):
            make_alike(net, accelerator)
        self.averaged = frozen(deepcopy(self.generator))
        self.clip, self.resnet, self.joint = clip, resnet, joint
        self.path_mean = torch.zeros([], device=self.device)
        self.step = 0
        self.pictures = 0
        self.elapsed = 0.0
        self.scale = Scale(half=accelerator.mixed_precision == "fp16")
        self.gamma = recipe.gamma_at(generator.shape.resolution)
        self.generator_adam = make_adam(generator, recipe.rate, recipe, recipe.path_every)
        own = recipe.rate * recipe.discriminator_rate
        self.discriminator_adam = make_adam(discriminator, own, recipe, recipe.r1_every)

    def advance(self, draw: Draw, progress: float) -> dict[str, float]:
        """Do one step and give the terms of this process's losses.

        Args:
            draw: gives this process's share of a batch.
            progress: how much of the training is done, in [0, 1].
        """
        recipe = self.recipe
        self._set_rates(progress)
        draws = Draws.of_step(
            self.step,
            recipe.batch,
            seed=recipe.seed,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        batch = draw(draws)
        if self.joint:
            batch = replace(batch, conditions=self.joint.predicted(batch.betas))
        adversary = progress >= recipe.adversary_from
        losses = self._generator_step(batch, draws, adversary, recipe.weights_at(progress))
        if adversary and recipe.path_every and self.step % recipe.path_every == 0:
            losses |= self._path_step(batch, draws)
        if adversary:
            losses |= self._discriminator_step(batch, draws)
            if recipe.r1_every and self.step % recipe.r1_every == 0:
                losses |= self._r1_step(batch, draws)
        if adversary and self.joint:
            for mapper in range(len(batch.betas)):
                losses |= self._joint_step(self.joint, mapper, batch, draws)
        self._average()
        self.step += 1
        self.pictures += recipe.batch
        return losses

    def _generator_step(
        self, batch: Batch, draws: Draws, adversary: bool, weights: Weights
    ) -> dict[str, float]:
        conditions = self._conditions(batch.conditions, draws)
        self.discriminator.requires_grad_(False)
        with self.accelerator.autocast():
            pictures = self._generated(conditions, draws)
            fake = self.discriminator(pictures, conditions) if adversary else None
            real = None
            if adversary and (weights.matching or weights.real_heads):
                real = self.discriminator(batch.pictures, conditions)
        seen = self._seen(pictures, batch, draws)
        terms = generator_terms(fake, real, conditions, seen, weights)
        self._backward(terms)
        self.discriminator.requires_grad_(True)
        self._apply(self.generator_adam, self.generator)
        return floats(terms)

    def _discriminator_step(self, batch: Batch, draws: Draws) -> dict[str, float]:
        conditions = self._conditions(batch.conditions, draws)
        with self.accelerator.autocast(), torch.no_grad():
            pictures = self._generated(conditions, draws)
        with self.accelerator.autocast():
            fake = self.discriminator(pictures, conditions)
        terms = fake_terms(fake)
        self._backward(terms)
        with self.accelerator.autocast():
            real = self.discriminator(batch.pictures, conditions)
        own = real_terms(real, conditions, self.recipe.weights)
        self._backward(own)
        self._apply(self.discriminator_adam, self.discriminator)
        return floats(terms | own)

    def _r1_step(self, batch: Batch, draws: Draws) -> dict[str, float]:
        """Penalise slopes at true pictures, in full precision."""
        conditions = self._conditions(batch.conditions, draws)
        pictures = batch.pictures.detach().requires_grad_()
        penalty = r1(pictures, self.discriminator(pictures, conditions), self.gamma).mean()
        self._backward({"r1": penalty * self.recipe.r1_every})
        self._apply(self.discriminator_adam, self.discriminator)
        return floats({"r1": penalty})

    def _path_step(self, batch: Batch, draws: Draws) -> dict[str, float]:
        """Penalise uneven path lengths of half the batch, in full precision."""
        draws = draws.first(max(1, len(draws) // 2))
        n = len(draws)
        conditions = self._conditions([each[:n] for each in batch.conditions], draws)
        ws = self._styles(draws)
        pictures = self.generator.synthesis(ws, conditions, self._noise(draws))
        lengths = path_lengths(pictures, ws, draws.normal(*pictures.shape[1:]).to(self.device))
        # Every process knows all lengths, whose mean depends on each; its gradients are of its own.
        processes, process = self.accelerator.num_processes, self.accelerator.process_index
        everyone = self.accelerator.gather(lengths.detach()).clone()
        everyone[n * process : n * (process + 1)] = lengths
        penalties, self.path_mean = path_length_penalty(
            everyone, self.path_mean, self.recipe.path_weight
        )
        penalty = penalties.mean()
        # The pictures take part with no weight so that every parameter has a gradient.
        loss = penalty * processes + 0 * pictures[:, 0, 0, 0].mean()
        self._backward({"path": loss * self.recipe.path_every})
        self._apply(self.generator_adam, self.generator)
        return floats({"path": penalty})

    def _joint_step(
        self, joint: Joint, mapper: int, batch: Batch, draws: Draws
    ) -> dict[str, float]:
        """Train a mapper through both networks, which stay as they are."""
        for net in (self.generator, self.discriminator):
            net.requires_grad_(False)
        conditions = self._conditions(joint.learning(mapper, batch.betas), draws)
        with self.accelerator.autocast():
            pictures = self._generated(conditions, draws)
            verdict = self.discriminator(pictures, conditions)
        terms = joint.terms(mapper, conditions, batch.targets[mapper], verdict)
        self._backward(terms)
        for net in (self.generator, self.discriminator):
            net.requires_grad_(True)
        self._apply(joint.adam, joint.networks)
        return {f"mapper_{mapper}_{name}": value for name, value in floats(terms).items()}

    def _generated(self, conditions: Sequence[Tensor], draws: Draws) -> Tensor:
        pictures: Tensor = self.generator.synthesis(
            self._styles(draws), conditions, self._noise(draws)
        )
        return pictures

    def _styles(self, draws: Draws) -> Tensor:
        """Return style vectors of z = 0, some from random z, late ones mixed from another z."""
        shape, recipe = self.generator.shape, self.recipe
        z = draws.normal(shape.z_dim) * (draws.uniform() < recipe.random_z)
        ws: Tensor = self.generator.mapping(z.to(self.device))
        self.generator.mapping.follow(ws)
        if draws.chance(recipe.style_mixing):
            cut = draws.one_of(1, shape.num_ws)
            other = self.generator.mapping(draws.normal(shape.z_dim).to(self.device))
            ws = torch.cat([ws[:, :cut], other[:, cut:]], dim=1)
        return ws

    def _noise(self, draws: Draws) -> Noise:
        if self.recipe.noise != "random":
            return Noise("const")
        return Noise("random", draws.each)

    def _conditions(self, conditions: Sequence[Tensor], draws: Draws) -> list[Tensor]:
        """Return conditions of length 1 with fresh noise."""
        least, most = self.recipe.condition_noise
        noisy = []
        for condition in conditions:
            share = (least + (most - least) * draws.uniform()).to(self.device)
            drawn = draws.normal(*condition.shape[1:]).to(self.device)
            noisy.append(noised(condition, drawn, share))
        return noisy

    def _seen(self, pictures: Tensor, batch: Batch, draws: Draws) -> Seen:
        weights = self.recipe.weights
        seen = Seen(picture=pictures, true_picture=batch.pictures, true_clip=batch.clip)
        if (weights.clip or weights.clip_image) and self.clip is not None:
            seen = replace(seen, clip=self.clip(pictures, draws.common))
        if weights.resnet and self.resnet is not None:
            with torch.no_grad():
                true = self.resnet(batch.pictures, draws.common)
            made = self.resnet(pictures, draws.common)
            seen = replace(seen, resnet=made, true_resnet=true)
        return seen

    def _backward(self, terms: Mapping[str, Tensor]) -> None:
        torch.autograd.backward(torch.stack(list(terms.values())).sum() * self.scale.factor)

    def _apply(self, adam: torch.optim.Adam, net: nn.Module) -> None:
        apply_gradients(adam, net, self.scale, self.accelerator)

    @torch.no_grad()
    def _average(self) -> None:
        styles = self.generator.mapping.w_avg
        styles.copy_(over_processes(styles, self.accelerator))
        life = self.recipe.half_life
        if self.recipe.ema_rampup:
            life = min(life, self.pictures * self.recipe.ema_rampup)
        follow(self.averaged, self.generator, 0.5 ** (self.recipe.batch / max(life, EPSILON)))

    def _set_rates(self, progress: float) -> None:
        start = self.recipe.decay_from
        share = 1.0
        if start < 1 and progress > start:
            share = 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - start) / (1 - start))))
        for adam in self.optimisers().values():
            for group in adam.param_groups:
                group["lr"] = group["own_rate"] * share

    def networks(self) -> dict[str, nn.Module]:
        """Return every network that changes, by name."""
        networks: dict[str, nn.Module] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "averaged": self.averaged,
        }
        return networks | ({"mappers": self.joint.networks} if self.joint else {})

    def optimisers(self) -> dict[str, torch.optim.Adam]:
        """Return every optimiser by name."""
        optimisers = {
            "generator_adam": self.generator_adam,
            "discriminator_adam": self.discriminator_adam,
        }
        return optimisers | ({"mappers_adam": self.joint.adam} if self.joint else {})


def floats(terms: Terms) -> dict[str, float]:
    """Return terms as plain numbers."""
    return {name: float(value.detach()) for name, value in terms.items()}
