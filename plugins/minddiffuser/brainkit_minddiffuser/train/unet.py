"""Train the miniature's Stable Diffusion denoiser on latents and texts of procedural scenes.

Contexts are what the methods give it: the text tower's last hidden states of one caption or the
mean over all five, cut to 15 tokens or not; a tenth are replaced by those of the empty text. In the
second half contexts are noised a little, because those predicted from brain activity are.

Source: noise schedule and prediction of Stable Diffusion (arXiv 2112.10752).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from brainkit.miniature.scenes import TRAIN_SEEDS
from brainkit.miniature.train.features import small_store
from brainkit.samplers.schedule import alpha_bar, scaled_linear_sigmas
from brainkit.training.crew import Crew
from brainkit.training.denoising import noised
from brainkit.training.loop import Plan, Seconds, Training
from brainkit_minddiffuser.train.evaluate import held_out, scores
from brainkit_minddiffuser.train.features import N_CAPTIONS, Features, features_of

CONFIG: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (48, 96, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 128,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}
RATE = 1.2e-3
BATCH = 48
EMPTY = 0.1
NOISY_FROM, NOISE = 0.5, 0.5
EXPORT_EVERY = 600.0
KINDS = torch.tensor([0.15, 0.6, 0.25])
"""Chances of one caption of 15 tokens, the mean of five of 15 tokens, and of five of all tokens."""


def initialise(net: nn.Module) -> None:
    """Begin with blocks that add nothing."""
    last = ("conv2.", "proj_out.", "conv_out.")
    for name, parameter in net.named_parameters():
        if any(part in name for part in last):
            nn.init.zeros_(parameter)


class Lesson:
    """Draws batches: noised latents with contexts."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self.features = features
        self.device = device
        self.signal = alpha_bar(scaled_linear_sigmas()).to(device)
        self.spread = features.long[:2000].float().std(dim=0).to(device)

    def loss(self, net: nn.Module, n: int, progress: float, generator: torch.Generator) -> Tensor:
        """Return the weighted squared error of the predicted noise for a fresh batch of n."""
        rows = torch.randint(len(self.features.latent), (n,), generator=generator)
        latent = self.features.latent[rows].float().to(self.device)
        batch = noised(latent, self.signal, generator)
        context = self._context(rows, progress, generator)
        return batch.loss(net(batch.latent, batch.timesteps, context).sample)

    def _context(self, rows: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        kind = int(torch.multinomial(KINDS, 1, generator=generator))
        if kind == 2:
            context = self.features.long[rows].float()
        else:
            each = self.features.short[rows].float()
            which = torch.randint(N_CAPTIONS, (len(rows),), generator=generator)
            context = each[torch.arange(len(rows)), which] if kind == 0 else each.mean(dim=1)
        length = context.shape[1]
        context = context.to(self.device)
        if progress > NOISY_FROM:
            level = NOISE * torch.rand(len(rows), 1, 1, generator=generator) ** 2
            noise = level * torch.randn(context.shape, generator=generator)
            context = context + noise.to(self.device) * self.spread[:length]
        dropped = torch.rand(len(rows), 1, 1, generator=generator) < EMPTY
        empty = self.features.empty[:, :length].to(self.device)
        return torch.where(dropped.to(self.device), empty, context)


def train(seconds: float, work: Path, device: torch.device, folder: Path, workers: int) -> None:
    """Train for so many seconds in all, resuming from `work`; export to `folder` now and then."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    store = small_store(str(device))
    lesson = Lesson(features_of(TRAIN_SEEDS, store, work / "features"), device)
    nets = [UNet2DConditionModel(**CONFIG).to(device) for _ in range(workers)]
    initialise(nets[0])
    training = Training(nets[0], Plan(RATE, keep=0.9995), clock=Seconds(seconds))
    saved = work / "unet.safetensors"
    if saved.exists():
        training.resume(saved)

    def share(net: nn.Module, step: int, worker: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step * workers + worker + 2**40)
        loss = lesson.loss(net, BATCH // workers, training.progress, generator)
        return {"loss": loss / workers}

    crew = Crew(nets, share)
    judged = held_out(store)

    def measured() -> dict[str, float]:
        averaged = UNet2DConditionModel(**CONFIG)
        averaged.load_state_dict(training.averaged)
        return scores(averaged.eval(), judged)

    def publish() -> None:
        training.publish(folder, CONFIG, work / "unet_curve.jsonl", measured)

    training.run(crew.gradients, saved, publish=publish, publish_every=EXPORT_EVERY)
