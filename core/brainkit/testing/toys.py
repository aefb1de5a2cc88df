"""A whole method of toys: parts of a few lines whose answers can be worked out by hand.

Pictures are averaged to 4 x 4 pixels, these are predicted from betas, and the prediction is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint, Condition, Selection, Stimuli
from brainkit.errors import DataError
from brainkit.method import Method
from brainkit.options import option
from brainkit.parts import Gives, Reads
from brainkit.samplers.diffusion import DDIM

if TYPE_CHECKING:
    from torch import Tensor

TOY = Checkpoint(name="toy", source="brainkit.testing.toys.toy_store")


def toy_store(root: Path) -> CheckpointStore:
    """Write the toys' checkpoint (side 4, gain 0.5) below a folder and give the store."""
    import torch
    from safetensors.torch import save_file

    folder = root / TOY.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"side": 4}', encoding="utf-8")
    save_file({"gain": torch.tensor([0.5])}, folder / "model.safetensors")
    return CheckpointStore(root)


@dataclass(frozen=True)
class Thumbnail:
    """The picture averaged to (3, side, side), in [-1, 1] times the loaded gain."""

    name = "thumbnail"
    reads: ClassVar[Reads] = "image"
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = (TOY,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (3, side, side)."""
        side = int(store.config(TOY)["side"])
        return (3, side, side)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli, their sides multiples of `side`, to thumbnails."""
        import torch

        side, gain = int(store.config(TOY)["side"]), store.load(TOY)["gain"]

        def encode(stimuli: Stimuli) -> Tensor:
            pixels = torch.as_tensor(stimuli.images).permute(0, 3, 1, 2).float() / 127.5 - 1
            batch, channels, height, width = pixels.shape
            cut = (batch, channels, side, height // side, side, width // side)
            return pixels.reshape(cut).mean((3, 5)) * gain

        return encode


@dataclass(frozen=True)
class Lengths:
    """The lengths of an image's first and last caption, float32 (batch, 2)."""

    name = "lengths"
    reads: ClassVar[Reads] = "caption"
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = ()

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (2,)."""
        return (2,)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to lengths in letters."""
        import torch

        def encode(stimuli: Stimuli) -> Tensor:
            lengths = [[len(each[0]), len(each[-1])] for each in stimuli.captions]
            return torch.tensor(lengths, dtype=torch.float32).reshape(-1, 2)

        return encode


@dataclass(frozen=True)
class LeastSquares:
    """Ridge regression with an intercept, by the normal equations (X'X + penalty I) W = X'Y."""

    name = "least-squares"
    penalty: float = option(0.1, "penalty on the squared weights", ge=0)

    def fit(self, betas: Tensor, feature: Tensor) -> dict[str, Tensor]:
        """Return {"map": float32 (voxels + 1, targets)}."""
        import torch

        if len(betas) != len(feature):
            raise DataError(f"there are {len(betas)} betas for {len(feature)} rows of the feature")
        x = torch.cat([betas.double(), torch.ones(len(betas), 1)], dim=1)
        gram = x.T @ x + self.penalty * torch.eye(x.shape[1])
        weights = torch.linalg.solve(gram, x.T @ feature.double().flatten(1))
        return {"map": weights.float().contiguous()}

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Predict float32 (trials, *shape)."""
        import torch

        fitted = len(weights["map"]) - 1
        if betas.shape[1] != fitted:
            raise DataError(f"the betas have {betas.shape[1]} voxels, the fitted ones {fitted}")
        x = torch.cat([betas, torch.ones(len(betas), 1)], dim=1)
        return (x @ weights["map"]).reshape(len(betas), *feature.shape[1:])


@dataclass(frozen=True)
class Around:
    """Begins at the predicted thumbnail and denoises as if that were the mean of N(mean, 1)."""

    name = "around"
    needs: ClassVar[tuple[str, ...]] = ("thumbnail",)
    gives: ClassVar[tuple[Gives, ...]] = ("image",)
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = ()

    def load(
        self, store: CheckpointStore
    ) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
        """Return a function from {"thumbnail": (batch, 3, side, side)} to one condition."""
        import torch

        def condition(features: Mapping[str, Tensor]) -> dict[str, Condition]:
            start = features["thumbnail"].clone()

            def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
                return ((latent + sigma**2 * start) / (1 + sigma**2)).float()

            sigmas = torch.logspace(-2, 2, 100)
            return {"image": Condition(denoise=denoise, start=start, sigmas=sigmas, strength=0.5)}

        return condition


@dataclass(frozen=True)
class Enlarged:
    """The thumbnail with the loaded gain undone and every pixel four times as wide and high."""

    name = "enlarged"
    gives: ClassVar[Gives] = "image"
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = (TOY,)

    def load(self, store: CheckpointStore) -> Callable[[Tensor, Sequence[int]], Tensor]:
        """Return a function from thumbnails to uint8 (batch, 4 * side, 4 * side, 3)."""
        import torch

        gain = store.load(TOY)["gain"]

        def decode(latents: Tensor, seeds: Sequence[int]) -> Tensor:
            pixels = ((latents / gain + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
            wide = pixels.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
            return wide.permute(0, 2, 3, 1).contiguous()

        return decode


@dataclass(frozen=True)
class Told:
    """A sentence with the latent's mean and the seed."""

    name = "told"
    gives: ClassVar[Gives] = "caption"
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = ()

    def load(self, store: CheckpointStore) -> Callable[[Tensor, Sequence[int]], list[str]]:
        """Return a function from latents and seeds to sentences."""
        return lambda latents, seeds: [
            f"a mean of {float(each.mean()):.3f} by seed {seed}"
            for each, seed in zip(latents, seeds, strict=True)
        ]


TOYS = Method(
    name="toys",
    summary="Thumbnails from ridge regression",
    source="none: it shows that the program runs",
    encoders={"thumbnail": Thumbnail()},
    regressors={"thumbnail": LeastSquares(penalty=10.0)},
    conditioner=Around(),
    sampler=DDIM(steps=5),
    decoders={"image": Enlarged()},
    selection=Selection(standardise="train"),
)
