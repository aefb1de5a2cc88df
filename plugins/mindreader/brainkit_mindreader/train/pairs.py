"""What stage 2 is trained on: pictures by image id, with the embeddings that mappers predict.

The mappers stay as they are, so every training trial's embeddings are predicted once and kept; from
then on training reads no brain activity. They are predictions for the trials that the mappers were
fitted on, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brainkit.errors import UsageError
from brainkit.parts import rowwise
from brainkit.run import (
    Artefact,
    Predictions,
    Recipe,
    Run,
    one,
    predictions,
    regress,
    write_tensors,
)
from brainkit_mindreader.captions.targets import first_row
from brainkit_mindreader.train.draws import Batch, Draws
from brainkit_mindreader.train.pictures import Pictures, as_signed, training_pictures

FEATURES = ("clip_image", "clip_text")
AT_ONCE = 512


def fitted(run: Run) -> Predictions:
    """Find the mappers that a run with the same settings would use, computing nothing.

    Raises:
        UsageError: they are not there, or were made by other settings.
    """
    looking = run.looking()
    known = predictions(looking)
    if looking.work.computed:
        raise UsageError(
            f"{run.folder.root} has no fitted mappers of these settings (missing: "
            f"{', '.join(looking.work.computed)}); run the stage mappers with the same options"
        )
    return known


def predict_training(run: Run, known: Predictions) -> Artefact:
    """Predict the embeddings of all training trials, unless it is done.

    Writes one float32 (trials, dim) a feature and `image_ids` int32 (trials,).
    """
    stamps = {f"weights/{name}": known.weights[name].stamp for name in FEATURES}
    recipe = Recipe("training embeddings", inputs=stamps)

    def make(artefact: Artefact) -> None:
        tensors = {name: _predicted(run, name, known) for name in FEATURES}
        tensors["image_ids"] = known.trials["train_image_ids"]
        write_tensors(artefact.path, tensors, recipe)

    path = training_folder(run) / "embeddings.safetensors"
    return one(run, Artefact(path, recipe), make)


@torch.no_grad()
def _predicted(run: Run, feature: str, known: Predictions) -> Tensor:
    """Predict a feature's first row for the training trials, in blocks; float32 (trials, dim)."""
    regressor = regress.regression(run, feature, known.trials)
    betas, rows = regress.training(run, feature, known.trials, known.features[feature])
    weights = known.weights[feature].tensors()
    blocks = torch.split(betas, AT_ONCE) if rowwise(regressor.part) else [betas]
    predicted = []
    for block in blocks:
        with run.blame(f"regressor.{feature}", f"predicting {feature}"):
            of_block = regressor.predict(weights, block, rows, betas)
        predicted.append(first_row(of_block).float().cpu())
    return torch.cat(predicted)


def training_folder(run: Run) -> Path:
    """Return the folder of what stage 2 reads and writes."""
    return run.folder.root / "training"


@dataclass(frozen=True)
class TrainingPairs:
    """Draws pictures with the embeddings predicted for one of their trials.

    Attributes:
        pictures: uint8 (images, side, side, 3), by ascending image id.
        rows: int64 (trials,), each trial's picture.
        embeddings: float32 (trials, dim) each, as predicted.
        device: where batches go.
        true: (images, dim) each, the pictures' own embeddings.
        betas: float32 (trials, voxels) each; empty unless mappers are trained.
        mirror: whether half of the pictures are mirrored.
    """

    pictures: Pictures
    rows: Tensor
    embeddings: tuple[Tensor, ...]
    device: torch.device
    true: tuple[Tensor, ...] = ()
    betas: tuple[Tensor, ...] = ()
    mirror: bool = False

    def draw(self, draws: Draws) -> Batch:
        """Return a random trial of the training images for each of the draws."""
        trials = draws.integers(len(self.rows))
        rows = self.rows[trials]
        pictures = as_signed(self.pictures[rows.numpy()])
        if self.mirror:
            turned = (draws.uniform() < 0.5)[:, :, None, None]
            pictures = torch.where(turned, pictures.flip(3), pictures)

        def there(tensors: tuple[Tensor, ...], chosen: Tensor) -> tuple[Tensor, ...]:
            return tuple(each[chosen].float().to(self.device) for each in tensors)

        true = there(self.true, rows)
        return Batch(
            pictures.to(self.device),
            there(self.embeddings, trials),
            clip=true[0] if true else None,
            betas=there(self.betas, trials),
            targets=true,
        )


def training_pairs(
    run: Run, known: Predictions, embeddings: Artefact, side: int, device: torch.device
) -> TrainingPairs:
    """Gather the training images at a side in pixels with all that is known of them."""
    ids = embeddings["image_ids"]
    return TrainingPairs(
        training_pictures(run, side),
        torch.searchsorted(torch.unique(ids), ids),
        tuple(embeddings[name] for name in FEATURES),
        device,
        true=tuple(first_row(known.features[name]["train"]) for name in FEATURES),
    )


def training_betas(run: Run, known: Predictions) -> tuple[Tensor, ...]:
    """Return the training trials' betas, float32 (trials, voxels) each."""
    return tuple(regress.training_betas(run, name, known.trials) for name in FEATURES)


def test_betas(run: Run, known: Predictions) -> tuple[Tensor, ...]:
    """Return the test images' betas, one row an image, float32 (images, voxels) each."""
    return tuple(regress.test_betas(run, name, known.trials) for name in FEATURES)
