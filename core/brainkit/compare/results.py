"""What one `metrics.json` says, as a comparison needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.report import read_metrics

OF_THE_SET = ("identification", "retrieval", "cider")
"""Words in keys of scores whose value of one image depends on which other images are scored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The scores of one subject's pictures and captions.

    Attributes:
        path: of the file they are read from.
        method: name of the method.
        subject: e.g. "subj01".
        data: name of the data, which tells the miniature from NSD.
        settings: what else decides the numbers, name to text: preset, samples, seed, options.
        split: which images are test images; empty if results do not say.
        test_images: the same in words.
        pictures: a hash of what each image id shows, where results say.
        ids: image ids, in the file's order.
        scores: the file's objects by key.
        captions: decoded ones by image id.
        label: what the user calls it; empty when it is named by method and settings.
        note: why the scores say nothing about brains, where they do not.
    """

    path: Path
    method: str
    subject: str
    data: str
    settings: Mapping[str, str]
    split: str
    ids: tuple[int, ...]
    scores: Mapping[str, Mapping[str, Any]]
    captions: Mapping[int, str] = field(default_factory=dict)
    label: str = ""
    note: str = ""
    test_images: str = ""
    pictures: Mapping[int, str] = field(default_factory=dict)

    def values(self, key: str, ids: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the value of each image, NaN if undefined; None if only the whole set has one.

        Values of which the score is not the mean, as of BLEU, are none of the score's.
        """
        entry = self.scores.get(key, {})
        of = entry.get("per_image")
        if not of or entry.get("value") is None:
            return None
        values = np.array([np.nan if value is None else value for value in of], np.float64)
        if not np.isfinite(values).any():
            return None
        if not np.isclose(np.nanmean(values), entry["value"], rtol=1e-4, atol=1e-6):
            return None
        place = {image: row for row, image in enumerate(self.ids)}
        return values[[place[image] for image in ids.tolist()]]

    def value(self, key: str, ids: NDArray[np.int64]) -> float | None:
        """Return a score over some of the images; None if it is not known of just these."""
        entry = self.scores.get(key, {})
        value = entry.get("value")
        if value is None or len(ids) == len(self.ids):
            return None if value is None else float(value)
        if any(word in key for word in OF_THE_SET):
            return None
        values = self.values(key, ids)
        known = values is not None and bool(np.isfinite(values).any())
        return float(np.nanmean(values)) if known and values is not None else None


def read_results(path: Path, label: str = "") -> Results:
    """Read the results that a `metrics.json` holds.

    Raises:
        DataError: it cannot be read, is no such file, or is of an earlier brainkit.
    """
    found = read_metrics(path)
    try:
        options = {name: str(value) for name, value in found["options"].items()}
        settings = {
            **({"preset": found["preset"]} if found["preset"] else {}),
            "samples": str(found["samples"]),
            "seed": str(found["seed"]),
            **options,
        }
        split = options.get("selection.split", "")
        results = Results(
            path=path,
            method=found["method"],
            subject=found["subject"],
            data=found["data"],
            settings=settings,
            split=split if split in ("", "shared") else found["test_images"],
            ids=tuple(int(each["image_id"]) for each in found["images"]),
            scores={each["key"] or each["name"]: each for each in found["scores"]},
            captions=_of_images(found["images"], "caption"),
            label=label,
            note=found.get("note", ""),
            test_images=found["test_images"],
            pictures=_of_images(found["images"], "picture"),
        )
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise DataError(f"{path} lacks what a comparison needs ({error!r}); run again") from error
    wrong = [
        key
        for key, each in results.scores.items()
        if each.get("per_image") and len(each["per_image"]) != len(results.ids)
    ]
    if wrong:
        raise DataError(
            f"{path} has {len(results.ids)} images, but another number of values of {wrong[0]}; "
            "run again"
        )
    return results


def _of_images(images: Sequence[Mapping[str, Any]], key: str) -> dict[int, str]:
    """Return what is told of images by their ids, of those of which it is told."""
    told = {int(each["image_id"]): each.get(key) for each in images}
    return {image: str(text) for image, text in told.items() if text is not None}
