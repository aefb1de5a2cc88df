"""CLIP contexts as Versatile Diffusion uses them: all tokens, projected, over the pooled length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brainkit.networks.clip import CLIP_L14
from brainkit.networks.clip.network import load_network, load_tokenizer, pixel_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    from brainkit.checkpoints import CheckpointStore


def image_tokens(network: CLIPVisionModelWithProjection, pixels: Tensor) -> Tensor:
    """Project all image tokens and divide by the length of the projected class token.

    Args:
        network: transformers' vision tower, whose last layer norm is applied to every token.
        pixels: float32 (batch, 3, height, width), prepared by CLIP's mean and spread.

    Returns:
        float32 (batch, tokens, dim), token 0 of length 1.
    """
    tower = network.vision_model
    hidden = tower(pixel_values=pixels).last_hidden_state
    projected = network.visual_projection(tower.post_layernorm(hidden))
    tokens: Tensor = projected / projected[:, :1].norm(dim=-1, keepdim=True)
    return tokens.float()


def text_tokens(network: CLIPTextModelWithProjection, ids: Tensor) -> Tensor:
    """Project all text tokens and divide by the length of the projected end token.

    Args:
        network: transformers' text tower; its last layer norm is part of the hidden state.
        ids: int64 (batch, tokens), padded.

    Returns:
        float32 (batch, tokens, dim).
    """
    told = network.text_model(input_ids=ids)
    projected = network.text_projection(told.last_hidden_state)
    pooled = network.text_projection(told.pooler_output)
    tokens: Tensor = projected / pooled.norm(dim=-1)[:, None, None]
    return tokens.float()


def load_image_context(store: CheckpointStore) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Return a function from uint8 (batch, height, width, 3) to contexts (batch, 257, 768)."""
    network = load_network(store, CLIP_L14, "vision")
    side = int(network.config.image_size)
    return lambda images: image_tokens(network, pixel_values(images, side).to(store.device))


def load_text_context(store: CheckpointStore) -> Callable[[Sequence[str]], Tensor]:
    """Return a function from texts to contexts float32 (batch, 77, 768)."""
    network = load_network(store, CLIP_L14, "text")
    tokens = load_tokenizer(store, CLIP_L14)
    return lambda texts: text_tokens(network, tokens(texts).to(store.device))


def unconditional_contexts(store: CheckpointStore, image: str) -> dict[str, Tensor]:
    """Encode what stands for "no condition": the empty text and a constant image.

    Args:
        store: where CLIP's weights are.
        image: "grey" (uint8 128, as Brain-Diffuser's code), "black", or "zeros" for zero tokens.

    Returns:
        float32 (1, tokens, dim) for "image" and "text".
    """
    import numpy as np

    level = {"grey": 128, "black": 0, "zeros": 0}[image]
    tokens = load_image_context(store)(np.full((1, 64, 64, 3), level, dtype=np.uint8))
    if image == "zeros":
        tokens = torch.zeros_like(tokens)
    return {"image": tokens, "text": load_text_context(store)([""])}
