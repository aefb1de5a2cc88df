"""Score a run's reconstructions and captions and write `metrics.json` and `report.html`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainkit.console import aligned
from brainkit.data import Stimuli
from brainkit.parts import rowwise
from brainkit.report import (
    RANDOM_LINE,
    ReportData,
    ReportRow,
    ScoreRow,
    Way,
    metrics_json,
    write_report,
)
from brainkit.run import maps as importance
from brainkit.run import readers
from brainkit.run.artefact import write_text
from brainkit.run.journal import PATH
from brainkit.run.sample import strip_frames
from brainkit.run.score import Order, Scorer, feature_scorers, scorers, sentences
from brainkit.run.shared import Run, log_versions, reproduce_command, run_file
from brainkit.run.step import Artefact

if TYPE_CHECKING:
    from brainkit.metrics import Score

N_SHUFFLES = 5
Made = Mapping[str, Mapping[str, Sequence[Artefact]]]


def publish(run: Run, trials: Artefact, features: Mapping[str, Artefact], made: Made) -> Path:
    """Score and report unless both files are current; give the path of the report."""
    stamps = [each.recipe.stamp for by in made.values() for row in by.values() for each in row]
    settings = [run_file(run), log_versions(), list(run.chosen), *run.method.scores]
    settings += readers.stamps(run)
    facts = json.dumps(settings, sort_keys=True)
    inputs = {
        "reconstructions": sha256("".join(stamps).encode()).hexdigest()[:16],
        "trials": trials.recipe.stamp,
        "options and versions": sha256(facts.encode()).hexdigest()[:16],
        "images": run.files["images"],
        "captions": run.files["captions"],
    }
    found: list[ReportData] = []

    def data() -> ReportData:
        if not found:
            found.append(report_data(run, trials, features, made))
        return found[0]

    def write_metrics(artefact: Artefact) -> None:
        text = json.dumps(metrics_json(data()), indent=1, ensure_ascii=False)
        write_text(artefact.path, text + "\n")

    def write_page(artefact: Artefact) -> None:
        write_report(data(), artefact.path)

    scores = run.recipe("metrics", inputs=inputs)
    page = run.recipe("report", inputs=inputs | importance.stamps(run))
    run.work.step(run.folder / "metrics.json", scores, write_metrics)
    path = run.folder / "report.html"
    run.work.step(path, page, write_page)
    return path


def report_data(
    run: Run, trials: Artefact, features: Mapping[str, Artefact], made: Made
) -> ReportData:
    """Score everything and gather what the report shows."""
    shown = _stimuli(run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        by_source = {source: scorers(run, shown, of) for source, of in made.items()}
        brain = [score for scorer in by_source["brain"] for score in scorer(None)]
        of_features = feature_scorers(run, features)
        predicted = [score for scorer in of_features for score in scorer(None)]
        ceilings = {
            score.name: score.mean for each in by_source.get("true", ()) for score in each(None)
        }
        chances = _chances([*by_source["brain"], *of_features], len(run.chosen))
    facts = _facts(trials)
    said_of = {
        source: sentences(run, of["caption"]) for source, of in made.items() if "caption" in of
    }
    rows = tuple(
        _row(run, shown, made, index, (brain, said_of)) for index in range(len(run.chosen))
    )
    said = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    return ReportData(
        title=_title(run),
        method=run.method.name,
        subject=f"subj{run.config.subject:02d}",
        n_train=len(run.image_ids[0]),
        n_test=len(run.chosen),
        test_images=run.plan.test_images,
        miniature=run.miniature,
        random=run.networks == "random",
        scores=tuple(_score_row(each, ceilings, chances) for each in [*brain, *predicted]),
        rows=rows,
        n_shuffles=N_SHUFFLES if chances else 0,
        warnings=(*facts.get("warnings", ()), *dict.fromkeys(said)),
        footnotes=footnotes(run, facts),
        options=dict(run.config.resolved(run.method).options),
        versions=log_versions(),
        command=reproduce_command(run),
        run_toml=run_file(run),
        maps=importance.shown(run),
    )


def _title(run: Run) -> str:
    data = "the miniature" if run.miniature else "NSD"
    unusual = run.networks != ("miniature" if run.miniature else "released")
    return f"{run.method.name} on {data}" + f" with {run.networks} weights" * unusual


def footnotes(run: Run, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Give what a reader has to know to compare the numbers."""
    said = list(run.method.footnotes)
    preset = run.config.preset_of(run.method)
    if preset != "paper":
        said.append(
            f"Run with the method's preset {preset!r}, not the paper's settings; "
            f"`brainkit show {run.method.name}` lists what it sets."
        )
    sessions = facts.get("sessions", [])
    said.append(
        f"{len(sessions)} sessions, {len(run.image_ids[0])} training images, "
        f"{len(run.image_ids[1])} test images of which {len(run.chosen)} are scored."
    )
    if run.method.selection.repeats == "single":
        said.append(
            "Training rows are single trials: what a regressor estimates by leaving trials out "
            "still sees other presentations of the same image. Test trials of an image are "
            "averaged, since one image gets one reconstruction."
        )
    for address, part in run.method.parts():
        if not rowwise(part):
            said.append(
                f"{address} ({part.name}) uses statistics of the test images' own betas or "
                "predictions, so one image's result depends on the others."
            )
    if run.method.samples > 1:
        said.append(
            f"{run.method.samples} samples of each image are drawn and all are scored: an image's "
            "value is their mean, identification by target averages their correlations before it "
            "compares. Pictures and captions shown large are the first sample's."
        )
    said.append(
        f"Chance: each image is scored against another image's reconstruction, which is the run on "
        f"test betas shuffled across images; {N_SHUFFLES} shuffles."
    )
    return tuple(said)


