"""Score a run's reconstructions and captions and write `metrics.json` and `report.html`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from brainkit.data import Stimuli
from brainkit.errors import BrainkitError, DataError
from brainkit.names import subject_name
from brainkit.papers import NSD
from brainkit.report import (
    RANDOM_LINE,
    SMALL_LINE,
    Finding,
    ReportData,
    ReportRow,
    ScoreRow,
    Way,
    metrics_json,
    read_metrics,
    write_report,
)
from brainkit.report.scores import ENOUGH, INTERVAL, LAYOUT, N_EXCHANGES
from brainkit.run import leaks, maps
from brainkit.run.artefact import Artefact, write_text
from brainkit.run.composition import made_with
from brainkit.run.folder import Source
from brainkit.run.journal import PATH, strip_frames
from brainkit.run.machine import log_versions
from brainkit.run.made import images_made, more_made
from brainkit.run.shared import Predictions, Run, reproduce_command, run_file
from brainkit.run.sources import NULL, control_notes, controls_of, of_source
from brainkit.run.step import one
from brainkit.tables import Block, TextTable

REPORTING = ("metrics", "report")
"""The steps that only tell of the others' files, and are done again when these change."""
SCORING = (*REPORTING, *leaks.STEPS)
"""What may be lacking of a finished run: an earlier brainkit did not look for leaks."""
SHOWN: tuple[Source, ...] = ("brain", "true")
"""Whose outputs the report shows of each image."""
Made = Mapping[Source, Mapping[str, Sequence[Artefact]]]
"""Files by source and output, one a draw."""


def publish(run: Run, known: Predictions, latents: Made, made: Made) -> Path:
    """Score and report unless both files are current; return the path of the report.

    Args:
        run: whose reconstructions.
        known: the files up to the predicted features.
        latents: what was decoded.
        made: pictures and captions.
    """
    looked = leaks.look(run)
    stamps = [file.stamp for of in made.values() for files in of.values() for file in files]
    settings = [LAYOUT, run_file(run), log_versions(), list(run.chosen), *run.method.scores]
    if run.networks == "released":
        # Not before: it imports torch, which a run of the miniature that keeps all can do without.
        from brainkit.run import readers

        settings += readers.stamps(
            readers.sight_of(run),
            pictures="image" in run.method.decoders,
            captions="caption" in run.method.decoders,
        )
    facts = json.dumps(settings, sort_keys=True)
    inputs = {
        "reconstructions": sha256("".join(stamps).encode()).hexdigest()[:16],
        "trials": known.trials.stamp,
        "options and versions": sha256(facts.encode()).hexdigest()[:16],
        "images": run.files["images"],
        "captions": run.files["captions"],
        "leaks": looked.stamp,
    }
    before = _seconds_before(run)
    scored = cache(
        lambda: replace(
            report_data(run, known, latents, made, leaks.findings(run, looked)),
            timings={**before, **run.work.seconds},
        )
    )

    def write_metrics(artefact: Artefact) -> None:
        text = json.dumps(metrics_json(scored()), indent=1, ensure_ascii=False)
        write_text(artefact.path, text + "\n")

    def write_page(artefact: Artefact) -> None:
        write_report(scored(), artefact.path)

    scores, page = REPORTING
    one(run, run.artefact(run.folder.metrics, scores, inputs=inputs), write_metrics)
    inputs |= maps.stamps(run, known.weights)
    return one(run, run.artefact(run.folder.report, page, inputs=inputs), write_page).path


def _seconds_before(run: Run) -> dict[str, float]:
    """Return how long steps took whose files an earlier process made and are kept."""
    try:
        steps = read_metrics(run.folder.metrics)["steps"]
    except DataError:
        return {}
    return {step: seconds for step, seconds in steps.items() if step in run.work.kept}


def report_data(
    run: Run, known: Predictions, latents: Made, made: Made, findings: tuple[Finding, ...]
) -> ReportData:
    """Score everything and gather what the report shows."""
    stimuli, facts = _stimuli(run), known.trials.facts
    scores, warned = _scored(run, known, made, stimuli)
    told = {each.sentence for each in findings}
    return ReportData(
        title=_title(run),
        method=run.method.name,
        subject=subject_name(run.config.subject),
        n_train=len(run.image_ids[0]),
        n_test=len(run.chosen),
        test_images=run.plan.test_images,
        miniature=run.miniature,
        random=run.networks == "random",
        small=run.small,
        scores=scores,
        rows=_rows(run, stimuli, latents, made, scores),
        n_shuffles=N_EXCHANGES if len(run.chosen) >= ENOUGH else 0,
        data="miniature" if run.miniature else "nsd",
        test_set=test_set(run),
        preset=run.config.preset_of(run.method),
        samples=run.method.samples,
        seed=run.config.seed,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        findings=findings,
        warnings=(
            *(each for each in facts.get("warnings", ()) if each not in told),
            *warned,
        ),
        footnotes=(*footnotes(run, facts), *control_notes(known)),
        options=dict(run.config.resolved(run.method).options),
        versions={**log_versions(), **made_with(run.method, run.registry)},
        command=reproduce_command(run),
        run_toml=run_file(run),
        maps=maps.brain_maps(run, known.weights),
        papers=(*run.method.papers, *(() if run.miniature else (NSD,))),
    )


