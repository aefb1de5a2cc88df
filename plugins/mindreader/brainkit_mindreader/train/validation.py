"""What a generator in training makes of the test images: pictures and their Fréchet distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from brainkit.metrics import FID, Score, frechet_distance
from brainkit.run import Predictions, Run, reader
from brainkit_mindreader.captions.targets import first_row
from brainkit_mindreader.generator.network import Generator
from brainkit_mindreader.train.pairs import FEATURES
from brainkit_mindreader.train.pictures import Pictures, as_whole, shrunken

AT_ONCE = 16


@dataclass(frozen=True)
class Distance:
    """A network whose features compare sets of pictures.

    Attributes:
        network: its name in scores.
        features: from uint8 (images, height, width, 3) to (images, dim).
    """

    network: str
    features: Callable[[Pictures], NDArray[Any]]

    def between(self, true: Pictures, made: Pictures) -> Score:
        """Return the Fréchet distance of two sets of pictures; biased upward for few of them."""
        pair = self.features(true), self.features(made)
        return frechet_distance(*pair, network=self.network)


@dataclass(frozen=True)
class Validation:
    """The test images, each once, with the embeddings predicted for them.

    Attributes:
        pictures: uint8 (images, side, side, 3).
        conditions: (images, dim) each.
        distance: how sets are compared; None where there is no network for it.
    """

    pictures: Pictures
    conditions: tuple[Tensor, ...]
    distance: Distance | None = None

    def of(self, conditions: tuple[Tensor, ...]) -> Validation:
        """Return the same images under other embeddings."""
        return replace(self, conditions=conditions)

    @torch.no_grad()
    def made(self, generator: Generator, n: int | None = None) -> Pictures:
        """Return the pictures made of the first n images with z = 0 and the stored noise."""
        device = generator.mapping.w_avg.device
        given = [each[:n].float().to(device) for each in self.conditions]
        unit = [torch.split(functional.normalize(each, dim=1), AT_ONCE) for each in given]
        parts = []
        for some in zip(*unit, strict=True):
            z = torch.zeros(len(some[0]), generator.shape.z_dim, device=device)
            parts.append(generator(z, some).cpu())
        return as_whole(torch.cat(parts))

    def scores(self, generator: Generator) -> dict[str, float]:
        """Return the Fréchet distance of made and true pictures and how many; {} without one."""
        if self.distance is None or len(self.pictures) < 2:
            return {}
        distance = self.distance.between(self.pictures, self.made(generator))
        return {distance.name: distance.mean, "n": float(len(self.pictures))}


def validation(run: Run, known: Predictions, side: int) -> Validation:
    """Read the test images at a side in pixels and the embeddings predicted for them."""
    conditions = tuple(first_row(known.decoded[name].test()).float() for name in FEATURES)
    return Validation(shrunken(run, run.image_ids[1], side), conditions, distance_of(run, side))


def distance_of(run: Run, side: int) -> Distance | None:
    """Return the network that the run's own FID would read; None, said once, where there is none.

    It is the Inception of 2015, and on the miniature the referee, which no training knows.
    """
    network = reader(run, FID.reads, side=(side, side, 3))
    if network.read is None:
        run.work.say(f"no Fréchet distance: {network.lacks}")
        return None
    return Distance(network.name, network.read)
