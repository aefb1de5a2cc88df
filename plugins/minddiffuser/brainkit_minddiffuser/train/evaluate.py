"""Score the miniature's denoiser on scenes it never saw, from their true latents and texts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor

from brainkit import Condition
from brainkit.checkpoints import CheckpointStore
from brainkit.decoders.autokl import AutoKLDecoder
from brainkit.miniature.scenes import HELD_OUT_SEEDS, Scene, images, make_scene
from brainkit.miniature.train.scores import picture_scores
from brainkit.samplers.denoisers import from_noise
from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.guidance import guided, stacked
from brainkit.samplers.schedule import scaled_linear_sigmas
from brainkit_minddiffuser.train.features import SHORT, features_of

N_SCENES = 60
GUIDANCE = 5.0


@dataclass(frozen=True)
class HeldOut:
    """Held-out scenes with their latents, the means of their captions and the empty text."""

    scenes: list[Scene]
    pictures: NDArray[np.uint8]
    latent: Tensor
    context: Tensor
    empty: Tensor
    store: CheckpointStore


def held_out(store: CheckpointStore, n_scenes: int = N_SCENES) -> HeldOut:
    """Prepare held-out scenes."""
    seeds = HELD_OUT_SEEDS[:n_scenes]
    features = features_of(seeds, store, None)
    return HeldOut(
        [make_scene(seed) for seed in seeds],
        images(seeds),
        features.latent.float().to(store.device),
        features.short.float().mean(dim=1).to(store.device),
        features.empty[:, :SHORT].to(store.device),
        store,
    )


@torch.no_grad()
def scores(net: UNet2DConditionModel, judged: HeldOut) -> dict[str, float]:
    """Score pictures that begin with the true latent and such that begin with noise."""
    context = stacked(judged.empty, judged.context)

    def predict(latent: Tensor, timesteps: Tensor) -> Tensor:
        noise: Tensor = net(latent, timesteps, context).sample
        return noise

    sigmas = scaled_linear_sigmas().to(judged.store.device)
    denoise = from_noise(guided(predict, GUIDANCE), sigmas)
    near = Condition(denoise=denoise, start=judged.latent, sigmas=sigmas, strength=0.7)
    measured: dict[str, float] = {}
    for name, condition in {"stage1": near, "c_only": replace(near, strength=1.0)}.items():
        latent = DDIM(steps=20, noise_lead=1).sample(condition, range(len(judged.scenes)))
        made = np.asarray(AutoKLDecoder().load(judged.store)(latent, range(len(latent))))
        measured |= picture_scores(name, made, judged.pictures, judged.scenes)
    return {name: round(value, 4) for name, value in measured.items()}
