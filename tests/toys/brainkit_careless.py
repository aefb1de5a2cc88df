"""Parts that break their promises, one fault at a time, as those of a careless author do."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from brainkit import Condition, hookimpl, option
from brainkit.samplers.diffusion import DDIM


def fault_option():
    return option("none", "which promise is broken")


@dataclass(frozen=True)
class CarelessEncoder:
    """Mean colours, float32 (3, 8, 8)."""

    name = "careless-encoder"
    reads = "image"
    checkpoints = ()
    fault: str = fault_option()

    def shape(self, store):
        if self.fault == "shape raises":
            raise KeyError("side")
        return {"text": "3x8x8", "zero": (3, 0), "float": (3.0, 8, 8)}.get(self.fault, (3, 8, 8))

    def load(self, store):
        import torch

        def encode(stimuli):
            rows = torch.zeros(len(stimuli.images), 3, 8, 8)
            return {
                "flat": rows.flatten(1),
                "half": rows.half(),
                "double": rows.double(),
                "nan": rows + float("nan"),
                "array": rows.numpy(),
                "nothing": None,
                "too few": rows[1:],
                "meta": rows.to("meta"),
            }.get(self.fault, rows)

        return None if self.fault == "no function" else encode


@dataclass(frozen=True)
class CarelessRegressor:
    """The mean."""

    name = "careless-regressor"
    fault: str = fault_option()

    def fit(self, betas, feature):
        import torch

        if self.fault == "exits":
            sys.exit(0)
        if self.fault == "interrupts":
            raise KeyboardInterrupt
        mean = feature.float().mean(0)
        return {
            "learns nothing": None,
            "empty": {},
            "nested": {"mean": {"a": mean}},
            "number": {"mean": 3.0},
            "key": {3: mean},
            "list": [mean],
            "shared": {"mean": mean, "again": mean},
            "sparse": {"mean": torch.eye(3).to_sparse()},
        }.get(self.fault, {"mean": mean})

    def predict(self, weights, betas, feature):
        rows = weights["mean"].repeat(len(betas), 1, 1, 1)
        spoilt = rows.clone()
        spoilt.flatten()[0] = float("nan")
        return {
            "flat": rows.flatten(1),
            "double": rows.double(),
            "one nan": spoilt,
            "infinite": rows + float("inf"),
            "one row": rows[:1],
            "a list": rows.tolist(),
        }.get(self.fault, rows)


@dataclass(frozen=True)
class CarelessConditioner:
    """Points at the predicted features."""

    name = "careless-conditioner"
    needs = ("picture",)
    gives = ("image", "caption")
    checkpoints = ()
    fault: str = fault_option()

    def load(self, store):
        return self.prepare

    def prepare(self, features):
        import torch

        start = features["picture"]
        sigmas = torch.linspace(0.03, 10, 100)

        def denoise(latent, sigma):
            if self.fault == "denoise raises":
                raise ValueError("no such sigma")
            made = {
                "denoise flat": latent.flatten(1),
                "denoise double": latent.double(),
                "denoise nan": latent + float("nan"),
                "denoise nothing": None,
            }
            return made.get(self.fault, start)

        good = Condition(denoise=denoise, start=start, sigmas=sigmas, strength=0.5)
        changed = {
            "descending": {"sigmas": sigmas.flip(0)},
            "no sigmas": {"sigmas": sigmas[:0]},
            "sigma list": {"sigmas": sigmas.tolist()},
            "sigma zero": {"sigmas": sigmas - 0.03},
            "strength 2": {"strength": 2},
            "strength 0": {"strength": 0},
            "strength true": {"strength": True},
            "strength text": {"strength": "half"},
            "start nan": {"start": start + float("nan")},
            "start row": {"start": start[:1]},
            "start double": {"start": start.double()},
            "no denoiser": {"denoise": None},
            "misfit": {"misfit": 3},
        }.get(self.fault, {})
        image = replace(good, **changed)
        return {
            "a list": [image],
            "no caption": {"image": image},
            "a dict": {"image": vars(image), "caption": good},
        }.get(self.fault, {"image": image, "caption": good})


@dataclass(frozen=True)
class CarelessSampler:
    """DDIM in three steps."""

    name = "careless-sampler"
    fault: str = fault_option()

    def sample(self, condition, seeds, progress=None):
        rows = DDIM(steps=3).sample(condition, seeds, progress)
        return {
            "flat": rows.flatten(1),
            "wide": rows.repeat(1, 1, 2, 1),
            "double": rows.double(),
            "nothing": None,
            "too few": rows[1:],
            "infinite": rows + float("inf"),
        }.get(self.fault, rows)


@dataclass(frozen=True)
class CarelessPictures:
    """Grey pictures."""

    name = "careless-pictures"
    gives = "image"
    checkpoints = ()
    fault: str = fault_option()

    def load(self, store):
        import torch

        def decode(latents, seeds):
            rows = torch.full((len(latents), 16, 16, 3), 128, dtype=torch.uint8)
            return {
                "float": rows / 255,
                "channels first": rows.permute(0, 3, 1, 2),
                "too few": rows[1:],
                "empty": rows[:, :0],
                "array": rows.numpy(),
                "list": list(rows),
            }.get(self.fault, rows)

        return decode


@dataclass(frozen=True)
class CarelessSentences:
    """One word."""

    name = "careless-sentences"
    gives = "caption"
    checkpoints = ()
    fault: str = fault_option()

    def load(self, store):
        def decode(latents, seeds):
            rows = ["word"] * len(latents)
            return {
                "too few": rows[1:],
                "one text": "wo",
                "bytes": [b"word"] * len(latents),
                "nothing": None,
                "generator": (row for row in rows),
            }.get(self.fault, rows)

        return decode


@hookimpl
def register_encoders(register):
    register(CarelessEncoder())


@hookimpl
def register_regressors(register):
    register(CarelessRegressor())


@hookimpl
def register_conditioners(register):
    register(CarelessConditioner())


@hookimpl
def register_samplers(register):
    register(CarelessSampler())


@hookimpl
def register_decoders(register):
    register(CarelessPictures())
    register(CarelessSentences())
