"""Score what a program made, and write `metrics.json` and `report.html`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from brainkit.console import Say
from brainkit.data import Stimuli
from brainkit.errors import DataError, UsageError
from brainkit.evaluate.items import ImageSample, T, in_order, normal
from brainkit.evaluate.pictures import Picture, is_pictures, read_draws, read_pictures
from brainkit.evaluate.texts import is_captions, read_captions, read_ids, read_texts
from brainkit.evaluate.truth import Parting, Truth, of_nsd, of_own, references
from brainkit.names import subject_name
from brainkit.report import ReportData, ReportRow, ScoreRow, metrics_json, write_report
from brainkit.report.scores import ENOUGH, N_EXCHANGES
from brainkit.run.artefact import write_text
from brainkit.run.config import RunConfig
from brainkit.run.folder import Folder, held
from brainkit.run.line import chosen_store, made_miniature
from brainkit.run.machine import log_versions, quick_device
from brainkit.run.publish import test_set_of
from brainkit.run.readers import Sight
from brainkit.run.rows import collected, score_rows
from brainkit.run.score import Outputs, output_scorers
from brainkit.run.sources import NULL

FOLDER = "evaluations"
"""Where evaluations lie in a work folder."""
GIVEN = "given"
"""What `--images` says for those that there is something of."""
UNKNOWN = (
    "Another program may have made these outputs. Whether it used statistics of the test images, "
    "images like them in training, or the truth in a choice, was not looked at."
)


@dataclass(frozen=True)
class Request:
    """What is to be scored, and against what.

    Attributes:
        paths: pictures and captions, one each at most, or a folder that holds both as a run's does.
        config: data, weights, images, scores and where results go, as of a run.
        stimuli: pictures of one's own that were shown, in place of NSD's.
        captions: what people wrote of the pictures, in place of COCO's.
        ids: the images' ids or names, in the order of pictures or captions without names.
        array: name of the array of pictures in a file that has several.
        tests: which of a subject's images are test images.
        given: whether to score those images only that there is something of.
        null: pictures or captions, or a folder with both, that the program makes without a brain's
            response; each stands for all images.
    """

    paths: tuple[Path, ...]
    config: RunConfig
    stimuli: Path | None = None
    captions: Path | None = None
    ids: Path | None = None
    array: str | None = None
    tests: Parting = field(default_factory=Parting)
    given: bool = False
    null: Path | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found, before it is written.

    Attributes:
        request: what was asked for.
        truth: what it was held against.
        images: that were scored.
        outputs: what the program made of them.
        nulls: what it makes without a brain's response, each of which stands for all images.
    """

    request: Request
    truth: Truth
    images: tuple[str, ...]
    outputs: Outputs
    nulls: tuple[Outputs, ...] = ()

    @cached_property
    def stimuli(self) -> Stimuli:
        """What was shown."""
        return self.truth.stimuli(self.images, captions=bool(self.outputs.captions))

    @property
    def sight(self) -> Sight:
        """Which networks scores may read."""
        config = self.request.config
        return Sight(
            store=chosen_store(config, quick_device(config.device)),
            networks=config.networks,
            scores=config.scores or (),
            miniature=self.truth.data == "miniature",
            batch_size=config.batch_size,
        )

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all that decides the scores."""
        every = (self.outputs, *self.nulls)
        told = [each.captions for each in every]
        settings = [self.truth.fingerprint, self.images, told, *self._settings]
        digest = sha256(json.dumps(settings, default=str).encode())
        for sample in (sample for each in every for sample in each.pictures):
            digest.update(np.ascontiguousarray(sample).tobytes())
        return digest.hexdigest()[:16]

    @property
    def _settings(self) -> tuple[object, ...]:
        config = self.request.config
        true = self.truth.captions(self.images) if self.outputs.captions else ()
        return config.networks, config.scores, true

    @property
    def name(self) -> str:
        """What its folder and its method are called: the folder or file of the outputs."""
        first = self.request.paths[0]
        inner = first in _parts(first.parent)
        return (first.absolute().parent.name if inner else first.stem) or "outputs"

    def score(self) -> tuple[tuple[ScoreRow, ...], tuple[str, ...]]:
        """Return the scores, and what was warned of meanwhile."""
        with collected() as warned:
            nulls = {f"{NULL} {draw}": each for draw, each in enumerate(self.nulls)}
            sources = {"brain": self.outputs, **nulls}
            scorers = output_scorers(self.sight, self.stimuli, sources)
            scores = score_rows(scorers, len(self.images), nulls=tuple(nulls))
        return scores, tuple(warned)


def evaluate(request: Request, say: Say, command: str = "") -> Folder:
    """Score outputs and return the folder of their `metrics.json` and `report.html`.

    Args:
        request: what is scored, and against what.
        say: shows one line.
        command: that asks for the same again, for the report.

    Raises:
        BrainkitError: one sentence about what is not as it has to be.
    """
    evaluation = read(request, say)
    folder = Folder(request.config.work / FOLDER / f"{evaluation.name}-{evaluation.digest[:8]}")
    say(f"scoring {_count(evaluation)}")
    report = report_of(evaluation, command)
    with held(folder.root, say):
        text = json.dumps(metrics_json(report), indent=1, ensure_ascii=False)
        write_text(folder.metrics, text + "\n")
        write_report(report, folder.report)
    return folder


def _count(evaluation: Evaluation) -> str:
    outputs = evaluation.outputs
    made = [
        f"{len(of)} {what}{'s' * (len(of) > 1)} each"
        for of, what in ((outputs.pictures, "picture"), (outputs.captions, "caption"))
        if of
    ]
    return f"{len(evaluation.images)} images, {' and '.join(made)}"


def read(request: Request, say: Say) -> Evaluation:
    """Read what is to be scored and what it is held against, all of it checked."""
    pictures, captions = _outputs(request.paths)
    ids = None if request.ids is None else read_ids(request.ids)
    truth = _truth(request, say)
    numbered = request.stimuli is None
    several = (request.config.samples or 1) > 1
    shown: dict[ImageSample, Picture] = {}
    told: dict[ImageSample, str] = {}
    if pictures is not None:
        shown = read_pictures(
            pictures, numbered=numbered, several=several, ids=ids, array=request.array
        )
    if captions is not None:
        told = read_captions(captions, numbered=numbered, several=several, ids=ids)
    images = _chosen(request, truth, {item.image for item in (*shown, *told)})

    def ordered(given: Mapping[ImageSample, T], what: str) -> list[list[T]]:
        if not given:
            return []
        samples = request.config.samples
        return in_order(given, images, known=truth.images, what=what, samples=samples)

    outputs = Outputs(
        pictures=[np.stack(each) for each in ordered(shown, f"pictures in {pictures}")],
        captions=ordered(told, f"captions in {captions}"),
    )
    return Evaluation(request, truth, images, outputs, _nulls(request, outputs))


def _nulls(request: Request, outputs: Outputs) -> tuple[Outputs, ...]:
    """Return the draws of the null, pictures and captions each by itself."""
    if request.null is None:
        return ()
    pictures, captions = _outputs([request.null])
    draws: list[Outputs] = []
    if pictures is not None and outputs.pictures:
        read = read_draws(pictures, array=request.array)
        draws += [Outputs(pictures=[each[None]], generic=True) for each in read]
    if captions is not None and outputs.captions:
        draws += [Outputs(captions=[[each]], generic=True) for each in read_texts(captions)]
    if not draws:
        raise UsageError(f"{request.null} has neither pictures nor captions of the kind scored")
    return tuple(draws)


def _outputs(paths: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """Return where pictures and where captions are; a run's folder has both."""
    found: dict[Callable[[Path], bool], Path] = {}
    for path in [each for one in paths for each in _within(one)]:
        kind = is_captions if is_captions(path) else is_pictures
        if not path.exists():
            raise DataError(f"there is no {path}; name what a program made")
        if not kind(path):
            raise UsageError(
                f"{path} is neither pictures nor captions; give a folder of pictures, a file of "
                "arrays (.npy, .npz, .safetensors, .h5) or captions (.jsonl, .csv, .tsv)"
            )
        if kind in found:
            what = "captions" if kind is is_captions else "pictures"
            raise UsageError(f"{found[kind]} and {path} are both {what}; give one of them")
        found[kind] = path
    return found.get(is_pictures), found.get(is_captions)


