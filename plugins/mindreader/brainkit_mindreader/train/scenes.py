"""Train the miniature's generator on procedural scenes and their CLIP embeddings.

The network and its adversary are those of the paper at 64 px. A generator trained against a small
CLIP alone learns to fool it, so CLIP takes no part; instead every picture has its original, and two
supervised terms say how far it is from that: in pixels, and in the discriminator's feature maps.
The first quarter knows pixels only; in the last two fifths they count three times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.miniature.scenes import HELD_OUT_SEEDS, TRAIN_SEEDS, captions, images, make_scene
from brainkit.miniature.train.features import Encode, encoded_once, small_store
from brainkit.miniature.train.scores import picture_scores
from brainkit.networks.clip import CLIP_B32
from brainkit.networks.clip.network import load_image_embedding, load_text_embedding
from brainkit.training.export import publish
from brainkit.training.loop import SAVE_EVERY, SAY_EVERY, Losses, every
from brainkit.training.loop import train as train_on
from brainkit_mindreader.captions.targets import bounded
from brainkit_mindreader.generator.discriminator import Discriminator, Judging
from brainkit_mindreader.generator.network import Generator, GeneratorShape
from brainkit_mindreader.generator.objectives import Weights
from brainkit_mindreader.train.draws import Batch, Draw, Draws
from brainkit_mindreader.train.gan import GanTraining
from brainkit_mindreader.train.pictures import as_signed, as_whole
from brainkit_mindreader.train.recipe import Recipe
from brainkit_mindreader.train.state import resume, save

if TYPE_CHECKING:
    from accelerate import Accelerator

SHAPE = GeneratorShape(
    resolution=64,
    z_dim=64,
    w_dim=64,
    f_dims=(64, 64),
    cond_width=96,
    channel_base=1024,
    channel_max=192,
    mapping_layers=2,
)
RECIPE = Recipe(
    batch=32,
    rate=0.002,
    gamma=1.0,
    path_every=0,
    style_mixing=0.0,
    random_z=0.5,
    noise="const",
    condition_noise=(0.0, 0.6),
    ema_kimg=2.0,
    adversary_from=0.25,
    decay_from=0.6,
    paired_late=150.0,
    faster=20.0,
    weights=Weights(heads=0.15, clip=0.0, paired=50.0, matching=5.0),
)
PER_IMAGE = 5
N_JUDGED = 100
PUBLISH_EVERY = 480.0


class Scenes:
    """Scenes with their embeddings: of the picture, and of each caption."""

    def __init__(
        self, seeds: Sequence[int], store: CheckpointStore, cache: Path | None = None
    ) -> None:
        self.pictures = images(seeds)
        self.device = store.device

        def embedding(name: str, load: Any) -> Tensor:
            return encoded_once(name, CLIP_B32, load, seeds, cache, store)

        self.image = embedding("clip_b32_image", lambda: _image(store))
        self.text = embedding("clip_b32_text", lambda: _text(store))

    def draw(self, draws: Draws) -> Batch:
        """Return random scenes, each with one of its captions."""
        rows, which = draws.integers(len(self.image)), draws.integers(PER_IMAGE)
        return self.batch(rows, self.text[rows, which])

    def batch(self, rows: Tensor, text: Tensor) -> Batch:
        """Return the scenes of some rows under a text embedding of each."""
        return Batch(
            as_signed(self.pictures[rows.numpy()]).to(self.device),
            (self.image[rows].float().to(self.device), text.float().to(self.device)),
        )


def _image(store: CheckpointStore) -> Encode:
    embed = load_image_embedding(store, CLIP_B32)
    return lambda seeds: bounded(embed(images(seeds)))


def _text(store: CheckpointStore) -> Encode:
    embed = load_text_embedding(store, CLIP_B32)

    def encode(seeds: Sequence[int]) -> Tensor:
        texts = [text for seed in seeds for text in captions(make_scene(seed))]
        return bounded(embed(texts)).view(len(seeds), PER_IMAGE, -1)

    return encode


def networks(shape: GeneratorShape = SHAPE) -> tuple[Generator, Discriminator]:
    """Make both networks; conditions of length 1 enter with about unit spread."""
    generator = Generator(shape)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            branch = name.split(".")[-2] if "." in name else ""
            if branch in ("pre_0", "pre_01") and name.endswith("weight"):
                parameter.mul_(shape.f_dims[0] ** 0.5)
    return generator, Discriminator(shape, Judging(semantic="sample"))


class Judged:
    """Held-out scenes that a generator is scored on."""

    def __init__(self, store: CheckpointStore, n: int = N_JUDGED) -> None:
        seeds = HELD_OUT_SEEDS[:n]
        scenes = Scenes(seeds, store)
        self.scenes = [make_scene(seed) for seed in seeds]
        self.pictures = scenes.pictures
        self.batch = scenes.batch(torch.arange(n), scenes.text[:, 0])

    @torch.no_grad()
    def pictures_of(self, generator: Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the pictures made of the scenes' embeddings, uint8 (batch, height, width, 3)."""
        conditions = [torch.nn.functional.normalize(each, dim=1) for each in self.batch.conditions]
        z = torch.zeros(len(self.scenes), generator.shape.z_dim, device=conditions[0].device)
        made = generator(z, conditions)
        return as_whole(made)

    def scores(self, generator: Generator) -> dict[str, float]:
        """Score by the referee, pixel correlation and SSIM."""
        from skimage.metrics import structural_similarity

        made = self.pictures_of(generator)
        grey = [each.mean(axis=-1) / 255 for each in (made, self.pictures)]
        scored = picture_scores("true", made, self.pictures, self.scenes)
        scored["true_ssim"] = float(
            np.mean(
                [
                    structural_similarity(
                        a, b, gaussian_weights=True, use_sample_covariance=False, data_range=1.0
                    )
                    for a, b in zip(*grey, strict=True)
                ]
            )
        )
        return {name: round(value, 4) for name, value in scored.items()}


