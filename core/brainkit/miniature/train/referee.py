"""Train the referee that scores pictures of the miniature."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainkit.miniature.referee import (
    background_accuracy,
    colour_recall,
    labels_of,
    object_recall,
    referee_network,
)
from brainkit.miniature.scenes import HELD_OUT_SEEDS, TRAIN_SEEDS, images, make_scene
from brainkit.miniature.train.lesson import (
    CHECKPOINTS,
    Lesson,
    Options,
    as_input,
    learn,
    training_pictures,
)
from brainkit.training.export import export
from brainkit.training.loop import Plan

LESSON: Final = Lesson("referee", 1400, 32, Plan(2e-3, least=0.01, keep=0.99, weight_decay=0.02))
WIDTHS: Final = (24, 48, 96, 128, 128)
NOISE: Final = 0.15
"""Largest deviation of the noise added while learning, in units of [-1, 1]."""


def train(options: Options) -> None:
    """Train, and write the checkpoint when the plan is finished."""
    torch.manual_seed(0)
    network = referee_network(WIDTHS)
    pictures = training_pictures()
    labels = labels_of([make_scene(seed) for seed in TRAIN_SEEDS])

    def loss(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        image = _disturbed(as_input(pictures[rows]), generator).to(options.device)
        scores = network(image)
        error = functional.binary_cross_entropy_with_logits(
            scores, labels[rows].to(options.device), reduction="none"
        )
        return {"loss": error.sum(dim=1).mean()}

    if learn(LESSON, network, loss, options):
        finish(network)


def _disturbed(image: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to two pixels and add noise, so that small faults of a picture do not matter."""
    across, down = torch.randint(-2, 3, (2,), generator=generator).tolist()
    moved = functional.pad(image, (2, 2, 2, 2), mode="replicate")
    moved = moved[:, :, 2 + down : 2 + down + 64, 2 + across : 2 + across + 64]
    amount = NOISE * torch.rand(len(image), 1, 1, 1, generator=generator)
    return moved + amount * torch.randn(moved.shape, generator=generator)


def finish(network: nn.Module) -> None:
    """Round to float16, measure on 1,000 held-out scenes and write the checkpoint."""
    network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    scores = measure(network)
    config = {"widths": list(WIDTHS)}
    export(CHECKPOINTS / "referee", network.state_dict(), config=config, metrics=scores)


def measure(network: nn.Module) -> dict[str, Any]:
    """Score the referee on clean held-out pictures."""
    seeds = HELD_OUT_SEEDS[:1000]
    scenes, pictures = [make_scene(seed) for seed in seeds], images(seeds)
    scores = {
        "object_recall": object_recall(network, pictures, scenes),
        "colour_recall": colour_recall(network, pictures, scenes),
        "background_accuracy": background_accuracy(network, pictures, scenes),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    print(scores, flush=True)
    return scores
