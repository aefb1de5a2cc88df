"""Score the miniature's four-flow denoiser on scenes it never saw, from their true features.

Everything runs through the parts that a method uses, with the weights as they lie in the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.decoders.autokl import AutoKLDecoder
from brainkit.miniature.scenes import HELD_OUT_SEEDS, Scene, images, kinds_in, make_scene
from brainkit.miniature.train.scores import picture_scores
from brainkit.samplers.diffusion import DDIM
from brainkit_unibrain.parts import FourFlow, OptimusDecoder
from brainkit_unibrain.train.features import features_of

N_SCENES = 60
STEPS = 20
GUIDANCE = (2.0, 4.0)


@dataclass(frozen=True)
class HeldOut:
    """Held-out scenes with their true features, as an encoder would give them."""

    scenes: list[Scene]
    pictures: NDArray[np.uint8]
    features: dict[str, Tensor]
    store: CheckpointStore


def held_out(store: CheckpointStore, n_scenes: int = N_SCENES) -> HeldOut:
    """Prepare held-out scenes."""
    seeds = HELD_OUT_SEEDS[:n_scenes]
    made = features_of(seeds, store)
    features = {
        "image_latent": made.image_latent,
        "text_latent": made.text_latent[:, 0],
        "clip_image": made.image_tokens,
        "clip_text": made.text_tokens.float().mean(dim=1),
    }
    features = {name: tensor.float().to(store.device) for name, tensor in features.items()}
    return HeldOut([make_scene(seed) for seed in seeds], images(seeds), features, store)


@torch.no_grad()
def latents(judged: HeldOut, options: FourFlow, output: str, steps: int = STEPS) -> Tensor:
    """Sample one output's latents from true features, float32 (scenes, *latent)."""
    condition = options.load(judged.store)(judged.features)[output]
    return DDIM(steps=steps, noise_lead=1).sample(condition, range(len(judged.scenes)))


@torch.no_grad()
def scores(judged: HeldOut) -> dict[str, float]:
    """Score pictures from the latent and from noise, and captions, at several guidance scales."""
    measured: dict[str, float] = {}
    for scale in GUIDANCE:
        options = FourFlow(guidance=scale)
        pictures = pictures_of(latents(judged, options, "image"), judged)
        measured |= named(f"image_g{scale:g}", pictures, judged)
        wrote = captions_of(latents(judged, options, "caption"), judged)
        measured[f"caption_g{scale:g}_objects"] = caption_recall(wrote, judged.scenes)
    options = FourFlow(guidance=GUIDANCE[0], use_zi=False, use_ct=False)
    pictures = pictures_of(latents(judged, options, "image"), judged)
    measured |= named(f"noise_g{GUIDANCE[0]:g}", pictures, judged)
    return {name: round(value, 4) for name, value in measured.items()}


def named(prefix: str, made: NDArray[np.uint8], judged: HeldOut) -> dict[str, float]:
    """Score pictures by the referee and by pixel correlation."""
    return picture_scores(prefix, made, judged.pictures, judged.scenes)


def pictures_of(latent: Tensor, judged: HeldOut) -> NDArray[np.uint8]:
    """Decode image latents to uint8 (batch, height, width, 3)."""
    decode = AutoKLDecoder().load(judged.store)
    return np.asarray(decode(latent, range(len(latent))))


def captions_of(latent: Tensor, judged: HeldOut) -> list[str]:
    """Decode text latents to captions, taking the likeliest word each time."""
    wrote = OptimusDecoder(decode="greedy").load(judged.store)
    return wrote(latent, range(len(latent)))


def caption_recall(wrote: Sequence[str], scenes: Sequence[Scene]) -> float:
    """Return the share of objects that the captions name."""
    truth = [{thing.kind for thing in scene.objects} for scene in scenes]
    found = sum(len(kinds & kinds_in(text)) for kinds, text in zip(truth, wrote, strict=True))
    return found / sum(len(kinds) for kinds in truth)
