"""What a run left in its folder, as a notebook looks at it: scores, pictures, captions, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from brainkit.errors import UsageError
from brainkit.report.scores import read_metrics
from brainkit.run.captions import read_captions
from brainkit.run.folder import Folder, Source, found_runs
from brainkit.run.shared import Draw
from brainkit.tables import TextTable, laid_out

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SHOWN = ("name", "value", "low", "high", "true features", "null", "exchange", "n", "unit")
"""Columns of a table of scores as it is printed."""


class ScoreTable(Sequence[Mapping[str, Any]]):
    """The scores of a run: a row each, with its value beside what it is held against.

    A row has key, name, group, unit, higher_is_better, value, sem, low and high (its interval),
    n, "true features", null, exchange, floor and noise_ceiling; None where there is none.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hold the rows."""
        self._rows = tuple(rows)

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> ScoreTable:
        """Return the scores of a `metrics.json`."""
        return cls([_row(score) for score in metrics["scores"]])

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> ScoreTable: ...
    @overload
    def __getitem__(self, index: str) -> Mapping[str, Any]: ...
    def __getitem__(self, index: int | slice | str) -> Mapping[str, Any] | ScoreTable:
        """Return a row by its place, or by the name or key of its score; or several by a slice."""
        if isinstance(index, slice):
            return ScoreTable(self._rows[index])
        if isinstance(index, int):
            return self._rows[index]
        for row in self._rows:
            if index in (row["name"], row["key"]):
                return row
        raise KeyError(f"{index!r}; there are {[row['name'] for row in self._rows]}")

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        rows = [tuple(_told(row[name]) for name in SHOWN) for row in self._rows]
        return laid_out([TextTable(SHOWN, rows, right=set(range(1, len(SHOWN) - 1)))])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in SHOWN)
        rows = (
            "".join(f"<td>{escape(_told(row[name]))}</td>" for name in SHOWN) for row in self._rows
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a row a score.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError("pandas is not installed; pip install pandas") from error
        return pandas.DataFrame([dict(row) for row in self._rows])


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run, read from its folder whenever it is asked.

    Attributes:
        folder: of the run.
    """

    folder: Path

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Everything in `metrics.json`."""
        return read_metrics(self._files.metrics)

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.metrics["method"])

    @cached_property
    def scores(self) -> ScoreTable:
        """The table of scores."""
        return ScoreTable.of(self.metrics)

    @property
    def image_ids(self) -> tuple[int, ...]:
        """0-based NSD ids of the images that were reconstructed, in the order of all below."""
        return tuple(each["image_id"] for each in self.metrics["images"])

    @property
    def images(self) -> NDArray[np.uint8]:
        """The reconstructions from the brain, uint8 (images, height, width, 3)."""
        return self.images_from("brain")

    @property
    def captions(self) -> tuple[str, ...]:
        """The captions from the brain, one an image; () of a method that gives none."""
        return self.captions_from("brain")

    @property
    def report(self) -> Path:
        """The report, a page that a browser shows."""
        return self._files.report

    def images_from(self, source: Source, sample: int = 1) -> NDArray[np.uint8]:
        """Return one sample's reconstructions, uint8 (images, height, width, 3).

        Args:
            source: "brain", or "true" for those from the true features.
            sample: which of a run with several, counted from 1.

        Raises:
            UsageError: the run made no such pictures.
        """
        import numpy as np
        from PIL import Image

        self._check(source)
        paths = [self._files.picture(source, Draw(image, sample)) for image in self.image_ids]
        lacking = [path for path in paths if not path.is_file()]
        if lacking:
            raise UsageError(f"{self.folder.name} has no picture {lacking[0].name} from {source}")
        return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])

    def captions_from(self, source: Source, sample: int = 1) -> tuple[str, ...]:
        """Return one sample's captions; arguments as of `images_from`; () where there are none."""
        self._check(source)
        lines = read_captions(self._files.captions(source))
        draws = (Draw(image, sample) for image in self.image_ids)
        return tuple(str(lines[draw]["caption"]) for draw in draws if draw in lines)

    def __repr__(self) -> str:
        first = self.scores[0] if self.scores else None
        told = f", {first['name']} {_told(first['value'])}" if first else ""
        what = f"{self.method}, {self.metrics['subject']}, {len(self.image_ids)} images{told}"
        return f"<Result of {what}; {self.folder}>"

    def _repr_html_(self) -> str:
        title = escape(f"{self.metrics['title']}, {self.metrics['subject']}")
        link = escape(self.report.absolute().as_uri(), quote=True)
        shown = "".join(map(_picture, self._some_pictures()))
        table = self.scores._repr_html_()
        return f"<p><b>{title}</b> (<a href='{link}'>report</a>)</p><p>{shown}</p>{table}"

    def _some_pictures(self) -> Iterator[Path]:
        paths = (self._files.picture("brain", Draw(image, 1)) for image in self.image_ids[:8])
        return (path for path in paths if path.is_file())

    @property
    def _files(self) -> Folder:
        return Folder(self.folder)

    def _check(self, source: str) -> None:
        if source not in ("brain", "true"):
            raise UsageError(f"source is {source!r}, expected 'brain' or 'true'")


def load_result(path: Path | str, name: str | None = None) -> Result:
    """Return the finished run in a folder and below, whoever made it.

    Args:
        path: a work folder, or a run's own.
        name: of the run's folder, where there are several; see `brainkit runs`.

    Raises:
        UsageError: there is none, or several and no name.
    """
    names = {each.root.name: each.root for each in found_runs(Path(path))[0]}
    chosen = [root for each, root in names.items() if name in (None, each)]
    if len(chosen) != 1:
        said = f"no run {name or ''}".strip() if not chosen else f"{len(chosen)} runs"
        raise UsageError(f"{path} has {said}; choose one by name: {', '.join(names) or 'none'}")
    return Result(chosen[0])


def _row(score: Mapping[str, Any]) -> dict[str, Any]:
    interval = score["interval"] or {}
    levels = {"true features": "true_features", "null": "null", "exchange": "exchange"}
    kept = ("key", "name", "group", "unit", "higher_is_better", "value", "sem")
    return {
        **{name: score[name] for name in kept},
        "low": interval.get("low"),
        "high": interval.get("high"),
        "n": score["n"],
        **{name: (score[key] or {}).get("value") for name, key in levels.items()},
        "floor": (score["floor"] or {}).get("value"),
        "noise_ceiling": score["noise_ceiling"],
    }


def _told(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _picture(path: Path) -> str:
    from base64 import b64encode

    data = b64encode(path.read_bytes()).decode()
    return f"<img src='data:image/png;base64,{data}' height='96' alt='{escape(path.stem)}'> "
