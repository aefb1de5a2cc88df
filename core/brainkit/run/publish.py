"""Score a run's reconstructions and captions and write `metrics.json` and `report.html`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainkit.console import aligned
from brainkit.data import Stimuli
from brainkit.errors import BrainkitError, DataError
from brainkit.report import (
    RANDOM_LINE,
    Finding,
    ReportData,
    ReportRow,
    ScoreRow,
    Way,
    metrics_json,
    write_report,
)
from brainkit.run import leaks, maps
from brainkit.run.artefact import Artefact, write_text
from brainkit.run.folder import Source
from brainkit.run.journal import PATH, strip_frames
from brainkit.run.machine import log_versions
from brainkit.run.shared import Predictions, Run, reproduce_command, run_file
from brainkit.run.step import one

if TYPE_CHECKING:
    from brainkit.metrics import Score
    from brainkit.run.score import Order, Scorer

N_SHUFFLES = 5
ENOUGH = 3
"""Images from which on results of one can be shuffled across the others."""
REPORTING = ("metrics", "report")
"""The steps that only tell of the others' files, and are done again when these change."""
SCORING = (*REPORTING, *leaks.STEPS)
"""What may be lacking of a finished run: an earlier brainkit did not look for leaks."""
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
    settings = [run_file(run), log_versions(), list(run.chosen), *run.method.scores]
    if run.networks == "released":
        # Not before: it imports torch, which a run of the miniature that keeps all can do without.
        from brainkit.run import readers

        settings += readers.stamps(run)
    facts = json.dumps(settings, sort_keys=True)
    inputs = {
        "reconstructions": sha256("".join(stamps).encode()).hexdigest()[:16],
        "trials": known.trials.stamp,
        "options and versions": sha256(facts.encode()).hexdigest()[:16],
        "images": run.files["images"],
        "captions": run.files["captions"],
        "leaks": looked.stamp,
    }
    scored = cache(lambda: report_data(run, known, latents, made, leaks.findings(run, looked)))

    def write_metrics(artefact: Artefact) -> None:
        text = json.dumps(metrics_json(scored()), indent=1, ensure_ascii=False)
        write_text(artefact.path, text + "\n")

    def write_page(artefact: Artefact) -> None:
        write_report(scored(), artefact.path)

    scores, page = REPORTING
    one(run, run.artefact(run.folder.metrics, scores, inputs=inputs), write_metrics)
    inputs |= maps.stamps(run)
    return one(run, run.artefact(run.folder.report, page, inputs=inputs), write_page).path


def report_data(
    run: Run, known: Predictions, latents: Made, made: Made, findings: tuple[Finding, ...]
) -> ReportData:
    """Score everything and gather what the report shows."""
    from brainkit.run.score import feature_scorers, scorers

    stimuli = _stimuli(run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        by_source = {source: scorers(run, stimuli, of) for source, of in made.items()}
        brain = [score for scorer in by_source["brain"] for score in scorer(None)]
        of_features = feature_scorers(run, known)
        predicted = [score for scorer in of_features for score in scorer(None)]
        ceilings = {
            score.name: score.mean for scorer in by_source.get("true", ()) for score in scorer(None)
        }
        chances = _chances([*by_source["brain"], *of_features], len(run.chosen))
    facts = known.trials.facts
    told = {each.sentence for each in findings}
    warned = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    return ReportData(
        title=_title(run),
        method=run.method.name,
        subject=f"subj{run.config.subject:02d}",
        n_train=len(run.image_ids[0]),
        n_test=len(run.chosen),
        test_images=run.plan.test_images,
        miniature=run.miniature,
        random=run.networks == "random",
        scores=tuple(_score_row(score, ceilings, chances) for score in [*brain, *predicted]),
        rows=_rows(run, stimuli, latents, made, brain),
        n_shuffles=N_SHUFFLES if chances else 0,
        findings=findings,
        warnings=(
            *(each for each in facts.get("warnings", ()) if each not in told),
            *dict.fromkeys(warned),
        ),
        footnotes=footnotes(run, facts),
        options=dict(run.config.resolved(run.method).options),
        versions=log_versions(),
        command=reproduce_command(run),
        run_toml=run_file(run),
        maps=maps.brain_maps(run),
    )


def _rows(
    run: Run, stimuli: Stimuli, latents: Made, made: Made, brain: Sequence[Score]
) -> tuple[ReportRow, ...]:
    """Return what the report shows of each image."""
    from brainkit.run.score import sentences

    captions = {
        source: sentences(run, of["caption"])[0] for source, of in made.items() if "caption" in of
    }
    walked = latents["brain"].get("image", ())
    return tuple(
        replace(
            _row(run, stimuli, made, captions, index),
            scores={s.name: float(s.per_item[index]) for s in brain if len(s.per_item)},
            way=_way(run, index, walked) if walked else None,
        )
        for index in range(len(run.chosen))
    )


def _title(run: Run) -> str:
    data = "the miniature" if run.miniature else "NSD"
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
        f"Chance: each image is scored against another image's reconstruction, which is the run on "
        f"test betas shuffled across images; {N_SHUFFLES} shuffles."
    )
    return tuple(notes)


def _chances(scorers: Sequence[Scorer], n_images: int) -> dict[str, Any]:
    from brainkit.metrics import chance_levels

    if n_images < ENOUGH:
        return {}

    def score(order: Order) -> list[Score]:
        return [one for scorer in scorers for one in scorer(order)]

    return dict(chance_levels(score, n_images, n_shuffles=N_SHUFFLES))


def _score_row(score: Score, ceilings: Mapping[str, float], chances: Mapping[str, Any]) -> ScoreRow:
    chance = chances.get(score.name)
    return ScoreRow(
        name=score.name,
        value=score.mean,
        sem=score.sem,
        ceiling=ceilings.get(score.name),
        chance_mean=chance.mean if chance else score.chance,
        chance_sd=chance.sd if chance else None,
        n=score.n_defined,
        higher_is_better=score.higher_is_better,
        note=" ".join(score.notes),
    )


def _stimuli(run: Run) -> Stimuli:
    from brainkit.nsd import load_captions, load_stimuli

    captions = load_captions(run.nsd, run.chosen) if "caption" in run.method.decoders else ()
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


def summary(run: Run) -> str:
    """Return what a run prints: the table of scores and which images are test images."""
    written = _written(run.folder.metrics)
    table = _table(written["scores"])
    found = [each["sentence"] for each in written["findings"]]
    lines = [RANDOM_LINE] if run.networks == "random" else []
    lines += [
        *(f"Finding: {each}." for each in found),
        *table,
        *few_images(run),
        f"Test images: {run.plan.test_images}.",
    ]
    return "\n".join(lines)


def _written(metrics: Path) -> Mapping[str, Any]:
    try:
        written = json.loads(metrics.read_text(encoding="utf-8"))
        _table(written["scores"])
        _ = [each["sentence"] for each in written["findings"]]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DataError(f"{metrics} holds no scores; delete it and run again") from error
    return dict(written)


def _table(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the scores of `metrics.json` as lines of text."""
    rows = [["", "brain", "ceiling", "chance"]]
    for each in scores:
        values = (each["value"], each["ceiling"], each["chance"]["mean"])
        rows.append([each["name"], *("-" if v is None else format(v, ".3f") for v in values)])
    missing = [
        f"{each['name']}: {each['note']}"
        for each in scores
        if each["value"] is None and each["note"].startswith("not computed")
    ]
    return [*aligned(rows, right=(1, 2, 3)), *missing]