def _scored(
    run: Run, known: Predictions, made: Made, stimuli: Stimuli
) -> tuple[tuple[ScoreRow, ...], tuple[str, ...]]:
    """Return the scores and what was warned of meanwhile."""
    from brainkit.run.outputs import outputs, prediction_scorers
    from brainkit.run.readers import sight_of
    from brainkit.run.rows import collected, score_rows
    from brainkit.run.score import Outputs, output_scorers

    with collected() as warned:
        by_source: dict[str, Outputs] = {}
        for source, of in made.items():
            by_source |= outputs(of_source(run, source), source, of)
        who = f"{run.method.name}: scores"
        scorers = output_scorers(sight_of(run), stimuli, by_source, who=who)
        scorers += prediction_scorers(run, known)
        nulls = [source for source in {NULL: None, **by_source} if source.startswith(NULL)]
        scores = score_rows(scorers, len(run.chosen), nulls=nulls, controls=controls_of(run))
    return scores, tuple(warned)


def _rows(
    run: Run, stimuli: Stimuli, latents: Made, made: Made, scores: Sequence[ScoreRow]
) -> tuple[ReportRow, ...]:
    """Return what the report shows of each image."""
    from brainkit.run.outputs import sentences

    captions = {
        source: sentences(run, of["caption"])[0]
        for source, of in made.items()
        if "caption" in of and source in SHOWN
    }
    walked = latents["brain"].get("image", ())
    return tuple(
        replace(
            _row(run, stimuli, made, captions, index),
            scores={
                score.name: score.per_image[index]
                for score in scores
                if score.per_image and score.group != "features"
            },
            way=_way(run, index, walked) if walked else None,
        )
        for index in range(len(run.chosen))
    )


def test_set(run: Run) -> str:
    """Return what tells the scored images apart from any others: a hash of pictures and ids."""
    return test_set_of(run.files["images"], run.chosen)


def test_set_of(fingerprint: str, image_ids: Sequence[int]) -> str:
    """Return what tells images apart from any others: a hash of their pictures' and their ids."""
    text = json.dumps([fingerprint, list(image_ids)])
    return sha256(text.encode()).hexdigest()[:16]


def _title(run: Run) -> str:
    data = "the miniature" if run.miniature else run.dataset or "NSD"
    unusual = run.networks != ("miniature" if run.miniature else "released")
    return f"{run.method.name} on {data}" + f" with {run.networks} weights" * unusual


def few_images(run: Run) -> list[str]:
    """Return a sentence with the scores that so few images do not have; none of three or more."""
    n_images = len(run.chosen)
    if n_images >= ENOUGH:
        return []
    lacking = f"for chance levels and scores of predicted features (from {ENOUGH} images on)"
    if n_images == 2:
        return [f"2 images are too few {lacking}; choose more with --images."]
    cider = " CIDEr of 1 image is always 0." if "caption" in run.method.decoders else ""
    return [
        "1 image is too few for identification and whatever else compares images (from 2 on), and "
        f"{lacking}; choose more with --images.{cider}"
    ]


