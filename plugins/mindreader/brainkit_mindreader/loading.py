"""Build the generator from the store and give the functions the plugin's parts call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from brainkit import Checkpoint, Condition
from brainkit.errors import CheckpointError, DataError
from brainkit.networks.assemble import assemble, frozen
from brainkit.networks.clip import CLIP_B32
from brainkit.networks.clip.network import MEAN, STD, load_network
from brainkit.samplers.noise import seeds_of
from brainkit_mindreader.captions.targets import bounded, first_row
from brainkit_mindreader.checkpoints import GENERATOR
from brainkit_mindreader.generator.heads import two_heads
from brainkit_mindreader.generator.network import Generator, GeneratorShape, Noise

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

    from brainkit.checkpoints import CheckpointStore
    from brainkit_mindreader.parts import Lafite

Features = Mapping[str, Tensor]


def load_generator(store: CheckpointStore) -> Generator:
    """Build the generator with the store's weights, frozen, with a branch for each embedding.

    The single branch of LAFITE's own is copied to the second, as Mind Reader began its training.

    Raises:
        CheckpointError: the weights do not fit the configuration.
    """
    shape, weights = load_two_heads(store, GENERATOR)
    return frozen(assemble(lambda: Generator(shape), weights, GENERATOR.name), store.device)


def load_two_heads(
    store: CheckpointStore, checkpoint: Checkpoint
) -> tuple[GeneratorShape, dict[str, Tensor]]:
    """Load a network's shape and weights; a single head is copied to the second.

    Args:
        store: has the checkpoint.
        checkpoint: of a generator or discriminator.
    """
    shape, weights = GeneratorShape.of(store.config(checkpoint)), store.load(checkpoint)
    if len(shape.f_dims) == 1:
        return shape.with_heads(2), two_heads(weights)
    return shape, weights


def load_lafite(
    store: CheckpointStore, options: Lafite
) -> Callable[[Features], dict[str, Condition]]:
    """Return a function from decoded embeddings to the condition of Mind Reader's images."""
    network, embed = load_generator(store), load_picture_embedding(store)
    if network.shape.f_dims != (network.shape.f_dims[0],) * 2:
        raise CheckpointError(
            f"checkpoint {GENERATOR.name!r} reads conditions of {network.shape.f_dims} numbers, "
            "expected two of one width; give the generator of a LAFITE or Mind Reader"
        )

    def condition(features: Features) -> dict[str, Condition]:
        dim = network.shape.f_dims[0]
        used = [
            unit_row(features[name], dim, name) if name in options.needs else None
            for name in ("clip_image", "clip_text")
        ]
        batch = len(features[options.needs[0]])

        def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
            z = latent * (options.z == "random")
            noise = Noise(options.noise, seeded(latent))
            picture: Tensor = network(z, used, noise, options.truncation)
            return picture

        def misfit(picture: Tensor) -> Tensor:
            seen = embed(picture)
            agreed = [(seen * each).sum(dim=1) for each in used if each is not None]
            return 1 - torch.stack(agreed).mean(dim=0)

        start = torch.zeros(batch, network.shape.z_dim, device=store.device)
        sigmas = torch.ones(1, device=store.device)
        return {"image": Condition(denoise, start, sigmas, misfit=misfit)}

    return condition


def unit_row(feature: Tensor, dim: int, name: str) -> Tensor:
    """Return the embedding a method reads of a feature, float32 (batch, dim), of length 1.

    Args:
        feature: (batch, rows, dim) or (batch, dim).
        dim: what the generator reads.
        name: of the feature, for messages.
    """
    taken = first_row(feature)
    if taken.shape[1:] != (dim,):
        raise DataError(
            f"{name} has shape {tuple(feature.shape[1:])}, but the generator of "
            f"{GENERATOR.name} reads embeddings of {dim} numbers; encode with its CLIP"
        )
    return functional.normalize(taken.float(), dim=1)


def load_picture_embedding(store: CheckpointStore) -> Callable[[Tensor], Tensor]:
    """Return a function from pictures (batch, 3, side, side) in [-1, 1] to CLIP embeddings.

    Pictures are resized whole (bicubic, antialiased). CLIP is loaded at the first call; gradients
    reach the pictures; embeddings are float32 (batch, dim), clamped and of length 1 as targets are.
    """

    @cache
    def load() -> CLIPVisionModelWithProjection:
        return load_network(store, CLIP_B32, "vision")

    def embed(pictures: Tensor) -> Tensor:
        network = load()
        side = int(network.config.image_size)
        unit = (pictures + 1) / 2
        if unit.shape[-1] != side:
            unit = functional.interpolate(unit, (side, side), mode="bicubic", antialias=True)
        mean, std = (torch.tensor(each, device=unit.device).view(3, 1, 1) for each in (MEAN, STD))
        return bounded(network((unit - mean) / std).image_embeds)

    return embed


def seeded(latent: Tensor) -> Sequence[torch.Generator]:
    """Return one source of randomness a row, which depends on that row's numbers alone."""
    return [torch.Generator().manual_seed(seed) for seed in seeds_of(latent)]
