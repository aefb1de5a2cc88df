"""A whole method without pretrained networks: coarse pictures and short sentences, in seconds."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from brainkit import Condition, Selection, hookimpl, option
from brainkit.method import Method
from brainkit.regressors import Ridge
from brainkit.samplers.diffusion import DDIM

SIDE = 8


@dataclass(frozen=True)
class Coarse:
    """Pictures averaged down to 8 x 8, float32 (3, 8, 8) in [-1, 1]."""

    name = "toy-coarse"
    reads = "image"
    checkpoints = ()
    gain: float = option(1.0, "factor on the pixels", gt=0)

    def shape(self, store):
        return (3, SIDE, SIDE)

    def load(self, store):
        import torch

        def encode(stimuli):
            slow()
            pixels = torch.as_tensor(stimuli.images).permute(0, 3, 1, 2).float() / 127.5 - 1
            return torch.nn.functional.adaptive_avg_pool2d(pixels, SIDE) * self.gain

        return encode


@dataclass(frozen=True)
class Length:
    """The mean number of words of an image's captions, float32 (1,)."""

    name = "toy-length"
    reads = "caption"
    checkpoints = ()

    def shape(self, store):
        return (1,)

    def load(self, store):
        import torch

        def encode(stimuli):
            counts = [[float(len(c.split())) for c in each] for each in stimuli.captions]
            return torch.tensor([[sum(each) / len(each)] for each in counts])

        return encode


@dataclass(frozen=True)
class Straight:
    """Points straight at the predicted features."""

    name = "toy-straight"
    needs = ("picture", "length")
    gives = ("image", "caption")
    checkpoints = ()
    strength: float = option(0.5, "share of the schedule", gt=0, le=1)
    words: int = option(1, "bears on captions only", ge=1)

    def recipe(self, output):
        words = f", words={self.words}" if output == "caption" else ""
        return f"Straight(strength={self.strength}{words})"

    def load(self, store):
        import torch

        sigmas = torch.linspace(0.03, 10, 1000)

        def towards(start):
            def denoise(latent, sigma):
                slow()
                return start

            return Condition(denoise=denoise, start=start, sigmas=sigmas, strength=self.strength)

        return lambda given: {
            "image": towards(given["picture"]),
            "caption": towards(given["length"]),
        }


@dataclass(frozen=True)
class Enlarged:
    """Coarse pictures as uint8 (64, 64, 3)."""

    name = "toy-enlarged"
    gives = "image"
    checkpoints = ()

    def load(self, store):
        from brainkit.decoders.autokl import to_uint8

        def enlarge(latents, seeds):
            return to_uint8(latents.repeat_interleave(8, 2).repeat_interleave(8, 3))

        return enlarge


@dataclass(frozen=True)
class Counted:
    """A sentence of as many words as the latent says."""

    name = "toy-counted"
    gives = "caption"
    checkpoints = ()

    def load(self, store):
        return lambda latents, seeds: ["word " * max(1, round(float(each))) for each in latents]


@dataclass(frozen=True)
class Wanderer:
    """Comes nearer to the start in many iterations and keeps a journal of them."""

    name = "toy-wanderer"
    journalled = True
    iterations: int = option(6, "how many", ge=1)

    def sample(self, condition, seeds, progress=None, journal=None):
        import torch

        rows = [self.walk(condition.start[i], seeds[i], journal, i) for i in range(len(seeds))]
        return torch.stack(rows)

    def walk(self, start, seed, journal, row):
        import torch

        state = journal.state(row) if journal else {}
        latent = state.get("latent", torch.zeros_like(start))
        losses = state.get("path.losses", torch.zeros(0))
        frames = state.get("path.latents", latent[None].half())
        for iteration in range(len(losses), self.iterations):
            if iteration == int(os.environ.get("TOY_STOP_AT", "-1")) and row == 1:
                signal.raise_signal(signal.SIGINT)  # as from the keyboard
            losses = torch.cat([losses, (start - latent).square().mean()[None]])
            draw = torch.Generator().manual_seed(seed % 2**32 + iteration)
            noise = 0.01 * torch.randn(start.shape, generator=draw)
            latent = latent + 0.5 * (start - latent) + noise
            frames = torch.cat([frames, latent[None].half()])
            if journal:
                path = {"path.losses": losses, "path.latents": frames}
                places = {"path.iterations": torch.arange(len(frames))}
                journal.keep(row, {"latent": latent, **path, **places})
        return latent


@dataclass(frozen=True)
class Halving:
    """Predicts every second unit by its mean and leaves out the others."""

    name = "toy-halving"

    def fit(self, betas, feature):
        mean = feature.float().mean(dim=0)
        mean.flatten()[1::2] = float("nan")
        return {"mean": mean}

    def predict(self, weights, betas, feature):
        return weights["mean"].expand(len(betas), *weights["mean"].shape).clone()


@dataclass(frozen=True)
class Descending:
    """Descends the squared error of a linear map and keeps a journal of it."""

    name = "toy-descending"
    journalled = True
    steps: int = option(5, "how many", ge=1)

    def fit(self, betas, feature, journal=None, progress=None):
        import torch

        state = journal.state() if journal else {}
        slope = state.get("slope", torch.zeros(betas.shape[1], feature[0].numel()))
        for done in range(int(state.get("done", 0)), self.steps):
            if done == int(os.environ.get("TOY_STOP_AT", "-1")):
                signal.raise_signal(signal.SIGINT)  # as from the keyboard
            error = betas @ slope - feature.float().flatten(1)
            slope = slope - 0.01 * betas.T @ error / len(betas)
            if journal:
                journal.keep({"slope": slope, "done": torch.tensor(done + 1)})
            if progress:
                progress(done + 1, self.steps)
        return {"slope": slope, "began": torch.tensor(float(len(state) > 0))}

    def predict(self, weights, betas, feature):
        return (betas @ weights["slope"]).reshape(-1, *feature.shape[1:])


@dataclass(frozen=True)
class Failing:
    """A regressor that fails."""

    name = "toy-failing"

    def fit(self, betas, feature):
        raise ValueError("the voxels are upside down")

    def predict(self, weights, betas, feature):
        raise AssertionError


def slow() -> None:
    time.sleep(float(os.environ.get("TOY_SECONDS", "0")))


TOY = Method(
    name="toy",
    summary="coarse pictures and short sentences",
    source="none",
    encoders={"picture": Coarse(), "length": Length()},
    regressors={"picture": Ridge(alpha=10.0), "length": Ridge(alpha=10.0)},
    conditioner=Straight(),
    sampler=DDIM(steps=6),
    decoders={"image": Enlarged(), "caption": Counted()},
    selection=Selection(),
    presets={"quick": {"sampler.steps": 3}},
)


@hookimpl
def register_methods(register):
    register(TOY)


@hookimpl
def register_regressors(register):
    register(Failing())
    register(Descending())
    register(Halving())


@hookimpl
def register_samplers(register):
    register(Wanderer())
