"""What stage 2 is trained on: pictures by image id, with the embeddings that mappers predict.

The mappers stay as they are, so every training trial's embeddings are predicted once and kept; from
then on training reads no brain activity. They are predictions for the trials that the mappers were
fitted on, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from brainkit.errors import UsageError
from brainkit.run import Run
from brainkit.run.artefact import Recipe, write_tensors
from brainkit.run.step import Artefact, Work
from brainkit_mindreader.captions.targets import first_row
from brainkit_mindreader.train.draws import Batch, Draws
from brainkit_mindreader.train.pictures import Pictures, as_signed, training_pictures

FEATURES = ("clip_image", "clip_text")
AT_ONCE = 512


@dataclass(frozen=True)
class Fitted:
    """What stage 1 left in the work folder.

    Attributes:
        trials: betas.
        features: true embeddings of images, by name.
        decoded: embeddings predicted for the test images, by name.
    """

    trials: Artefact
    features: dict[str, Artefact]
    decoded: dict[str, Artefact]


def fitted(run: Run) -> Fitted:
    """Find the mappers that a run with the same settings would use, computing nothing.

    Raises:
        UsageError: they are not there, or were made by other settings.
    """
    from brainkit.run import regress as steps

    looking = replace(run, work=Work(run.work.root, lambda text: None, dry=True))
    trials = steps.load(looking)
    features = {name: steps.encode(looking, name) for name in FEATURES}
    decoded = {name: steps.predict(looking, name, trials, features[name]) for name in FEATURES}
    if looking.work.computed:
        raise UsageError(
            f"{run.folder} has no fitted mappers of these settings (missing: "
            f"{', '.join(looking.work.computed)}); run the stage mappers with the same options"
        )
    return Fitted(trials, features, decoded)


def predict_training(run: Run, found: Fitted) -> Artefact:
    """Predict the embeddings of all training trials, unless it is done.

    Writes one float32 (trials, dim) a feature and `image_ids` int32 (trials,).
    """
    stamps = {f"weights/{n}": each.recipe.inputs["weights"] for n, each in found.decoded.items()}
    recipe = Recipe("training embeddings", inputs=stamps)

    def make(artefact: Artefact) -> None:
        from brainkit.run.regress import open_tensors

        tensors = {name: _predicted(run, name, found) for name in FEATURES}
        tensors["image_ids"] = open_tensors(found.trials.path)["train_image_ids"]
        write_tensors(artefact.path, tensors, recipe)

    path = run.folder / "training" / "embeddings.safetensors"
    return run.work.step(path, recipe, make)


@torch.no_grad()
def _predicted(run: Run, feature: str, found: Fitted) -> Tensor:
    """Predict a feature's first row for the training trials, in blocks; float32 (trials, dim)."""
    from brainkit.parts import Sharing, resuming_fit, rowwise
    from brainkit.run import regress as steps

    address = f"regressor.{feature}"
    regressor = run.part(address)
    betas, rows = steps.training_rows(run, feature, found.trials)
    known = steps.feature_rows_of(steps.open_tensors(found.features[feature].path)["train"], rows)
    learned = steps.open_tensors(weights_path(run, feature))
    shared: dict[str, Tensor] = {}
    if isinstance(regressor, Sharing):
        shared = steps.open_tensors(steps.shared_factor(run, feature, found.trials).path)
    journalled = resuming_fit(regressor)
    blocks = [betas] if not rowwise(regressor) else torch.split(betas, AT_ONCE)
    predicted = []
    for block in blocks:
        with run.blame(address, f"predicting {feature}"):
            if shared:
                rows_of_block = regressor.predict_shared(learned, block, known, shared, betas)
            else:
                there = block.to(run.store.device) if journalled else block
                rows_of_block = regressor.predict(learned, there, known)
        predicted.append(first_row(rows_of_block).float().cpu())
    return torch.cat(predicted)


def weights_path(run: Run, feature: str) -> Path:
    """Give where the fitted weights of a feature's mapper lie."""
    return run.folder / "weights" / f"{feature}.safetensors"


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
        """Give a random trial of the training images for each of the draws."""
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
    run: Run, found: Fitted, embeddings: Artefact, side: int, device: torch.device
) -> TrainingPairs:
    """Gather the training images at a side in pixels with all that is known of them."""
    from brainkit.run import regress as steps

    tensors = steps.open_tensors(embeddings.path)
    ids = tensors["image_ids"]
    true = [steps.open_tensors(found.features[name].path)["train"] for name in FEATURES]
    return TrainingPairs(
        training_pictures(run, side),
        torch.searchsorted(torch.unique(ids), ids),
        tuple(tensors[name] for name in FEATURES),
        device,
        true=tuple(first_row(each) for each in true),
    )


def training_betas(run: Run, found: Fitted) -> tuple[Tensor, ...]:
    """Give the training trials' betas, float32 (trials, voxels) each."""
    from brainkit.run.regress import training_rows

    return tuple(training_rows(run, name, found.trials)[0] for name in FEATURES)


def test_betas(run: Run, found: Fitted) -> tuple[Tensor, ...]:
    """Give the test images' betas, one row an image, float32 (images, voxels) each."""
    from brainkit.run.regress import averaged_test

    return tuple(averaged_test(run, name, found.trials) for name in FEATURES)
