"""Stimuli to features: what regressors learn to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.console import bar, human_size
from brainkit.data import Stimuli
from brainkit.errors import DataError
from brainkit.parts import Reads, files_of
from brainkit.run.artefact import Artefact
from brainkit.run.growing import GrowingTensors, TensorRows
from brainkit.run.records import file_sha256
from brainkit.run.returned import feature_shape, features, loaded
from brainkit.run.shared import Run
from brainkit.run.step import one

if TYPE_CHECKING:
    from brainkit.data import Integers

EMBEDDING = "clip_embedding"
"""What the feature is called that says which pictures look alike."""
ENCODED_AT_ONCE = 8
"""Fixed, because kernels round differently in other batches and features are kept as float16."""
HALVES = {"image": ("images",), "caption": ("captions",), "both": ("images", "captions")}
"""The files of NSD that an encoder depends on, by what it reads."""


def encode(run: Run, feature: str) -> Artefact:
    """Compute one feature of all training and test images, float16 (images, *shape)."""
    address, encoder = f"encoder.{feature}", run.method.encoders[feature]
    inputs = {name: run.files[name] for name in HALVES.get(encoder.reads, HALVES["both"])}
    inputs["image ids"] = run.files["ids"]
    with run.blame(address, f"reading files for {feature}"):
        inputs |= {path.name: hashed(path) for path in files_of(encoder)}
    train, test = run.image_ids
    return _encoded(run, feature, inputs, {"train": train, "test": test})


def embeddings(run: Run, image_ids: Integers) -> Artefact:
    """Compute CLIP's embedding of pictures, "all" float16 (images, dim), whatever side they are on.

    Args:
        run: whose CLIP and data.
        image_ids: int32 (images,), ascending.
    """
    from brainkit.encoders.clip import ClipImage
    from brainkit.nsd.fingerprint import images_fingerprint

    inputs = {
        "images": images_fingerprint(run.nsd),
        "image ids": sha256(image_ids.tobytes()).hexdigest()[:16],
    }
    reading = replace(run, method=replace(run.method, encoders={EMBEDDING: ClipImage()}))
    return _encoded(reading, EMBEDDING, inputs, {"all": image_ids})


def _encoded(
    run: Run, feature: str, inputs: Mapping[str, str], sides: Mapping[str, Integers]
) -> Artefact:
    """Compute a feature of images; `sides` says which, by the name of their tensor."""
    recipe = run.recipe(f"features/{feature}", f"encoder.{feature}", inputs=inputs)
    shape = feature_shape(run, feature)
    tensors = {TensorRows(name, "F16", (len(ids), *shape)): ids for name, ids in sides.items()}
    artefact = Artefact(run.folder.features(feature, recipe.stamp), recipe)
    size = human_size(sum(2 * prod(rows.shape) for rows in tensors))
    return one(run, artefact, lambda file: _fill(run, feature, file, tensors), size=size)


def _fill(
    run: Run, feature: str, artefact: Artefact, tensors: Mapping[TensorRows, Integers]
) -> None:
    """Encode the rows that a file does not have yet, and give it its name."""
    import torch

    address, encoder = f"encoder.{feature}", run.method.encoders[feature]
    growing = GrowingTensors(artefact.path, tuple(tensors), artefact.recipe)
    function = loaded(run, address, f"loading for {feature}")
    read = stimuli_reader(run, encoder.reads)
    done = [growing.done.get(rows.name, 0) for rows in tensors]
    total = sum(rows.shape[0] for rows in tensors)
    with bar(f"encoding {feature}", total, "images", sum(done)) as shown, torch.no_grad():
        for (rows, ids), start in zip(tensors.items(), done, strict=True):
            for begin in range(start, len(ids), ENCODED_AT_ONCE):
                batch = ids[begin : begin + ENCODED_AT_ONCE]
                with run.blame(address, f"encoding {feature}"):
                    encoded = function(read(batch))
                made = features(run, feature, encoded, (len(batch), *rows.shape[1:]), batch)
                growing.write(rows.name, begin, made.cpu().numpy())
                shown.add(len(batch))
    # Before its clusters are known, a run cannot tell which files of betas it reads.
    if run.method.selection.split != "clusters" or run.held_out:
        run.inputs.require_unchanged()
    growing.finish()


def stimuli_reader(run: Run, reads: Reads) -> Callable[[Integers], Stimuli]:
    """Return a function from image ids to what an encoder reads; what it does not stays empty."""
    import numpy as np

    from brainkit.nsd import load_captions, load_stimuli

    captions: dict[int, tuple[str, ...]] = {}
    if reads != "image":
        every = np.concatenate(run.image_ids)
        told = load_captions(run.nsd, every)
        captions = {int(image): of_image for image, of_image in zip(every, told, strict=True)}
    no_images = np.zeros((0, 0, 0, 3), np.uint8)
    return lambda ids: Stimuli(
        images=no_images if reads == "caption" else load_stimuli(run.nsd, ids),
        captions=tuple(captions.get(int(image), ()) for image in ids),
        image_ids=ids,
    )


def hashed(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return file_sha256(path)[:16]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check the path") from error
