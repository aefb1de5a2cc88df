"""What the four-flow denoiser is trained on: latents and contexts of many scenes, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint, Stimuli
from brainkit.encoders.autokl import KL_F8, AutoKL
from brainkit.encoders.clip import CLIP_L14
from brainkit.miniature.scenes import captions, images, make_scene
from brainkit.miniature.train.features import Encode, encoded_once, small_store
from brainkit_unibrain.checkpoints import OPTIMUS
from brainkit_unibrain.contexts import (
    load_image_context,
    load_text_context,
    unconditional_contexts,
)
from brainkit_unibrain.loading import load_reader

N_CAPTIONS = 5


@dataclass(frozen=True)
class Features:
    """Latents and contexts of scenes, float16, and the contexts that stand for nothing.

    Attributes:
        image_latent: (scenes, channels, height, width)
        text_latent: (scenes, captions, latent)
        image_tokens: (scenes, tokens, dim)
        text_tokens: (scenes, captions, tokens, dim)
        no_image: float32 (1, tokens, dim), of a grey picture
        no_text: float32 (1, tokens, dim), of the empty text
    """

    image_latent: Tensor
    text_latent: Tensor
    image_tokens: Tensor
    text_tokens: Tensor
    no_image: Tensor
    no_text: Tensor


def encoders(store: CheckpointStore) -> dict[str, tuple[Checkpoint, Callable[[], Encode]]]:
    """Return for each feature the weights it depends on and what loads its encoder."""
    return {
        "image_tokens": (CLIP_L14, lambda: _of_pictures(load_image_context(store))),
        "text_tokens": (CLIP_L14, lambda: _of_captions(load_text_context(store))),
        "text_latent": (OPTIMUS, lambda: _of_captions(load_reader(store))),
        "image_latent": (KL_F8, lambda: _of_pictures(_image_latents(store))),
    }


def _image_latents(store: CheckpointStore) -> Callable[..., Tensor]:
    encode = AutoKL().load(store)
    return lambda pictures: encode(Stimuli(pictures, (), torch.arange(len(pictures)).numpy()))


def _of_pictures(encode: Callable[..., Tensor]) -> Encode:
    return lambda seeds: encode(images(seeds))


def _of_captions(encode: Callable[[Sequence[str]], Tensor]) -> Encode:
    def encoded(seeds: Sequence[int]) -> Tensor:
        texts = [text for seed in seeds for text in captions(make_scene(seed))]
        return torch.unflatten(encode(texts), 0, (len(seeds), N_CAPTIONS))

    return encoded


def features_of(
    seeds: Sequence[int], store: CheckpointStore, cache: Path | None = None
) -> Features:
    """Compute the features of scenes, or load those that the same weights wrote into `cache`."""
    columns = {
        name: encoded_once(name, checkpoint, load, seeds, cache, store)
        for name, (checkpoint, load) in encoders(store).items()
    }
    with torch.no_grad():
        nothing = unconditional_contexts(store, "grey")
    neutral = {"no_image": nothing["image"].cpu(), "no_text": nothing["text"].cpu()}
    return Features(**columns, **neutral)


def main() -> None:
    """Write the features that can already be computed, ahead of the training."""
    import sys

    from brainkit.miniature.scenes import TRAIN_SEEDS

    store, cache = small_store(), Path(sys.argv[1])
    for name in sys.argv[2:]:
        checkpoint, load = encoders(store)[name]
        encoded_once(name, checkpoint, load, TRAIN_SEEDS, cache, store)


if __name__ == "__main__":
    main()
