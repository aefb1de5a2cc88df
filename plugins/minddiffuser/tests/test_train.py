"""The denoiser's training: what a batch is made of, its loss, and an untrained network."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from brainkit.samplers.schedule import alpha_bar, scaled_linear_sigmas
from brainkit.training.crew import Crew
from brainkit.training.denoising import GAMMA
from brainkit_minddiffuser.train.features import Features
from brainkit_minddiffuser.train.unet import CONFIG, Lesson, initialise


def few_features() -> Features:
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw).half()

    return Features(
        latent=normal(9, 4, 16, 16),
        short=normal(9, 5, 15, 128),
        long=normal(9, 32, 128),
        empty=normal(1, 32, 128).float(),
    )


class Said(nn.Module):
    """Answers with the same everywhere and remembers what it was asked."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.tensor(answer))
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, latent: Tensor, timesteps: Tensor, context: Tensor) -> Said:
        self.asked.append((latent, timesteps, context))
        self.sample = self.answer.expand_as(latent)
        return self


def test_the_loss_of_answering_nothing_is_the_weight_of_each_level() -> None:
    lesson, net = Lesson(few_features(), torch.device("cpu")), Said(0.0)
    draw = torch.Generator().manual_seed(1)
    found = sum(lesson.loss(net, 48, 0.0, draw).item() for _ in range(40)) / 40
    signal = alpha_bar(scaled_linear_sigmas())
    ratio = signal / (1 - signal)
    # Noise has a mean square of 1, and levels are drawn evenly.
    assert abs(found - (ratio.clamp(max=GAMMA) / ratio).mean().item()) < 0.02


def test_contexts_are_texts_of_both_lengths_or_the_empty_text() -> None:
    features = few_features()
    lesson, net = Lesson(features, torch.device("cpu")), Said(0.0)
    draw = torch.Generator().manual_seed(2)
    for _ in range(60):
        lesson.loss(net, 8, 0.0, draw)
    contexts = [context for _, _, context in net.asked]
    assert {each.shape[1] for each in contexts} == {15, 32}
    short = torch.cat([each for each in contexts if each.shape[1] == 15])
    empty = (short == features.empty[:, :15]).flatten(1).all(dim=1)
    assert 0.05 < empty.float().mean() < 0.15
    means = features.short.float().mean(dim=1)
    is_mean = (short[:, None] == means[None]).flatten(2).all(dim=2).any(dim=1)
    assert 0.6 < is_mean.float().mean() < 0.9


def test_contexts_are_noised_in_the_second_half_only() -> None:
    features = few_features()
    lesson, net = Lesson(features, torch.device("cpu")), Said(0.0)
    for progress in (0.4, 0.6):
        lesson.loss(net, 9, progress, torch.Generator().manual_seed(3))
    early, late = (context for _, _, context in net.asked)
    assert early.shape == late.shape
    assert not torch.equal(early, late)


def test_a_crew_of_two_gives_the_gradient_of_both_halves() -> None:
    lesson = Lesson(few_features(), torch.device("cpu"))

    def share(net: nn.Module, step: int, worker: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(step * 2 + worker)
        return {"loss": lesson.loss(net, 8, 0.0, draw) / 2}

    nets = [Said(0.3), Said(0.9)]
    losses = Crew(nets, share).gradients(5)
    alone = Said(0.3)
    total = torch.stack([share(alone, 5, worker)["loss"] for worker in range(2)]).sum()
    total.backward()
    assert abs(losses["loss"] - total.item()) < 1e-6
    assert nets[0].answer.grad is not None
    torch.testing.assert_close(nets[0].answer.grad, alone.answer.grad)


def test_an_untrained_denoiser_predicts_nothing() -> None:
    net = UNet2DConditionModel(**CONFIG)
    initialise(net)
    asked = torch.randn(2, 4, 16, 16), torch.tensor([5, 500]), torch.randn(2, 15, 128)
    assert torch.equal(net(*asked).sample, torch.zeros(2, 4, 16, 16))