def _chances(scorers: Sequence[Scorer], n_images: int) -> dict[str, Any]:
    from brainkit.metrics import chance_levels

    if n_images < 3:
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
    run: Run,
    shown: Stimuli,
    made: Made,
    index: int,
    found: tuple[Sequence[Score], Mapping[str, list[list[str]]]],
) -> ReportRow:
    image, samples = run.chosen[index], run.method.samples
    scores, said = found

    def pictures(source: str) -> list[Path]:
        every = made.get(source, {}).get("image", ())
        return [each.path for each in every[index * samples : (index + 1) * samples]]

    def sentence(source: str) -> str | None:
        return said[source][0][index] if source in said else None

    return ReportRow(
        image_id=image,
        stimulus=shown.images[index],
        ceiling=next(iter(pictures("true")), None),
        brain=next(iter(pictures("brain")), None),
        others=tuple(pictures("brain")[1:]),
        captions=shown.captions[index] if shown.captions else (),
        ceiling_caption=sentence("true"),
        brain_caption=sentence("brain"),
        scores={each.name: float(each.per_item[index]) for each in scores if len(each.per_item)},
        way=_way(run, image),
    )


def _way(run: Run, image: int) -> Way | None:
    """Give how a sampler with a journal came to one image, if one did."""
    from brainkit.run.regress import open_tensors

    name = f"nsd{image:05d}"
    latent = run.folder / "latents" / "image" / f"{name}.safetensors"
    strip = run.folder / "paths" / f"{name}.png"
    tensors = open_tensors(latent) if latent.is_file() and strip.is_file() else {}
    if f"{PATH}iterations" not in tensors:
        return None
    iterations = tensors[f"{PATH}iterations"].tolist()
    shown = tuple(iterations[frame] for frame in strip_frames(len(iterations)))
    return Way(strip=strip, iterations=shown, losses=tuple(tensors[f"{PATH}losses"].tolist()))


def _facts(trials: Artefact) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(trials.path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return {}
    return facts


def summary(run: Run) -> str:
    """Give what a run prints: the table of scores and which images are test images."""
    path = run.folder / "metrics.json"
    scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
    rows = [["", "brain", "ceiling", "chance"]]
    for each in scores:
        values = (each["value"], each["ceiling"], each["chance"]["mean"])
        rows.append([each["name"], *("-" if v is None else format(v, ".3f") for v in values)])
    lines = [RANDOM_LINE] if run.networks == "random" else []
    lines += aligned(rows, right=(1, 2, 3))
    lines += [
        f"{each['name']}: {each['note']}"
        for each in scores
        if each["value"] is None and each["note"].startswith("not computed")
    ]
    lines.append(f"Test images: {run.plan.test_images}.")
    return "\n".join(lines)
