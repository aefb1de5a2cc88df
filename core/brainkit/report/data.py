"""What a report is made from, and the same content for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.papers import Paper
from brainkit.report.controls import signal
from brainkit.report.scores import LAYOUT, ScoreRow, finite, score_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = Path | bytes | NDArray[np.uint8]
else:
    Picture = object

MINIATURE_LINE = (
    "Simulated data: the miniature subject, not a human brain. "
    "These scores say whether the program works, not how well it decodes people."
)
SMALL_LINE = (
    "Small networks: the miniature's, trained on small drawings, read data of your own here. "
    "These scores say whether the program works, not how well it decodes these data."
)
RANDOM_LINE = (
    "Random weights: the networks have their true sizes but were never trained. "
    "Pictures, captions and scores mean nothing; only time and memory do."
)


@dataclass(frozen=True)
class Finding:
    """What makes scores too good, or could not be ruled out; it heads the report.

    Attributes:
        kind: "duplicates", "near-duplicates", "test-statistics" or "ground-truth".
        severity: "leak" is certain, "doubt" is to be looked at, "unchecked" could not be looked at.
        sentence: for people, without a full stop.
        ids: of the test images it is about; empty when it is about all.
    """

    kind: str
    severity: str
    sentence: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """How a sampler of many iterations came to its picture.

    Attributes:
        strip: the frames it kept, side by side from the first to the last.
        iterations: each frame's iteration.
        losses: the loss before every iteration.
    """

    strip: Picture
    iterations: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportRow:
    """One test image.

    Pictures are files, encoded bytes (png, jpeg) or uint8 (height, width, 3). What a method does
    not give stays None.

    Attributes:
        image_id: 0-based row of the NSD picture array.
        stimulus: the picture that was shown.
        ceiling: reconstruction from the true features.
        brain: reconstruction from the brain.
        captions: the true ones.
        ceiling_caption: decoded from the true features.
        brain_caption: decoded from the brain.
        scores: value per metric of the reconstruction and caption from the brain; NaN if undefined.
        way: how the reconstruction from the brain was refined, if it was.
        others: further reconstructions from the brain, shown small.
    """

    image_id: int
    stimulus: Picture | None = None
    ceiling: Picture | None = None
    brain: Picture | None = None
    captions: tuple[str, ...] = ()
    ceiling_caption: str | None = None
    brain_caption: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    way: Way | None = None
    others: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """An extra picture with a heading and a sentence."""

    title: str
    picture: Picture
    text: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class BrainMap:
    """Where in the brain a feature is read.

    Attributes:
        feature: its name.
        picture: slices through the map.
        text: what the numbers are, their mean and maximum.
        regions: names and means of the regions that carry most, 1 being the average voxel.
        flatmap: the map on the flattened cortex, where there is one.
    """

    feature: str
    picture: Picture
    text: str
    regions: tuple[tuple[str, float], ...] = ()
    flatmap: Picture | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """Everything a report shows; the runner fills it.

    Attributes:
        title: heading of the page.
        method: name of the method.
        subject: e.g. "subj01".
        n_train: training images.
        n_test: test images.
        test_images: which images those are taken from and how many, e.g. "the 1000 shared by all
            subjects"; said below the heading.
        miniature: whether the data are simulated; said in the first line.
        random: whether the networks have random weights; said before everything else.
        small: whether the miniature's networks read other data than the miniature's; likewise.
        scores: metrics in the order to show.
        rows: test images.
        n_shuffles: exchanges of outputs between images behind the levels of exchange.
        data: name of the data, "miniature" or "nsd".
        test_set: tells sets of test images apart by their content; only scores of one set compare.
        preset: of the method's options.
        samples: reconstructions of each image, all scored.
        seed: of all noise.
        date: when it was scored, ISO 8601 in UTC.
        findings: what makes scores too good; said before them.
        warnings: valid but surprising things the run met.
        footnotes: what a reader has to know to compare, e.g. statistics taken over the test set.
        options: address -> value of every option.
        versions: distribution -> version, also of Python.
        command: that makes the same run again.
        run_toml: the run file.
        timings: step -> seconds.
        figures: shown after the images.
        maps: where in the brain features are read, where `brainkit map` drew them.
        papers: what to cite who uses the results.
    """

    title: str
    method: str
    subject: str
    n_train: int
    n_test: int
    miniature: bool
    test_images: str = ""
    random: bool = False
    small: bool = False
    scores: tuple[ScoreRow, ...] = ()
    rows: tuple[ReportRow, ...] = ()
    n_shuffles: int = 0
    data: str = ""
    test_set: str = ""
    preset: str = ""
    samples: int = 1
    seed: int = 0
    date: str = ""
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    run_toml: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    maps: tuple[BrainMap, ...] = ()
    papers: tuple[Paper, ...] = ()


def metrics_json(data: ReportData) -> dict[str, Any]:
    """Return the report's numbers as an object that JSON can hold; undefined values are null.

    docs/evaluation.md explains every key.
    """
    return {
        "layout": LAYOUT,
        **({"note": " ".join(lines)} if (lines := said_first(data)) else {}),
        **({"weights": "random"} if data.random else {}),
        "findings": [asdict(each) for each in data.findings],
        "title": data.title,
        "method": data.method,
        "preset": data.preset,
        "subject": data.subject,
        "data": data.data,
        "test_set": data.test_set,
        "test_images": data.test_images,
        "n_train": data.n_train,
        "n_test": data.n_test,
        "samples": data.samples,
        "seed": data.seed,
        "date": data.date,
        "seconds": sum(data.timings.values()),
        "n_exchanges": data.n_shuffles,
        "scores": [score_json(row) for row in data.scores],
        **({"signal": said} if (said := signal(data.scores)) else {}),
        "images": [
            {"image_id": int(row.image_id), **_pixels(row), **_texts(row)} for row in data.rows
        ],
        "warnings": list(data.warnings),
        "footnotes": list(data.footnotes),
        "options": {address: _plain(value) for address, value in data.options.items()},
        "versions": dict(data.versions),
        "command": data.command,
        "steps": {step: finite(seconds) for step, seconds in data.timings.items()},
        "papers": [{"text": paper.text(), "url": paper.url} for paper in data.papers],
    }


def said_first(data: ReportData) -> tuple[str, ...]:
    """Return what a reader has to know before any number or picture."""
    lines = (
        (RANDOM_LINE, data.random),
        (MINIATURE_LINE, data.miniature),
        (SMALL_LINE, data.small),
    )
    return tuple(line for line, true in lines if true)


def _pixels(row: ReportRow) -> dict[str, str]:
    """Return a hash of the stimulus, where its pixels are at hand."""
    shown = row.stimulus
    if shown is None or isinstance(shown, Path | bytes):
        return {}
    return {"picture": sha256(shown.tobytes()).hexdigest()[:16]}


def _texts(row: ReportRow) -> dict[str, str]:
    texts = {"caption": row.brain_caption, "caption_from_true_features": row.ceiling_caption}
    return {name: text for name, text in texts.items() if text is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value)
