"""What the denoiser is trained on: latents and texts of many scenes, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Stimuli
from brainkit.encoders.autokl import KL_F8, AutoKL
from brainkit.encoders.clip import CLIP_L14
from brainkit.miniature.scenes import captions, images, make_scene
from brainkit.miniature.train.features import Encode, encoded_once
from brainkit_minddiffuser.loading import load_reader

N_CAPTIONS = 5
SHORT = 15
"""Tokens that MindDiffuser's texts have."""


@dataclass(frozen=True)
class Features:
    """What scenes look and sound like to the denoiser, float16.

    Attributes:
        latent: (scenes, channels, height, width)
        short: (scenes, captions, 15, dim)
        long: (scenes, tokens, dim), the mean over all captions.
        empty: float32 (1, tokens, dim), of the empty text; its first 15 tokens serve short ones.
    """

    latent: Tensor
    short: Tensor
    long: Tensor
    empty: Tensor


def features_of(seeds: Sequence[int], store: CheckpointStore, cache: Path | None) -> Features:
    """Compute the features of scenes, or load those that the same weights wrote into `cache`."""
    latents = encoded_once("image_latent", KL_F8, lambda: _latents(store), seeds, cache, store)
    short = encoded_once("text_15", CLIP_L14, lambda: _short(store), seeds, cache, store)
    long = encoded_once("text_mean", CLIP_L14, lambda: _long(store), seeds, cache, store)
    with torch.no_grad():
        empty = load_reader(store)([""]).cpu()
    return Features(latents, short, long, empty)


def _latents(store: CheckpointStore) -> Encode:
    encode = AutoKL().load(store)
    return lambda seeds: encode(Stimuli(images(seeds), (), torch.tensor(seeds).numpy()))


def _short(store: CheckpointStore) -> Encode:
    read = load_reader(store, SHORT)
    return lambda seeds: _by_scene(read(_texts(seeds)), seeds)


def _long(store: CheckpointStore) -> Encode:
    read = load_reader(store)
    return lambda seeds: _by_scene(read(_texts(seeds)), seeds).mean(dim=1)


def _by_scene(texts: Tensor, seeds: Sequence[int]) -> Tensor:
    return torch.unflatten(texts, 0, (len(seeds), N_CAPTIONS))


def _texts(seeds: Sequence[int]) -> list[str]:
    return [text for seed in seeds for text in captions(make_scene(seed))]
