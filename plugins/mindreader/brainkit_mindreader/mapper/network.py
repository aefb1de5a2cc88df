"""The convolutional mapper from voxels to an embedding, with the names of released weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from brainkit.errors import DataError, UsageError
from brainkit_mindreader.generator.sizes import Shaped

# Bytes of the largest map held at once: processors' caches are small, graphics memory is not.
MAP_BYTES = {"cpu": 2**24, "cuda": 2**30}
KERNEL = 4
MOST_LAYERS = 8
MOST_BLOCKS = 256
"""Residual blocks; those of Mind Reader have 4."""


@dataclass(frozen=True)
class MapperShape:
    """Sizes of a mapper.

    Attributes:
        length: padded numbers of a trial, a multiple of 2 to the power of `layers`.
        dim: numbers of the embedding.
        layers: convolutions of stride 2.
        blocks: residual blocks.
        hidden: channels of both.
        fc: width of the layer that reads all positions.
        sigmoid: whether the embedding ends in one, as for targets in [0, 1].
    """

    length: int
    dim: int
    layers: int = 1
    blocks: int = 4
    hidden: int = 64
    fc: int = 128
    sigmoid: bool = False

    @property
    def positions(self) -> int:
        """What is left of the length after the convolutions of stride 2."""
        return self.length >> self.layers

    @classmethod
    def of(cls, weights: Mapping[str, Shaped], sigmoid: bool = False) -> MapperShape:
        """Read the sizes off a state dict; whether there is a sigmoid cannot be seen in one.

        Raises:
            DataError: the tensors are not those of a mapper.
        """
        layers = sum(name.startswith("encoder.") and name.endswith(".0.weight") for name in weights)
        blocks = sum(name.endswith(".net.0.weight") for name in weights)
        layers -= blocks
        if blocks > MOST_BLOCKS:
            raise DataError(
                f"weights of a mapper have at most {MOST_BLOCKS} residual blocks, but there are "
                f"{blocks}; give a mapper's"
            )
        names = f"encoder.{layers + blocks}.weight", "fc.1.weight"
        last, first = (weights[n].shape if n in weights else () for n in names)
        if min(len(last), len(first)) < 2 or not 0 <= layers <= MOST_LAYERS:
            raise DataError(
                f"weights of a mapper have to hold matrices {names[0]} and {names[1]}, but there "
                f"are only {', '.join(sorted(weights)[:4]) or 'none'} and the like; give a mapper's"
            )
        return cls(first[1] << layers, last[0], layers, blocks, last[1], first[0], sigmoid)


class Residual(nn.Module):
    """Three convolutions whose sum with their input is rectified, (batch, hidden, positions)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(hidden, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, hidden, 1),
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Return the block's signal of the same shape."""
        return functional.relu_(self.net(signal) + signal)


class MapperNetwork(nn.Module):
    """Convolutions along the voxels, then for each number of the embedding a row over positions.

    The last convolution of the encoder gives a map (batch, dim, positions); one two-layer network
    that all rows of the map share reads each into a number. The map is by far the largest tensor,
    2 GB for 128 trials of 15,744 numbers; it is made for a few trials at a time, and again in the
    backward pass.

    Source: Lin et al. 2022, arXiv 2210.01769, `fmri_clip_res` of the released code.
    """

    def __init__(self, shape: MapperShape) -> None:
        super().__init__()
        self.shape = shape
        hidden, layers = shape.hidden, []
        for layer in range(shape.layers):
            convolution = nn.Conv1d(hidden if layer else 1, hidden, KERNEL, stride=2, padding=1)
            layers.append(nn.Sequential(convolution, nn.ReLU(inplace=True)))
        blocks = [Residual(hidden) for _ in range(shape.blocks)]
        last = nn.Conv1d(hidden if shape.layers else 1, shape.dim, 1)
        self.encoder = nn.Sequential(*layers, *blocks, last)
        first, second = nn.Conv1d(shape.positions, shape.fc, 1), nn.Conv1d(shape.fc, 1, 1)
        self.fc = nn.Sequential(nn.ReLU(), first, nn.ReLU(), second)

    def forward(self, betas: Tensor) -> Tensor:
        """Return embeddings, float (batch, dim), not of length 1.

        Args:
            betas: padded, float (batch, length), or (length,) for a batch of one.
        """
        signal = self.encoder[:-1](self._as_signal(betas))
        rows = max(1, MAP_BYTES.get(signal.device.type, MAP_BYTES["cpu"]) // self._map_bytes)
        if torch.is_grad_enabled() and len(signal) > rows:
            read = [
                checkpoint(self._read, some, use_reentrant=False, preserve_rng_state=False)
                for some in torch.split(signal, rows)
            ]
        else:
            read = [self._read(some) for some in torch.split(signal, rows)]
        embeddings = torch.cat(read)
        return embeddings.sigmoid() if self.shape.sigmoid else embeddings

    def mapped(self, betas: Tensor) -> Tensor:
        """Return the map before it is rectified, float (batch, dim, positions)."""
        positions: Tensor = self.encoder(self._as_signal(betas))
        return positions

    def _as_signal(self, betas: Tensor) -> Tensor:
        if betas.shape[-1] != self.shape.length:
            raise DataError(
                f"the betas have shape {tuple(betas.shape)}, but the mapper reads "
                f"{self.shape.length} numbers a trial; pad them first"
            )
        return betas.reshape(-1, 1, self.shape.length)

    def _read(self, signal: Tensor) -> Tensor:
        """Read (batch, hidden, positions) into (batch, dim): both layers are matrix products."""
        (last, bias), first, second = map(_product, (self.encoder[-1], self.fc[1], self.fc[3]))
        rows = torch.baddbmm(bias[None, :, None], last.expand(len(signal), -1, -1), signal)
        read = functional.linear(functional.relu_(rows), *first)
        return functional.linear(functional.relu_(read), *second)[..., 0]

    @property
    def _map_bytes(self) -> int:
        return 4 * self.shape.dim * self.shape.positions


def _product(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the matrix and the bias of a convolution of kernel 1."""
    assert isinstance(convolution, nn.Conv1d)
    assert convolution.bias is not None
    return convolution.weight[:, :, 0], convolution.bias


def padding(voxels: int, layers: int, length: int = 0) -> tuple[int, int]:
    """Return how many zeros go to the left and to the right of a trial's voxels.

    Args:
        voxels: numbers of a trial.
        layers: convolutions of stride 2, so that lengths are multiples of 2 to that power.
        length: padded numbers of a trial; 0 takes the smallest.

    Raises:
        UsageError: the length is too small or no multiple.
    """
    step = 1 << layers
    length = length or -(-voxels // step) * step
    if length < voxels or length % step:
        raise UsageError(
            f"mapper.pad is {length}, but {voxels} voxels and {layers} convolutions of stride 2 "
            f"need a multiple of {step} that is {voxels} or more; give one, or 0 for the smallest"
        )
    left = (length - voxels) // 2
    return left, length - voxels - left
