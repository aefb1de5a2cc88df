"""Train the miniature's four-flow denoiser on latents and contexts of procedural scenes.

Both flows take part in every step. Contexts are the image's, a text's, or both with random weights;
a tenth of them are replaced by the neutral contexts that guidance uses. The text is one caption or
the mean of all five. In the second half contexts are noised a little, because those predicted from
brain activity are.

Source: noise schedule and prediction of Versatile Diffusion (arXiv 2211.08332).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from brainkit.miniature.scenes import TRAIN_SEEDS
from brainkit.miniature.train.features import small_store
from brainkit.samplers.schedule import alpha_bar, scaled_linear_sigmas
from brainkit.training.crew import Crew, Share
from brainkit.training.denoising import noised
from brainkit.training.loop import Plan, Seconds, Training
from brainkit_unibrain.networks import Context, FourFlow, FourFlowConfig, Kind
from brainkit_unibrain.train.evaluate import held_out, scores
from brainkit_unibrain.train.features import N_CAPTIONS, Features, features_of

CONFIG = FourFlowConfig(
    model_channels=24,
    channel_mult=(2, 4, 5),
    num_res_blocks=1,
    attention_levels=(False, True, True),
    num_heads=4,
    context_dim=64,
    image_channels=4,
    text_dim=64,
    second_dim=2,
    groups=12,
)
RATE = 1.2e-3
BATCH: dict[Kind, int] = {"image": 48, "text": 64}
NEUTRAL = 0.1
NOISY_FROM, NOISE = 0.5, 0.5
TOKEN_SCALE = 8.0
EXPORT_EVERY = 600.0
Mode = tuple[Kind, ...]
MODES: tuple[Mode, ...] = (("image",), ("text",), ("image", "text"))
MODE_CHANCES = torch.tensor([0.4, 0.2, 0.4])


def initialise(net: FourFlow) -> None:
    """Begin with blocks that add nothing, and attention fit for class tokens of length 1.

    One of the `TOKEN_SCALE`**2 numbers of such a token is about 1 / `TOKEN_SCALE` in size.
    """
    for name, parameter in net.named_parameters():
        final = len(net.stack("image").data_blocks) - 1
        last = ("out_layers.3.", "proj_out.", f"data_blocks.{final}.0.2.")
        if any(part in name for part in last):
            nn.init.zeros_(parameter)
        elif reads_tokens(name):
            with torch.no_grad():
                parameter.mul_(TOKEN_SCALE)


def reads_tokens(name: str) -> bool:
    """Say whether a parameter multiplies context tokens."""
    return name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))


class Lesson:
    """Draws batches: noised latents of one kind, with contexts."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self.features = features
        self.device = device
        self.signal = alpha_bar(scaled_linear_sigmas()).to(device)
        self.neutral = {
            "image": features.no_image.float().to(device),
            "text": features.no_text.float().to(device),
        }
        some = slice(0, 2000)
        self.spread = {
            "image": features.image_tokens[some].float().std(dim=0).to(device),
            "text": features.text_tokens[some, 0].float().std(dim=0).to(device),
        }

    def loss(
        self, net: FourFlow, data: Kind, n: int, mode: Mode, progress: float, generator: Generator
    ) -> Tensor:
        """Return the weighted squared error of the predicted noise for a fresh batch of n."""
        rows = torch.randint(len(self.features.image_latent), (n,), generator=generator)
        which = torch.randint(N_CAPTIONS, (n,), generator=generator)
        batch = noised(self._latent(data, rows, which), self.signal, generator)
        contexts = self._contexts(rows, which, mode, progress, generator)
        return batch.loss(net(batch.latent, batch.timesteps, data, contexts))

    def _latent(self, data: Kind, rows: Tensor, which: Tensor) -> Tensor:
        if data == "image":
            return self.features.image_latent[rows].float().to(self.device)
        return self.features.text_latent[rows, which].float().to(self.device)

    def _contexts(
        self, rows: Tensor, which: Tensor, mode: Mode, progress: float, generator: Generator
    ) -> list[Context]:
        dropped = torch.rand(len(rows), 1, 1, generator=generator) < NEUTRAL
        weight = 0.3 + 0.65 * float(torch.rand((), generator=generator))
        weights = {"image": weight, "text": 1 - weight}
        contexts = []
        for kind in mode:
            tokens = self._tokens(kind, rows, which, generator)
            if progress > NOISY_FROM:
                level = NOISE * torch.rand(len(rows), 1, 1, generator=generator) ** 2
                noise = torch.randn(tokens.shape, generator=generator)
                tokens = tokens + (level * noise).to(self.device) * self.spread[kind]
            neutral = self.neutral[kind]
            tokens = torch.where(dropped.to(self.device), neutral, tokens)
            contexts.append(Context(kind, tokens, weights[kind]))
        return contexts

    def _tokens(self, kind: Kind, rows: Tensor, which: Tensor, generator: Generator) -> Tensor:
        if kind == "image":
            return self.features.image_tokens[rows].float().to(self.device)
        all_five = self.features.text_tokens[rows].float()
        one = all_five[torch.arange(len(rows)), which]
        alone = torch.rand(len(rows), 1, 1, generator=generator) < 0.5
        return torch.where(alone, one, all_five.mean(dim=1)).to(self.device)


def share(lesson: Lesson, training: Training, workers: int) -> Share:
    """Return what one worker does in a step: its part of a batch of each flow."""

    def losses(net: nn.Module, step: int, worker: int) -> dict[str, Tensor]:
        assert isinstance(net, FourFlow)
        chooser = torch.Generator().manual_seed(step)
        picks = torch.multinomial(MODE_CHANCES, len(BATCH), replacement=True, generator=chooser)
        modes = [MODES[pick] for pick in picks.tolist()]
        generator = torch.Generator().manual_seed(step * workers + worker + 2**40)
        return {
            kind: lesson.loss(net, kind, n // workers, mode, training.progress, generator) / workers
            for (kind, n), mode in zip(BATCH.items(), modes, strict=True)
        }

    return losses


def train(seconds: float, work: Path, device: torch.device, folder: Path, workers: int) -> None:
    """Train for so many seconds in all, resuming from `work`; export to `folder` now and then."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    store = small_store(str(device))
    lesson = Lesson(features_of(TRAIN_SEEDS, store, work / "features"), device)
    judged = held_out(store)
    net = FourFlow(CONFIG).to(device)
    initialise(net)
    factor = {True: TOKEN_SCALE, False: 1.0}
    plan = Plan(RATE, faster=lambda name: factor[reads_tokens(name)])
    training = Training(net, plan, clock=Seconds(seconds))
    saved = work / "four_flow.safetensors"
    if saved.exists():
        training.resume(saved)
    others = [FourFlow(CONFIG) for _ in range(workers - 1)]
    crew = Crew([net, *others], share(lesson, training, workers))

    def publish() -> None:
        curve = work / "four_flow_curve.jsonl"
        training.publish(folder, asdict(CONFIG), curve, lambda: scores(judged))

    training.run(crew.gradients, saved, publish=publish, publish_every=EXPORT_EVERY)
