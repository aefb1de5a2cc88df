"""Tiny networks and a toy set of four plain pictures for the tests of training."""

from __future__ import annotations

from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from brainkit_mindreader.generator.discriminator import Discriminator, Judging
from brainkit_mindreader.generator.network import Generator
from brainkit_mindreader.generator.objectives import Weights
from brainkit_mindreader.generator.shape import GeneratorShape
from brainkit_mindreader.train.draws import Batch, Draws
from brainkit_mindreader.train.gan import GanTraining
from brainkit_mindreader.train.recipe import Recipe

SHAPE = GeneratorShape(
    resolution=16,
    z_dim=8,
    w_dim=8,
    f_dims=(6, 6),
    cond_width=8,
    channel_base=64,
    channel_max=8,
    mapping_layers=2,
)
SUPERVISED = Weights(heads=0.0, clip=0.0, paired=20.0, matching=5.0)
RECIPE = Recipe(batch=4, weights=SUPERVISED, r1_every=2, path_every=2)


def networks(shape: GeneratorShape = SHAPE, seed: int = 0) -> tuple[Generator, Discriminator]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator, discriminator = Generator(shape), Discriminator(shape, Judging("sample"))
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.1)
    return generator, discriminator


def training(recipe: Recipe = RECIPE, precision: str = "no", **watchers) -> GanTraining:
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    return GanTraining(*networks(), recipe, accelerator, **watchers)


def toy_set(side: int = SHAPE.resolution) -> tuple[Tensor, Tensor]:
    """Four pictures of one colour each, and an embedding of each."""
    draw = torch.Generator().manual_seed(3)
    colours = torch.rand(4, 3, 1, 1, generator=draw) * 1.6 - 0.8
    embeddings = torch.randn(4, SHAPE.f_dims[0], generator=draw)
    return colours.expand(4, 3, side, side).contiguous(), embeddings


def draw(draws: Draws) -> Batch:
    pictures, embeddings = toy_set()
    rows = draws.integers(4)
    return Batch(pictures[rows], (embeddings[rows], embeddings[rows].flip(1)))


def trained(steps: int, recipe: Recipe = RECIPE, **changed) -> GanTraining:
    course = training(replace(recipe, **changed))
    for _ in range(steps):
        course.advance(draw, 0.5)
    return course
