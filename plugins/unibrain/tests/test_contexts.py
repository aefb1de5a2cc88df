"""CLIP contexts against tensors of the published context encoder."""

import torch
from golden_files import tensors, tiny_config
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from brainkit_unibrain.contexts import image_tokens, text_tokens

GOLDEN = tensors("clip_context")
SIZES = tiny_config()["clip"]


def half(net: torch.nn.Module, *prefixes: str) -> torch.nn.Module:
    weights = {n: t for n, t in tensors("tiny_clip").items() if n.startswith(prefixes)}
    net.load_state_dict(weights)
    return net.eval().requires_grad_(False)


def test_text_tokens_are_the_published_ones() -> None:
    config = CLIPTextConfig(**SIZES["text"], projection_dim=SIZES["projection_dim"])
    net = half(CLIPTextModelWithProjection(config), "text_model.", "text_projection.")
    made = text_tokens(net, GOLDEN["text_ids"])
    torch.testing.assert_close(made, GOLDEN["text_context"], atol=1e-5, rtol=0)


def test_image_tokens_are_the_published_ones() -> None:
    config = CLIPVisionConfig(**SIZES["vision"], projection_dim=SIZES["projection_dim"])
    net = half(CLIPVisionModelWithProjection(config), "vision_model.", "visual_projection.")
    made = image_tokens(net, GOLDEN["pixel_values"])
    torch.testing.assert_close(made, GOLDEN["image_context"], atol=1e-5, rtol=0)