def _within(path: Path) -> list[Path]:
    return [part for part in _parts(path) if part.exists()] or [path]


def _parts(path: Path) -> tuple[Path, Path]:
    """Return where a run has pictures and captions; other programs may lay out theirs so."""
    folder = Folder(path)
    return folder.pictures("brain"), folder.captions("brain")


def _truth(request: Request, say: Say) -> Truth:
    config = request.config
    if request.stimuli is not None:
        if config.nsd is not None:
            raise UsageError("--nsd and --stimuli are two kinds of data; leave out one")
        truth = of_own(request.stimuli, ids=None, array=None)
    else:
        root = config.nsd if config.nsd is not None else made_miniature(config, say)
        data = "miniature" if config.nsd is None else "nsd"
        truth = of_nsd(root, config.subject, data=data, tests=request.tests)
    if request.captions is None:
        return truth
    return replace(truth, captions=references(request.captions, numbered=request.stimuli is None))


def _chosen(request: Request, truth: Truth, there: set[str]) -> tuple[str, ...]:
    """Return the images to be scored, in order."""
    wanted = request.config.images
    if request.given:
        given = tuple(image for image in truth.images if image in there)
        # Where none is known the first message is about that.
        return given or truth.images
    if wanted is None:
        return truth.images
    if isinstance(wanted, int):
        if wanted > len(truth.images):
            raise UsageError(f"--images is {wanted}, but there are {len(truth.images)} images")
        return truth.images[:wanted]
    named = [normal(each) for each in wanted]
    unknown = [each for each in named if each not in truth.images]
    if unknown:
        raise UsageError(
            f"--images has {', '.join(unknown[:5])}, not among the {len(truth.images)} images "
            f"(such as {', '.join(truth.images[:3])})"
        )
    return tuple(image for image in truth.images if image in named)


