"""A plugin of a single file that breaks promises which only its author can see."""

from dataclasses import dataclass, field

import torch

from brainkit import Checkpoint, hookimpl, option

print("loading")


class Scale:
    """An option's value that does not write itself out."""


@dataclass
class Changing:
    """Not frozen, with options nobody explains."""

    name = "changing"
    width: int = 3
    lengths: list[int] = field(default_factory=list)
    scale: object = option(Scale(), "how wide")

    def fit(self, betas, feature):
        return {"mean": feature.mean(0)}

    def predict(self, weights, betas, feature):
        return torch.zeros(len(betas), *feature.shape[1:])


@dataclass(frozen=True)
class Weighty:
    """Weights that nobody finds."""

    name = "weighty"
    reads = "image"
    checkpoints = (
        Checkpoint("weighty", "a thesis", miniature="brainkit:nowhere"),
        Checkpoint("renamed", "a thesis", release="brainkit.networks.clip.released:CLIP_L14"),
        Checkpoint("kl-f8", "a thesis", release="brainkit.networks.clip.released:CLIP_L14"),
        Checkpoint("lost", "", release="brainkit.nowhere:LOST"),
    )

    def shape(self, store):
        return (1,)

    def load(self, store):
        raise NotImplementedError


@hookimpl
def register_regressors(register):
    register(Changing())


@hookimpl
def register_encoders(register):
    register(Weighty())
