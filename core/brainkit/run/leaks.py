"""Look for what makes scores too good: test images seen in training, and choices by the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from brainkit.errors import DataError, enumerated
from brainkit.parts import rowwise, uses_truth
from brainkit.report import Finding
from brainkit.run.artefact import Artefact, write_text
from brainkit.run.encode import EMBEDDING, embeddings
from brainkit.run.shared import Run
from brainkit.run.step import one

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from brainkit.data import Integers
    from brainkit.nsd.twins import Photograph

STEPS = (f"features/{EMBEDDING}", "leaks")
"""What looking is called in a run."""
ALIKE = {"miniature": 0.998, "released": 0.95}
"""Cosine of two pictures' CLIP embeddings from which on they are taken for near-duplicates, by
whose weights CLIP has. docs/evaluation.md says how they were chosen."""


def look(run: Run) -> Artefact:
    """Compare all test images with all training images; the file is shared by methods."""
    import numpy as np

    every = np.sort(np.concatenate(run.image_ids))
    embedded = embeddings(run, every) if _sees(run) else None
    inputs = {
        "images": run.files["images"],
        "captions": run.files["captions"],
        "image ids": run.files["ids"],
        "embeddings": embedded.stamp if embedded else "none",
    }
    recipe = run.recipe(STEPS[-1], inputs=inputs, extra=f"alike={ALIKE.get(run.networks)}")

    def make(artefact: Artefact) -> None:
        rows = embedded["all"].float().numpy() if embedded else None
        twice = photographs(run.nsd, every)
        told = twice if isinstance(twice, str) else [[each.ids, each.how] for each in twice]
        found = {"photographs": told, "nearest": _nearest(run, every, rows)}
        write_text(artefact.path, json.dumps(found) + "\n")

    return one(run, Artefact(run.folder.leaks(recipe.stamp), recipe), make)


def findings(run: Run, artefact: Artefact) -> tuple[Finding, ...]:
    """Return what stands at the head of the report; of pairs, those of the images scored.

    Raises:
        DataError: the file of `look` is damaged.
    """
    try:
        found = json.loads(artefact.intact().read_text(encoding="utf-8"))
        twice = _told(found["photographs"])
        copies = duplicates(twice, run.plan.split, run.image_ids[0], _scored(run))
        of_images = [*copies, *_near(run, found["nearest"], copies)]
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise DataError(
            f"{artefact.path} does not tell which images are alike; delete it and run again"
        ) from error
    return (*of_images, *_declared(run))


def _sees(run: Run) -> bool:
    """Say whether a trained CLIP is there, without torch where all is the miniature's."""
    if run.networks != "released":
        return run.networks == "miniature"
    from brainkit.run.readers import sees, sight_of

    return sees(sight_of(run))


def photographs(root: Path, image_ids: Integers) -> list[Photograph] | str:
    """Return the photographs that are there twice, or why that cannot be told.

    Args:
        root: of the NSD download.
        image_ids: int32 (images,), among which to look.
    """
    from brainkit.nsd.twins import repeated_photographs

    try:
        return repeated_photographs(root, image_ids)
    except DataError as error:
        return str(error)


def duplicates(
    twice: Sequence[Photograph] | str, split: str, train: Integers, scored: Integers
) -> tuple[Finding, ...]:
    """Tell of scored images that are training images under another id.

    Args:
        twice: as `photographs` returns them.
        split: its name.
        train: int (images,), ids of the training images.
        scored: int (images,), ids of the images scored.
    """
    from brainkit.nsd.twins import leak

    if isinstance(twice, str):
        why = f"whether test images are training images was not looked at: {twice}"
        return (Finding("duplicates", "unchecked", why),)
    sentence = leak(twice, split, train, scored)
    trained = set(train.tolist())
    parted = {image for each in twice if trained & {*each.ids} for image in each.ids}
    copied = tuple(sorted(parted & {*scored.tolist()}))
    return (Finding("duplicates", "leak", sentence, copied),) if sentence else ()


def _told(written: Any) -> list[Photograph] | str:
    """Return what the file of `look` says of photographs as `photographs` returned it."""
    from brainkit.nsd.twins import Photograph

    if isinstance(written, str):
        return written
    return [Photograph(tuple(ids), how) for ids, how in written]


def _nearest(run: Run, every: Integers, embedded: NDArray[np.float32] | None) -> Any:
    """Return [test image, the training image most like it, their cosine] of every test image."""
    if embedded is None:
        return None
    import numpy as np
    from sklearn.neighbors import NearestNeighbors

    train, test = (embedded[np.searchsorted(every, ids)] for ids in run.image_ids)
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(train)
    distances, rows = neighbours.kneighbors(test)
    partners = run.image_ids[0][rows[:, 0]]
    pairs = zip(run.image_ids[1], partners, 1 - distances[:, 0], strict=True)
    return [[int(one), int(other), round(float(alike), 5)] for one, other, alike in pairs]


def _near(run: Run, nearest: Any, copies: Sequence[Finding]) -> Iterator[Finding]:
    """Tell of test images that look like a training image, but for copies that were told of."""
    if nearest is None:
        why = "pictures are not judged by random weights"
        if run.networks != "random":
            why = "its weights are not in the store; `brainkit fetch clip-vit-l14` brings them"
        yield Finding(
            kind="near-duplicates",
            severity="unchecked",
            sentence=f"CLIP did not look whether test images resemble training images: {why}",
        )
        return
    told = {image for finding in copies for image in finding.ids}
    chosen, alike = set(run.chosen) - told, ALIKE[run.networks]
    near = [each for each in nearest if each[0] in chosen and each[2] >= alike]
    if near:
        yield Finding(
            kind="near-duplicates",
            severity="doubt",
            sentence=_near_sentence(near, len(run.chosen), alike),
            ids=tuple(each[0] for each in near),
        )


def _near_sentence(near: Sequence[Any], n_scored: int, alike: float) -> str:
    closest = sorted(near, key=lambda each: -each[2])
    named = enumerated([f"{test} (test) and {train} at {cos:.4f}" for test, train, cos in closest])
    which = "1 test image has" if len(near) == 1 else f"{len(near)} test images have"
    return (
        f"{which}, of {n_scored}, a training image that looks alike, with a CLIP cosine of "
        f"{alike} or more: {named}; look at the pairs, their scores may be too good"
    )


def _declared(run: Run) -> Iterator[Finding]:
    """Tell what parts admit of themselves."""
    for address, part in run.method.parts():
        if not rowwise(part):
            yield Finding(
                kind="test-statistics",
                severity="leak",
                sentence=f"{address} ({part.name}) uses statistics of the test images' own betas "
                "or predictions, so one image's result depends on the others",
            )
        if uses_truth(part):
            yield Finding(
                kind="ground-truth",
                severity="leak",
                sentence=f"{address} ({part.name}) chooses by the true image or caption, which no "
                "one who reads a brain has",
            )


def _scored(run: Run) -> Integers:
    import numpy as np

    return np.asarray(run.chosen, np.int32)
