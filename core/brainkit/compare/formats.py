"""A comparison as text: for a terminal, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from brainkit.compare.comparison import Comparison, Difference, Line
from brainkit.papers import Published
from brainkit.report.scores import finite
from brainkit.tables import Block, TextTable, Title, laid_out

Numbers = Sequence[Published]


def blocks(comparison: Comparison, published: Numbers) -> list[Block]:
    """Return a comparison as blocks for a terminal."""
    rows = [
        [line.name + arrow(line), line.unit, *(marked(line, place) for place in _places(line))]
        for line in comparison.lines
    ]
    labels = [column.label for column in comparison.columns]
    right = range(2, 2 + len(labels))
    star = " * is the best value of a row." if len(labels) > 1 else ""
    found: list[Block] = [heading(comparison) + star, ""]
    found.append(TextTable(["score", "unit", *labels], rows, right=right))
    found += ["", *comparison.notes] if comparison.notes else []
    if comparison.differences:
        found += ["", Title("Differences in pairs"), _tests(comparison.differences)]
    if published:
        found += ["", Title("Published numbers, which were computed elsewhere")]
        found += [f"{each.system}: {each.text()}" for each in published]
    return found


def heading(comparison: Comparison) -> str:
    """Return what is compared: images, subjects, test images."""
    subjects = comparison.subjects
    of = f"mean over {', '.join(subjects)}" if len(subjects) > 1 else subjects[0] or "one subject"
    if any(len(column.runs) == 1 for column in comparison.columns) and len(subjects) > 1:
        of = "each column is of its own subject"
    return f"{len(comparison.ids)} images, {of}."


def arrow(line: Line) -> str:
    """Return which way is better."""
    return " ↑" if line.higher_is_better else " ↓"


def marked(line: Line, place: int) -> str:
    """Return a value of a line for reading, the best of several marked by a star."""
    return _bold(line, place, "{}*")


def p_value(p: float) -> str:
    """Return a p value for reading."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _places(line: Line) -> range:
    return range(len(line.values))


def _tests(differences: Sequence[Difference]) -> TextTable:
    rows = [
        [
            each.line.name,
            f"{each.first} - {each.second}",
            f"{each.mean:+.3f}",
            f"{each.sem:.3f}",
            str(each.n),
            p_value(each.corrected),
        ]
        for each in differences
    ]
    return TextTable(["score", "of", "difference", "±", "n", "p"], rows, right=range(2, 6))


def markdown(comparison: Comparison, published: Numbers) -> str:
    """Return a comparison as tables of Markdown, the best value of a row bold."""
    labels = [column.label.replace("|", "\\|") for column in comparison.columns]
    rows = [
        [line.name + arrow(line), *(_bold(line, place, "**{}**") for place in _places(line))]
        for line in comparison.lines
    ]
    lines = [*_pipes(["score", *labels], rows), "", heading(comparison)]
    lines += comparison.notes
    if comparison.differences:
        table = _tests(comparison.differences)
        lines += ["", *_pipes(table.headings, table.rows)]
    if published:
        lines += ["", "Published numbers, which were computed elsewhere:", ""]
        lines += [f"- {each.system}: {each.text()}" for each in published]
    return "\n".join(lines)


def _pipes(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _bold(line: Line, place: int, how: str) -> str:
    value = line.values[place]
    shown = "–" if value is None else f"{value:.3f}"
    return how.format(shown) if place == line.best else shown


ESCAPES = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def latex(comparison: Comparison, published: Numbers) -> str:
    """Return a comparison as a table of LaTeX's booktabs; notes and tests are comments."""

    def escaped(text: str) -> str:
        return "".join(ESCAPES.get(sign, sign) for sign in text)

    rows = [
        [
            escaped(line.name) + (r" $\uparrow$" if line.higher_is_better else r" $\downarrow$"),
            *(_bold(line, place, r"\textbf{{{}}}").replace("–", "--") for place in _places(line)),
        ]
        for line in comparison.lines
    ]
    labels = ["", *(escaped(column.label) for column in comparison.columns)]
    comments = [heading(comparison), *comparison.notes]
    comments += laid_out([_tests(comparison.differences)]).splitlines()
    comments += [f"Published: {each.system}: {each.text()}" for each in published]
    return "\n".join([
        *(f"% {text}" for text in comments),
        r"\begin{tabular}{l" + "r" * len(comparison.columns) + "}",
        r"\toprule",
        " & ".join(labels) + r" \\",
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ])  # fmt: skip


def table_csv(comparison: Comparison, published: Numbers) -> str:
    """Return the scores as CSV with every digit; published numbers are no part of it."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    labels = [column.label for column in comparison.columns]
    lines.writerow(["key", "score", "group", "unit", "higher_is_better", *labels])
    for line in comparison.lines:
        higher = str(line.higher_is_better).lower()
        lines.writerow([line.key, line.name, line.group, line.unit, higher, *line.values])
    return written.getvalue().rstrip("\n")


def table_json(comparison: Comparison, published: Numbers) -> str:
    """Return everything as JSON, undefined numbers as null."""
    return json.dumps(as_object(comparison, published), indent=1, ensure_ascii=True)


def as_object(comparison: Comparison, published: Numbers) -> dict[str, Any]:
    """Return a comparison as an object that JSON can hold; docs/compare.md explains every key."""
    labels = [column.label for column in comparison.columns]
    return {
        "layout": 1,
        "subjects": list(comparison.subjects),
        "images": list(comparison.ids),
        "columns": [
            {
                "label": column.label,
                "method": column.runs[0].method,
                "runs": {run.subject: str(run.path) for run in column.runs},
                "settings": dict(column.runs[0].settings),
            }
            for column in comparison.columns
        ],
        "scores": [
            {
                "key": line.key,
                "name": line.name,
                "group": line.group,
                "unit": line.unit,
                "higher_is_better": line.higher_is_better,
                "values": {
                    label: finite(value)
                    for label, value in zip(labels, line.values, strict=True)
                },
            }
            for line in comparison.lines
        ],
        "differences": [_difference(each) for each in comparison.differences],
        "published": [each.json() for each in published],
        "notes": list(comparison.notes),
    }  # fmt: skip


def _difference(each: Difference) -> Mapping[str, Any]:
    return {
        "key": each.line.key,
        "first": each.first,
        "second": each.second,
        "mean": finite(each.mean),
        "sem": finite(each.sem),
        "n": each.n,
        "p": each.p,
        "p_holm": each.corrected,
    }


FORMATS: Mapping[str, Callable[[Comparison, Numbers], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": table_csv,
    "json": table_json,
}
"""What `--format` takes beside "table"."""