def footnotes(run: Run, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a reader has to know to compare the numbers."""
    notes = list(run.method.footnotes)
    preset = run.config.preset_of(run.method)
    if preset != "paper":
        notes.append(
            f"Run with the method's preset {preset!r}, not the paper's settings; "
            f"`brainkit show {run.method.name}` lists what it sets."
        )
    sessions = facts.get("sessions", [])
    notes.append(
        f"{len(sessions)} sessions, {len(run.image_ids[0])} training images, "
        f"{len(run.image_ids[1])} test images of which {len(run.chosen)} are scored."
    )
    notes += more_made(len(images_made(run.folder) - set(run.chosen)))
    notes += few_images(run)
    if run.method.selection.repeats == "single":
        notes.append(
            "Training rows are single trials: what a regressor estimates by leaving trials out "
            "still sees other presentations of the same image. Test trials of an image are "
            "averaged, since one image gets one reconstruction."
        )
    if run.method.samples > 1:
        notes.append(
            f"{run.method.samples} samples of each image are drawn and all are scored: an image's "
            "value is their mean, identification by target averages their correlations before it "
            "compares. Pictures and captions shown large are the first sample's."
        )
    notes.append(
        "Exchange: each image is scored against another image's reconstruction, which is the run "
        "on test betas shuffled across images. Intervals are BCa bootstrap over images, "
        "of Fréchet distances by the delta method."
    )
    return tuple(notes)


def _stimuli(run: Run) -> Stimuli:
    from brainkit.nsd import load_captions, load_stimuli

    told = "caption" in run.method.decoders and run.captioned
    captions = load_captions(run.nsd, run.chosen) if told else ()
    ids = np.asarray(run.chosen, np.int32)
    return Stimuli(load_stimuli(run.nsd, run.chosen), captions, ids)


def _row(
    run: Run, stimuli: Stimuli, made: Made, captions: Mapping[Source, list[str]], index: int
) -> ReportRow:
    """Return what was made of one of the chosen images, beside what it is."""
    samples = slice(index * run.method.samples, (index + 1) * run.method.samples)

    def pictures(source: Source) -> list[Path]:
        return [file.path for file in made.get(source, {}).get("image", ())[samples]]

    brain = pictures("brain")
    return ReportRow(
        image_id=run.chosen[index],
        stimulus=stimuli.images[index],
        ceiling=next(iter(pictures("true")), None),
        brain=next(iter(brain), None),
        others=tuple(brain[1:]),
        captions=stimuli.captions[index] if stimuli.captions else (),
        ceiling_caption=captions["true"][index] if "true" in captions else None,
        brain_caption=captions["brain"][index] if "brain" in captions else None,
    )


def _way(run: Run, index: int, latents: Sequence[Artefact]) -> Way | None:
    """Return how a sampler with a journal came to one of the chosen images, if one did."""
    first = index * run.method.samples
    latent, strip = latents[first], run.folder.strip(run.draws[first])
    if f"{PATH}iterations" not in latent or not strip.is_file():
        return None
    iterations = latent[f"{PATH}iterations"].tolist()
    frames = tuple(iterations[frame] for frame in strip_frames(len(iterations)))
    return Way(strip=strip, iterations=frames, losses=tuple(latent[f"{PATH}losses"].tolist()))


def require_no_findings(metrics: Path) -> None:
    """Check that nothing makes the scores of a written `metrics.json` too good.

    Raises:
        BrainkitError: counts what was found.
    """
    found = [each["sentence"] for each in _written(metrics)["findings"]]
    if found:
        raise BrainkitError(
            f"--strict: the report begins with {len(found)} finding{'s' * (len(found) > 1)}, the "
            f"first: {found[0]}; mend what it names, or leave out --strict"
        )


def summary(run: Run) -> list[Block]:
    """Return what a run prints: the table of scores and which images are test images."""
    lines = [RANDOM_LINE] if run.networks == "random" else [SMALL_LINE] * run.small
    *scored, tested = score_blocks(run.folder.metrics)
    more = more_made(len(images_made(run.folder) - set(run.chosen)))
    return [*lines, *scored, *few_images(run), *more, tested]


def score_blocks(metrics: Path) -> list[Block]:
    """Return what a written `metrics.json` tells: findings, scores, which images."""
    written = _written(metrics)
    found = [f"Finding: {each['sentence']}." for each in written["findings"]]
    controlled = [*_controls(written["scores"]), *filter(None, [written.get("signal")])]
    tested = f"Test images: {written['test_images']}."
    return [*found, *_table(written["scores"]), *controlled, tested]


def _written(metrics: Path) -> Mapping[str, Any]:
    written = read_metrics(metrics)
    try:
        _table(written["scores"])
        _ = [each["sentence"] for each in written["findings"]]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{metrics} holds no scores; delete it and run again") from error
    return written


SCORED = ("score", "brain", "95 % interval", "true features", "null", "n", "unit")


def _table(scores: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return the scores of `metrics.json` as a table, and a line for each that is lacking."""
    rows = []
    for each in scores:
        levels = (each[level] or {"value": None} for level in ("true_features", "floor"))
        values = (_decimals(each["value"]), _ends(each["interval"]))
        others = (_decimals(level["value"]) for level in levels)
        arrow = "↑" if each["higher_is_better"] else "↓"
        rows.append([f"{each['name']} {arrow}", *values, *others, str(each["n"]), each["unit"]])
    missing = [
        f"{each['name']}: {' '.join(each['notes'])}"
        for each in scores
        if each["value"] is None and each["notes"][0].startswith("not computed")
    ]
    legend = [f"Intervals: {INTERVAL}."] if any(each["interval"] for each in scores) else []
    return [TextTable(SCORED, rows, right={1, 2, 3, 4, 5}), *legend, *missing]


def _controls(scores: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return what was scored in place of the predictions, a line each, where that was asked for."""
    rows = [
        [f"{each['name']} {'↑' if each['higher_is_better'] else '↓'}", name, *_level(level)]
        for each in scores
        for name, level in each["controls"].items()
    ]
    return [TextTable(("score", "control", "value", "95 % interval"), rows, {2, 3})] * bool(rows)


def _level(level: Mapping[str, Any]) -> tuple[str, str]:
    return _decimals(level["value"]), _ends(level["interval"])


def _decimals(value: float | None) -> str:
    return "-" if value is None else format(value, ".3f")


def _ends(interval: Mapping[str, float] | None) -> str:
    return f"{interval['low']:.3f} to {interval['high']:.3f}" if interval else "-"
