"""What a run made, read from its files for scores and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainkit.metrics.groups import Reader
from brainkit.parts import directions_of
from brainkit.run.artefact import Artefact
from brainkit.run.captions import printable_caption, read_captions
from brainkit.run.folder import Source
from brainkit.run.noise import predicted_noise
from brainkit.run.readers import reader_of, sight_of
from brainkit.run.score import Outputs, Scorer, feature_scorers
from brainkit.run.shared import Draw, Predictions, Run
from brainkit.run.sources import NULL


def reader(run: Run, reads: str, *, side: tuple[int, ...]) -> Reader:
    """Return the network that a group of scores reads in a run, see `brainkit.metrics.Reader`.

    Args:
        run: says which networks there are.
        reads: `Group.reads` of a group with one network.
        side: (height, width, 3) of the reconstructions.
    """
    return reader_of(sight_of(run), reads, side=side)


def outputs(run: Run, source: Source, made: Mapping[str, Sequence[Artefact]]) -> dict[str, Outputs]:
    """Return the pictures and captions of one source's files, by the name scores know them by.

    Of the null each draw is a source of its own, which stands for all images.
    """
    of_images = pictures(run, made["image"]) if "image" in made else []
    texts = sentences(run, made["caption"]) if "caption" in made else []
    if source != NULL:
        return {source: Outputs(of_images, texts)}
    draws = [
        (
            [of_images[sample][row : row + 1]] if of_images else [],
            [texts[sample][row : row + 1]] if texts else [],
        )
        for row in range(len(run.chosen))
        for sample in range(run.method.samples)
    ]
    names = [NULL, *(f"{NULL} {count}" for count in range(2, len(draws) + 1))]
    return {name: Outputs(*draw, generic=True) for name, draw in zip(names, draws, strict=True)}


def pictures(run: Run, made: Sequence[Artefact]) -> list[NDArray[np.uint8]]:
    """Read the pictures of all draws: for each sample uint8 (images, height, width, 3)."""
    read = [np.asarray(Image.open(each.intact()).convert("RGB")) for each in made]
    return [np.stack(read[first :: run.method.samples]) for first in range(run.method.samples)]


def sentences(run: Run, made: Sequence[Artefact]) -> list[list[str]]:
    """Read the captions of all draws: for each sample one an image."""
    lines = read_captions(made[0].intact())
    samples = range(1, run.method.samples + 1)
    texts = {draw: printable_caption(line["caption"]) for draw, line in lines.items()}
    return [[texts[Draw(image, sample)] for image in run.chosen] for sample in samples]


def prediction_scorers(run: Run, known: Predictions) -> list[Scorer]:
    """Return what scores the predicted features of a run."""
    if len(run.chosen) < 3:
        return []
    rows, scorers = run.test_rows(run.chosen), []
    for name in known.features:
        pair = known.features[name], known.decoded[name]
        true, predicted = (file.test().numpy()[rows] for file in pair)
        direction = true.ndim == 2 and name in directions_of(run.method.conditioner)
        flat = (feature.reshape(len(rows), -1) for feature in (true, predicted))
        noise = predicted_noise(run, known, name)
        controls = {
            control: files[name].test().numpy()[rows].reshape(len(rows), -1)
            for control, files in known.controls.items()
        }
        scorers += feature_scorers(name, *flat, direction=direction, noise=noise, controls=controls)
    return scorers