def train(seconds: float, work: Path, folder: Path, accelerator: Accelerator) -> None:
    """Train for so many seconds in all, resuming from `work`; export to `folder` now and then."""
    torch.manual_seed(0)
    store = small_store(str(accelerator.device))
    with accelerator.main_process_first():
        scenes = Scenes(TRAIN_SEEDS, store, work / "features")
    generator, discriminator = networks()
    training = GanTraining(generator, discriminator, RECIPE, accelerator)
    saved = work / "generator.safetensors"
    if saved.exists():
        resume(training, saved)
    judged = Judged(store) if accelerator.is_main_process else None
    _loop(training, scenes.draw, seconds, saved, lambda: _publish(training, judged, work, folder))


def _loop(
    training: GanTraining, draw: Draw, seconds: float, saved: Path, show: Callable[[], None]
) -> None:
    """Train until the time is used up; the main process tells, saves and shows, also at the end."""
    accelerator = training.accelerator
    say_due, save_due, show_due = every(SAY_EVERY), every(SAVE_EVERY), every(PUBLISH_EVERY)

    def progress() -> float:
        return _common(training.elapsed / seconds, accelerator)

    def after(losses: Losses) -> None:
        if not accelerator.is_main_process:
            return
        if say_due():
            told = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            done = training.elapsed / seconds
            print(f"step {training.step} progress {done:.3f} {told}", flush=True)
        if save_due():
            save(training, saved)
        if show_due():
            show()

    train_on(training, progress, lambda done: training.advance(draw, done), after=after)
    if accelerator.is_main_process:
        save(training, saved)
        show()


def _common(progress: float, accelerator: Accelerator) -> float:
    """Return the main process's progress, so that all do the same steps."""
    if accelerator.num_processes == 1:
        return progress
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([progress], device=accelerator.device)))


def _publish(training: GanTraining, judged: Judged | None, work: Path, folder: Path) -> None:
    """Write checkpoint, scores and curve, and a grid of pictures beside the state."""
    from PIL import Image

    assert judged is not None
    averaged = training.averaged
    publish(
        folder,
        averaged.state_dict(),
        averaged.shape.config(),
        curve=work / "generator_curve.jsonl",
        reached={"step": training.step, "seconds": round(training.elapsed)},
        scores=lambda: judged.scores(averaged),
    )
    made = judged.pictures_of(averaged)[:12]
    rows = [np.concatenate(list(each), axis=1) for each in (judged.pictures[:12], made)]
    Image.fromarray(np.concatenate(rows)).save(work / f"generator_{training.step:06d}.png")
