"""The networks a training begins with."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import BrainkitWarning, CheckpointError, UsageError
from brainkit.networks.assemble import load_strictly
from brainkit_mindreader.checkpoints import DISCRIMINATOR
from brainkit_mindreader.generator.discriminator import Discriminator, Judging, Semantic
from brainkit_mindreader.generator.network import Generator, GeneratorShape
from brainkit_mindreader.loading import load_generator, load_two_heads
from brainkit_mindreader.mapper.network import MapperNetwork
from brainkit_mindreader.mapper.part import Mapper
from brainkit_mindreader.mapper.training import network_of
from brainkit_mindreader.train.pairs import FEATURES

if TYPE_CHECKING:
    from brainkit.run import Predictions, Run


def starting_store(store: CheckpointStore, init: Path | None) -> CheckpointStore:
    """Return the store whose generator a training begins with: the run's, or the one named."""
    return store if init is None else replace(store, root=init, miniature=False)


def starting_generator(store: CheckpointStore, dims: tuple[int, ...]) -> Generator:
    """Load the generator of a store; the one branch of LAFITE's is copied to the second.

    Args:
        store: has `mindreader-generator`.
        dims: numbers in each embedding that it is to read.

    Raises:
        CheckpointError: its weights are missing or damaged.
        UsageError: it reads embeddings of other widths.
    """
    generator = load_generator(store)
    if generator.shape.f_dims != dims:
        raise UsageError(
            f"the generator in {store.root} reads embeddings of {generator.shape.f_dims} numbers, "
            f"but the mappers predict {dims}; begin with one made for their CLIP"
        )
    return generator.requires_grad_(True).train()


def starting_discriminator(
    store: CheckpointStore, shape: GeneratorShape, semantic: Semantic, seed: int
) -> Discriminator:
    """Load the discriminator of a store, or make a new one, with a warning, where it has none.

    Args:
        store: may have `mindreader-discriminator`.
        shape: of the generator.
        semantic: how the conditions enter the logit.
        seed: of a new one's weights.

    Raises:
        CheckpointError: its weights are damaged or those of another shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        discriminator = Discriminator(shape, Judging(semantic))
    if store.miniature or not store.has(DISCRIMINATOR):
        warnings.warn(
            f"there is no {DISCRIMINATOR.name} beside the generator, so a new one is trained from "
            "the beginning, which takes longer and may harm the generator at first",
            BrainkitWarning,
            stacklevel=2,
        )
        return discriminator
    found, weights = load_two_heads(store, DISCRIMINATOR)
    mine, theirs = ((s.resolution, s.f_dims) for s in (shape, found))
    if mine != theirs:
        raise CheckpointError(
            f"{DISCRIMINATOR.name} in {store.root} is for pictures and embeddings of {theirs}, "
            f"but the generator makes {mine}; give the two of one training"
        )
    discriminator.judging = Judging.of(store.config(DISCRIMINATOR), semantic)
    load_strictly(discriminator, weights, DISCRIMINATOR.name)
    return discriminator


class PaddedMapper(nn.Module):
    """A mapper that takes betas as they are and pads them itself."""

    pad: Tensor

    def __init__(self, network: MapperNetwork, pad: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("pad", torch.tensor(pad))
        self._pad = pad

    def forward(self, betas: Tensor) -> Tensor:
        """Return embeddings (batch, dim) for betas (batch, voxels)."""
        found: Tensor = self.network(functional.pad(betas, self._pad))
        return found


def fitted_mappers(run: Run, known: Predictions) -> list[nn.Module]:
    """Return the fitted mappers as networks that can go on learning, one a feature.

    Raises:
        UsageError: a feature's regressor is not a mapper.
    """
    mappers: list[nn.Module] = []
    for feature in FEATURES:
        regressor = run.method.regressors[feature]
        if not isinstance(regressor, Mapper):
            raise UsageError(
                f"--joint trains mappers, but {feature} is predicted by {regressor.name!r}; leave "
                "--joint out or use the regressor mapper"
            )
        weights = known.weights[feature].tensors()
        mappers.append(PaddedMapper(*network_of(weights, regressor.sigmoid, torch.device("cpu"))))
    return mappers