def report_of(evaluation: Evaluation, command: str) -> ReportData:
    """Score everything and gather what the report shows."""
    request, truth = evaluation.request, evaluation.truth
    scores, warned = evaluation.score()
    own, outputs = request.stimuli is not None, evaluation.outputs
    images = evaluation.images
    return ReportData(
        title=f"{evaluation.name} on {_data_name(truth, own)}",
        method=evaluation.name,
        subject="" if own else subject_name(request.config.subject),
        n_train=truth.n_train,
        n_test=len(images),
        test_images=truth.about,
        miniature=truth.data == "miniature",
        scores=scores,
        rows=_rows(evaluation, scores),
        n_shuffles=N_EXCHANGES if len(images) >= ENOUGH else 0,
        data=truth.data,
        test_set=test_set_of(truth.fingerprint, truth.ids(images)),
        samples=max(len(outputs.pictures), len(outputs.captions)),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        findings=truth.findings(images),
        warnings=warned,
        footnotes=_footnotes(truth, images),
        options={} if own or request.tests.named else {"selection.split": request.tests.split},
        versions=log_versions(),
        command=command,
    )


def _data_name(truth: Truth, own: bool) -> str:
    return truth.data if own else "the miniature" if truth.data == "miniature" else "NSD"


def _footnotes(truth: Truth, images: Sequence[str]) -> tuple[str, ...]:
    notes = [UNKNOWN, f"{len(truth.images)} images, of which {len(images)} are scored."]
    ids = truth.ids(images)
    if [str(each) for each in ids] != [*images]:
        first = ", ".join(
            f"{number} is {name}" for number, name in zip(ids[:5], images, strict=False)
        )
        notes.append(f"Images have names; their numbers here count them in order: {first}.")
    return tuple(notes)


def _rows(evaluation: Evaluation, scores: Sequence[ScoreRow]) -> tuple[ReportRow, ...]:
    outputs, shown = evaluation.outputs, evaluation.stimuli
    return tuple(
        ReportRow(
            image_id=image,
            stimulus=shown.images[row],
            brain=outputs.pictures[0][row] if outputs.pictures else None,
            others=tuple(sample[row] for sample in outputs.pictures[1:]),
            captions=shown.captions[row] if shown.captions else (),
            brain_caption=outputs.captions[0][row] if outputs.captions else None,
            scores={each.name: each.per_image[row] for each in scores if each.per_image},
        )
        for row, image in enumerate(evaluation.truth.ids(evaluation.images))
    )
