"""The regressor of Mind Reader: a convolutional network from voxels to an embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit import option
from brainkit.errors import DataError, UsageError
from brainkit.regressors.checks import (
    check_betas,
    check_means,
    check_new,
    check_options,
    check_trials,
)

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.parts import FitJournal, Progress

MOST_UNITS = 8192


@dataclass(frozen=True)
class Mapper:
    """A convolutional network along the voxels, trained by gradient descent.

    Each trial is padded with zeros on both sides. Adam with an L2 penalty descends a weighted sum
    of squared error, cosine distance and a contrastive term; the rate falls every `decay_every`
    epochs. A share of the images is held out with all their trials, an image being trials of equal
    targets; the epoch of lowest loss on them gives the weights. Everything random follows from
    `seed`. Of a feature of several units and axes the network predicts them laid out flat, or, with
    `alternatives`, those of the axes after the first.

    Betas decide the device. The weights have the names of the released code.

    Source: Lin et al. 2022, arXiv 2210.01769, and its released code. Unlike there, the held-out
    images are drawn, not the last ones seen, and Adam keeps its moments when the rate falls.
    """

    name = "mapper"
    journalled = True
    alternatives: bool = option(
        False,
        "the feature's first axis holds alternative targets: an epoch draws one for each trial, "
        "held-out trials take the first, and all are predicted alike",
    )
    layers: int = option(1, "convolutions of stride 2", ge=1, le=8)
    blocks: int = option(4, "residual blocks", ge=0)
    hidden: int = option(64, "channels of the convolutions", ge=1)
    fc: int = option(128, "width of the layer that reads all positions", ge=1)
    sigmoid: bool = option(False, "end in a sigmoid, for features in [0, 1]")
    pad: int = option(
        0,
        "numbers of a trial with the zeros, a multiple of 2 to the power of layers; 0: the "
        "smallest; the released weights of subject 1 have 15744",
        ge=0,
    )
    mse: float = option(0.2, "weight of the squared error", ge=0)
    cosine: float = option(0.3, "weight of the cosine distance", ge=0)
    contrast: float = option(0.5, "weight of the contrastive term", ge=0)
    temperature: float = option(0.5, "of the contrastive term's softmax; 0: no softmax", ge=0)
    epochs: int = option(40, "how often every trial is seen", ge=1)
    batch: int = option(128, "trials a step", ge=1)
    rate: float = option(2e-4, "learning rate of Adam", gt=0)
    weight_decay: float = option(1e-5, "L2 penalty of Adam", ge=0)
    decay: float = option(0.8, "factor on the rate", gt=0, le=1)
    decay_every: int = option(10, "epochs between two falls of the rate", ge=1)
    held_out: float = option(
        0.15, "share of the images that choose the epoch; 0: the last epoch is taken", ge=0, lt=1
    )
    patience: int = option(40, "epochs without a lower held-out loss before training stops", ge=1)
    seed: int = option(42, "of first weights, held-out images, batches and targets", ge=0)

    def fit(
        self,
        betas: Tensor,
        feature: Tensor,
        journal: FitJournal | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """Train and give the network's weights with what predicting needs.

        Beside the network's own there are pad int64 (2,), the zeros to the left and to the right,
        and the learning curve: curve.training and curve.held_out, float32 (epochs,), the mean loss
        of each epoch; the latter has no entries where nothing is held out.

        Args:
            betas: float32 (trials, voxels), on the device to train on.
            feature: (trials, *shape), of any float dtype and device; may be mapped from disk.
            journal: keeps the state after every epoch and gives it back.
            progress: called after every step with the steps done and their total.

        Raises:
            DataError: sizes differ, a value is not finite, or the feature is too large.
            UsageError: an option is outside its limits.
        """
        from brainkit_mindreader.mapper.training import MapperTraining

        check_options(self)
        check_trials(betas, feature)
        check_betas(betas)
        targets = self._targets(feature)
        self._check_weights()
        return MapperTraining.begun(self, betas, targets, journal).run(progress)

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Predict float32 (trials, *shape) on the betas' device, in batches.

        Args:
            weights: what `fit` gave.
            betas: (trials, voxels), scaled like the training betas.
            feature: the training feature again; its shape is all that counts.

        Raises:
            DataError: sizes differ or a value is not finite.
        """
        from brainkit_mindreader.mapper.training import network_of, predicted

        network, pad = network_of(weights, self.sigmoid, betas.device)
        check_new(betas, (network.shape.length - sum(pad),))
        embeddings = predicted(network, betas, pad, self.batch)
        shape = feature.shape[1:]
        if self.alternatives and len(shape) > 1:
            return embeddings.reshape(-1, 1, *shape[1:]).repeat(
                1, shape[0], *(1 for _ in shape[1:])
            )
        return embeddings.reshape(-1, *shape)

    def _targets(self, feature: Tensor) -> Tensor:
        """Return a view of the feature as (trials, alternatives, dim)."""
        import torch

        rows = feature.shape[1] if self.alternatives and feature.ndim > 2 else 1
        units = math.prod(feature.shape[1:]) // max(rows, 1)
        if not 1 <= units <= MOST_UNITS:
            raise DataError(
                f"the feature has shape {tuple(feature.shape)}, {units} units for the mapper, "
                f"which makes a map of the voxels for each and can do 1 to {MOST_UNITS}; predict a "
                "smaller feature or use ridge"
            )
        check_means(feature.flatten(1).mean(0, dtype=torch.float32))
        return feature.reshape(len(feature), rows, units)

    def _check_weights(self) -> None:
        if not self.mse + self.cosine + self.contrast:
            raise UsageError(
                "mapper.mse, mapper.cosine and mapper.contrast are all 0, so there is nothing to "
                "train for; set one above 0"
            )
