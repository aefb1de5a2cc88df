"""Stage 2: fine-tune a generator on the embeddings that the mappers predict.

Source: Lin et al. 2022, arXiv 2210.01769.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from brainkit.checkpoints import WEIGHTS, CheckpointStore
from brainkit.errors import UsageError
from brainkit.run import UNCHANGED, Artefact, Predictions, Run, held, read_recipe
from brainkit.run import Recipe as MadeBy
from brainkit_mindreader.checkpoints import DISCRIMINATOR, GENERATOR
from brainkit_mindreader.generator.discriminator import Semantic
from brainkit_mindreader.generator.views import load_clip_view, load_resnet_view
from brainkit_mindreader.train.course import Course, Length
from brainkit_mindreader.train.gan import GanTraining, Watcher
from brainkit_mindreader.train.joint import Joint
from brainkit_mindreader.train.pairs import (
    FEATURES,
    fitted,
    predict_training,
    test_betas,
    training_betas,
    training_folder,
    training_pairs,
)
from brainkit_mindreader.train.recipe import Recipe
from brainkit_mindreader.train.snapshots import Snapshots, publish
from brainkit_mindreader.train.start import (
    fitted_mappers,
    starting_discriminator,
    starting_generator,
    starting_store,
)
from brainkit_mindreader.train.state import resume
from brainkit_mindreader.train.validation import Validation, validation

if TYPE_CHECKING:
    from accelerate import Accelerator

STEP = "generator training"


@dataclass(frozen=True)
class Tuning:
    """How stage 2 is run.

    Attributes:
        recipe: numbers of the training.
        length: how long it goes on, and how often it shows itself.
        init: a store with the generator to begin with; None for the run's own.
        semantic: how conditions enter the discriminator's logit.
        mirror: whether half of the pictures are mirrored.
        joint: whether the mappers go on learning, which the paper reports to be worse.
        resume: whether a state in the work folder is taken up.
        to: store that the networks are written to at the end; None for the work folder alone.
        take: which snapshot goes there: the last one, or that of least Fréchet distance to the test
            images, which then have had a say.
    """

    recipe: Recipe = field(default_factory=Recipe)
    length: Length = field(default_factory=Length)
    init: Path | None = None
    semantic: Semantic = "sample"
    mirror: bool = False
    joint: bool = False
    resume: bool = True
    to: Path | None = None
    take: Literal["last", "best"] = "last"


def fine_tune(run: Run, tuning: Tuning, accelerator: Accelerator) -> Path:
    """Train until the length is reached; return the folder of the snapshot that is taken.

    Every process calls this; the main one writes.

    Raises:
        BrainkitError: there are no fitted mappers, networks do not fit them, a setting is wrong, or
            a state is of other settings.
    """
    tuning.length.check()
    tuning.recipe.check(accelerator.num_processes)
    known = fitted(run)
    folder = training_folder(run) / ("generator-joint" if tuning.joint else "generator")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _held(folder, run, accelerator):
        with accelerator.main_process_first():
            embeddings = predict_training(run, known)
        training = _training(run, tuning, known, embeddings, accelerator)
        course = _course(run, tuning, known, embeddings, training, folder)
        course.run(tuning.length)
        taken = folder / tuning.take
        if accelerator.is_main_process and tuning.to:
            _publish(taken, tuning, run)
        accelerator.wait_for_everyone()
    return taken


def _held(folder: Path, run: Run, accelerator: Accelerator) -> AbstractContextManager[None]:
    """Keep a second training out of the folder."""
    return held(folder, run.work.say) if accelerator.is_main_process else nullcontext()


def _store(run: Run, tuning: Tuning, device: torch.device) -> CheckpointStore:
    own = starting_store(run.store, tuning.init)
    return replace(own, device=str(device), dtype="float32")


def _training(
    run: Run,
    tuning: Tuning,
    known: Predictions,
    embeddings: Artefact,
    accelerator: Accelerator,
) -> GanTraining:
    """Load every network that takes part."""
    recipe, store = tuning.recipe, _store(run, tuning, accelerator.device)
    dims = tuple(embeddings[name].shape[1] for name in FEATURES)
    generator = starting_generator(store, dims)
    watching = replace(run.store, device=store.device, dtype="float32")
    sees_clip = recipe.weights.clip or recipe.weights.clip_image
    clip: Watcher | None = load_clip_view(watching) if sees_clip else None
    resnet: Watcher | None = load_resnet_view(watching) if recipe.weights.resnet else None
    return GanTraining(
        generator,
        starting_discriminator(store, generator.shape, tuning.semantic, recipe.seed),
        recipe,
        accelerator,
        clip=clip,
        resnet=resnet,
        joint=Joint(fitted_mappers(run, known), recipe, accelerator) if tuning.joint else None,
    )


def _course(
    run: Run,
    tuning: Tuning,
    known: Predictions,
    embeddings: Artefact,
    training: GanTraining,
    folder: Path,
) -> Course:
    """Take up a state if there is one, and gather what the training reads and shows."""
    accelerator, side = training.accelerator, training.generator.shape.resolution
    with accelerator.main_process_first():
        pairs = training_pairs(run, known, embeddings, side, accelerator.device)
    pairs = replace(pairs, mirror=tuning.mirror)
    betas: tuple[Tensor, ...] = ()
    if tuning.joint:
        pairs = replace(pairs, betas=training_betas(run, known))
        betas = tuple(each.to(accelerator.device) for each in test_betas(run, known))
    still = validation(run, known, side) if accelerator.is_main_process else None
    if tuning.take == "best" and still is not None and still.distance is None:
        raise UsageError(
            "--take is 'best', but there is no network that compares pictures; take the last, or "
            "give the Inception's weights"
        )

    def shown() -> Validation:
        assert still is not None
        return still.of(training.joint.predicted(betas)) if training.joint else still

    made_by = made_by_of(run, tuning, embeddings, accelerator)
    saved = folder / "state.safetensors"
    if tuning.resume and saved.exists():
        made_by = resumable(saved, made_by, _store(run, tuning, accelerator.device))
        resume(training, saved)
    snapshots = Snapshots(folder, made_by)
    if accelerator.is_main_process:
        snapshots.cut(training.step)
        run.work.say(f"training from step {training.step} in {folder}")
    return Course(training, pairs.draw, shown, snapshots, saved, run.work.say)


def made_by_of(run: Run, tuning: Tuning, embeddings: Artefact, accelerator: Accelerator) -> MadeBy:
    """Return the recipe of a training: everything that decides its result but its length."""
    store = _store(run, tuning, accelerator.device)
    names = [GENERATOR, *([] if store.miniature else [DISCRIMINATOR])]
    weights = {each.name: store.fingerprint(each)[:16] for each in names if store.has(each)}
    settings = {
        "semantic": tuning.semantic,
        "mirror": tuning.mirror,
        "joint": tuning.joint,
        "precision": accelerator.mixed_precision,
    }
    told = f"Settings({', '.join(f'{name}={value!r}' for name, value in settings.items())})"
    inputs = {"embeddings": embeddings.recipe.stamp, "images": run.files["images"]}
    return MadeBy(STEP, (repr(tuning.recipe), told), weights=weights, inputs=inputs)


def resumable(saved: Path, made_by: MadeBy, store: CheckpointStore) -> MadeBy:
    """Return the recipe of a state that can go on under a recipe of the same settings.

    A store that this very training wrote its networks to counts as what it began with.

    Raises:
        UsageError: the state is of other settings.
    """
    old = read_recipe(saved)
    begun = read_recipe(store.folder(GENERATOR) / WEIGHTS)
    if begun and begun == old:
        made_by = replace(made_by, weights=old["weights"])
    changes = made_by.changes(old)
    if changes != UNCHANGED:
        raise UsageError(
            f"{saved} is of a training with other settings ({changes}); give the same ones to go "
            "on, another --work, or --resume no to begin again in its place"
        )
    return made_by


def _publish(taken: Path, tuning: Tuning, run: Run) -> None:
    assert tuning.to is not None
    publish(taken, tuning.to)
    run.work.say(f"wrote {GENERATOR.name} and {DISCRIMINATOR.name} to {tuning.to}")
