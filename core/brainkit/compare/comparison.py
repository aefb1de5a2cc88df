"""Results side by side, over the images that all have; what does not compare is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from brainkit.compare.paired import FEWEST, N_FLIPS, flipped, holm
from brainkit.compare.results import Results
from brainkit.errors import UsageError
from brainkit.report.scores import GROUPS

NAMED = 2
"""Settings that a column's label names at most."""


@dataclass(frozen=True, eq=False)
class Composition:
    """What stands in one column: a composition, of one or several subjects.

    Attributes:
        label: its heading.
        runs: of each subject, in the order of subjects.
    """

    label: str
    runs: tuple[Results, ...]


@dataclass(frozen=True)
class Line:
    """One score of all columns, the mean over subjects.

    Attributes:
        key: of the score.
        name: as reports print it.
        group: "pictures", "captions" or "features".
        unit: of the score.
        higher_is_better: whether larger means closer.
        values: of each column; None where it has none that compares.
        best: place of the one best column; None with fewer than two values, or if two share it.
    """

    key: str
    name: str
    group: str
    unit: str
    higher_is_better: bool
    values: tuple[float | None, ...]
    best: int | None = None


@dataclass(frozen=True)
class Difference:
    """A paired test of two columns by one score.

    Attributes:
        line: the score.
        first: label of one column.
        second: label of the other.
        mean: over images, first less second; of several subjects the mean over these comes first.
        sem: standard error of that mean.
        n: images behind it.
        p: of the sign-flip test.
        corrected: the same after Holm's correction over all tests of the comparison.
    """

    line: Line
    first: str
    second: str
    mean: float
    sem: float
    n: int
    p: float
    corrected: float = 1.0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several results side by side.

    Attributes:
        columns: in the order they were given.
        subjects: over which the means are.
        ids: the images that all have.
        lines: scores in the order of reports.
        differences: paired tests, by score.
        notes: what a reader has to know.
    """

    columns: tuple[Composition, ...]
    subjects: tuple[str, ...]
    ids: tuple[int, ...]
    lines: tuple[Line, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def compared(results: Sequence[Results], wanted: Sequence[str] = ()) -> Comparison:
    """Set results side by side.

    Args:
        results: one of each run.
        wanted: parts of names or keys of scores; empty for all.

    Raises:
        UsageError: they are of different data, splits or pictures, two are of one column and
            subject, they have no image in common, or no score is called so.
    """
    _require_one(results, "data", "data", "scores compare on one data set only")
    _require_one(results, "split", "test images", "scores compare within one split only")
    columns = _columns(results)
    common = set.intersection(*({*run.ids} for run in results))
    if not common:
        raise UsageError("the runs have no image in common; run them on the same --images")
    _require_same_pictures(results, common)
    columns, subjects, notes = _of_common_subjects(columns)
    ids = np.array(sorted(common), np.int64)
    lines = _lines(columns, ids, wanted)
    differences = _differences(columns, lines, ids)
    notes = [*notes, *_notes(columns, lines, ids, len(differences))]
    return Comparison(
        columns, subjects, tuple(ids.tolist()), lines, differences, tuple(dict.fromkeys(notes))
    )


def _require_one(results: Sequence[Results], name: str, what: str, why: str) -> None:
    found: dict[str, Results] = {}
    for each in results:
        if getattr(each, name):
            found.setdefault(getattr(each, name), each)
    if len(found) > 1:
        told = "; ".join(f"{each.path.parent} has {value!r}" for value, each in found.items())
        raise UsageError(f"the runs have different {what}, and {why}: {told}")


def _require_same_pictures(results: Sequence[Results], common: Set[int]) -> None:
    """Check that image ids mean the same pictures to all, where they say which they are."""
    known: dict[int, tuple[str, Results]] = {}
    for each in results:
        for image in sorted(common & each.pictures.keys()):
            picture, first = known.setdefault(image, (each.pictures[image], each))
            if picture != each.pictures[image]:
                raise UsageError(
                    f"{first.path.parent} and {each.path.parent} have different pictures of image "
                    f"{image}, and scores compare on the same pictures only"
                )


def _columns(results: Sequence[Results]) -> tuple[Composition, ...]:
    """Group results by composition, whatever the subject, and name each group by what differs."""
    groups: dict[object, list[Results]] = {}
    for each in results:
        key = each.label or (each.method, tuple(sorted(each.settings.items())))
        groups.setdefault(key, []).append(each)
    for runs in groups.values():
        seen: dict[str, Results] = {}
        for run in runs:
            if run.subject in seen:
                raise UsageError(
                    f"{seen[run.subject].path.parent} and {run.path.parent} are both {run.subject} "
                    f"of {run.label or run.method}; give one, or name them: LABEL=RUN"
                )
            seen[run.subject] = run
    labels = _labels([runs[0] for runs in groups.values()])
    ordered = (sorted(runs, key=lambda run: run.subject) for runs in groups.values())
    return tuple(
        Composition(label, tuple(runs)) for label, runs in zip(labels, ordered, strict=True)
    )


def _labels(firsts: Sequence[Results]) -> list[str]:
    """Name each composition by its method and the settings in which those of one method differ."""
    labels = []
    for run in firsts:
        others = [each for each in firsts if each.method == run.method and not each.label]
        names = dict.fromkeys(name for each in others for name in each.settings)
        differing = [name for name in names if len({o.settings.get(name) for o in others}) > 1]
        said = _shortened({name: run.settings.get(name, "") for name in differing})
        more = " and more" if len(said) > NAMED else ""
        labels.append(run.label or " ".join([run.method, *said[:NAMED]]) + more)
    doubled = {label for label in labels if labels.count(label) > 1}
    return [
        f"{label} ({run.path.parent.name})" if label in doubled else label
        for label, run in zip(labels, firsts, strict=True)
    ]


def _shortened(settings: Mapping[str, str]) -> list[str]:
    """Return settings as text; an option that all parts of a kind have alike is said once.

    >>> _shortened({"regressor.a.alpha": "1", "regressor.b.alpha": "1", "seed": "2"})
    ['regressor.alpha=1', 'seed=2']
    """
    groups: dict[str, dict[str, str]] = {}
    for name, value in settings.items():
        parts = name.split(".")
        short = name if len(parts) < 3 else f"{parts[0]}.{parts[-1]}"
        groups.setdefault(short, {})[name] = value
    said = []
    for short, of in groups.items():
        alike = len(set(of.values())) == 1
        one = [f"{short}={next(iter(of.values()))}"]
        said += one if alike else [f"{name}={value}" for name, value in of.items()]
    return said


def _of_common_subjects(
    columns: tuple[Composition, ...],
) -> tuple[tuple[Composition, ...], tuple[str, ...], list[str]]:
    """Keep the subjects that all columns have; without any, let each column have its own."""
    by_column = [{run.subject for run in column.runs} for column in columns]
    common, every = set.intersection(*by_column), set.union(*by_column)
    if not common:
        alone = [
            Composition(f"{column.label}, {run.subject}", (run,))
            for column in columns
            for run in column.runs
        ]
        note = (
            "The columns are of different subjects: what differs between them may be the brains, "
            "not the methods."
        )
        return tuple(alone), tuple(sorted(every)), [note]
    kept = tuple(
        replace(column, runs=tuple(run for run in column.runs if run.subject in common))
        for column in columns
    )
    left = sorted(every - common)
    notes = [f"Left out, since not every column has them: {', '.join(left)}."] if left else []
    return kept, tuple(sorted(common)), notes


def _lines(
    columns: Sequence[Composition], ids: NDArray[np.int64], wanted: Sequence[str]
) -> tuple[Line, ...]:
    entries = {
        key: entry for column in columns for run in column.runs for key, entry in run.scores.items()
    }
    asked = [word.lower() for word in wanted]
    chosen = {
        key: entry
        for key, entry in entries.items()
        if not asked or any(word in key or word in entry["name"].lower() for word in asked)
    }
    if not chosen:
        names = ", ".join(entry["name"] for entry in list(entries.values())[:5])
        raise UsageError(f"no score is called {list(wanted)}; there are {names} and others")
    ordered = sorted(chosen.items(), key=lambda item: GROUPS.index(item[1]["group"]))
    return tuple(_line(key, entry, columns, ids) for key, entry in ordered)


def _line(
    key: str, entry: Mapping[str, object], columns: Sequence[Composition], ids: NDArray[np.int64]
) -> Line:
    values = tuple(_mean([run.value(key, ids) for run in column.runs]) for column in columns)
    higher = bool(entry["higher_is_better"])
    known = [place for place, value in enumerate(values) if value is not None]
    pick = max if higher else min
    top = pick((value for value in values if value is not None), default=None)
    best = values.index(top) if len(known) > 1 and values.count(top) == 1 else None
    return Line(
        key, str(entry["name"]), str(entry["group"]), str(entry["unit"]), higher, values, best
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Average over subjects; None if one has no value, for a mean over fewer is another number."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _differences(
    columns: Sequence[Composition], lines: Sequence[Line], ids: NDArray[np.int64]
) -> tuple[Difference, ...]:
    tested = [
        found
        for line in lines
        for first, second in combinations(columns, 2)
        if (found := _difference(line, first, second, ids))
    ]
    corrected = holm([each.p for each in tested])
    return tuple(
        replace(each, corrected=value) for each, value in zip(tested, corrected, strict=True)
    )


def _difference(
    line: Line, first: Composition, second: Composition, ids: NDArray[np.int64]
) -> Difference | None:
    """Test two columns by one score; None where it has no values of these images to be paired."""
    known = [run.value(line.key, ids) for column in (first, second) for run in column.runs]
    of = [[run.values(line.key, ids) for run in column.runs] for column in (first, second)]
    if None in known or any(each is None for side in of for each in side):
        return None
    sides = [np.mean([each for each in side if each is not None], axis=0) for side in of]
    differences = sides[0] - sides[1]
    differences = differences[np.isfinite(differences)]
    if len(differences) < FEWEST:
        return None
    sem = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return Difference(
        line, first.label, second.label, float(differences.mean()), sem, len(differences),
        flipped(differences),
    )  # fmt: skip


def _notes(
    columns: Sequence[Composition], lines: Sequence[Line], ids: NDArray[np.int64], n_tests: int
) -> list[str]:
    runs = [run for column in columns for run in column.runs]
    notes = list(dict.fromkeys(run.note for run in runs if run.note))
    tests = list(dict.fromkeys(run.test_images for run in runs if run.test_images))
    notes += [f"Test images: {'; or '.join(tests)}."] if tests else []
    counts = sorted({len(run.ids) for run in runs})
    if counts != [len(ids)]:
        absent = [
            line.name
            for line in lines
            if any(line.key in run.scores and run.scores[line.key]["value"] is not None
                   and run.value(line.key, ids) is None for run in runs)
        ]  # fmt: skip
        notes.append(
            f"Only the {len(ids)} images that all runs have are compared; the runs have "
            f"{' or '.join(map(str, counts))}."
        )
        if absent:
            notes.append(
                "Left out, since their values depend on which images are scored together: "
                f"{', '.join(absent)}."
            )
    samples = sorted({run.settings["samples"] for run in runs})
    if len(samples) > 1:
        notes.append(
            f"The runs make {' or '.join(samples)} reconstructions of an image; of several, an "
            "image's value is their mean."
        )
    if len(columns) > 1:
        notes.append(
            f"Tests: {n_tests}, of differences of the same images in pairs, by {N_FLIPS} draws of "
            "signs, two-sided; p after Holm's correction over all of them. ± is the standard error "
            "of the difference over images."
            if n_tests
            else f"Nothing is tested: that takes {FEWEST} images with values in both columns."
        )
    return notes
