"""What a run's maps say in numbers: one JSON file a feature, a table, and lines for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from brainkit.console import aligned
from brainkit.errors import DataError
from brainkit.report import BrainMap
from brainkit.run.artefact import Artefact
from brainkit.run.maps.regions import RegionMean
from brainkit.run.shared import Run

LAYOUT = 1
DRAWING = 2
"""Version of how pictures of maps look."""
NAMED = 4
"""Regions of the highest mean that the report names."""


@dataclass(frozen=True)
class Facts:
    """One map of one feature in numbers.

    Attributes:
        feature: its name.
        kind: "weight" or "selected".
        voxels: how many are mapped.
        largest: of the map.
        mean: over the mapped voxels.
        regions: means over named regions.
    """

    feature: str
    kind: str
    voxels: int
    largest: float
    mean: float
    regions: tuple[RegionMean, ...]

    def json(self) -> dict[str, Any]:
        """Return the numbers as an object that JSON can hold."""
        return {
            "max": self.largest,
            "mean": self.mean,
            "regions": [{**vars(each)} for each in self.regions],
        }


ENDINGS = {"facts": ".json", "slices": ".png", "flatmap": "-flatmap.png"}
"""What the file of each kind ends in; those of a kind of map in its name and ".nii.gz"."""


def artefact(run: Run, feature: str, kind: str, weights: Artefact) -> Artefact:
    """Return one file of a feature's maps.

    Args:
        run: a finished run.
        feature: which.
        kind: of the file: "facts", "weight", "selected", "slices" or "flatmap".
        weights: what is mapped.
    """
    return run.artefact(
        run.folder.map(feature, ENDINGS.get(kind, f"-{kind}.nii.gz")),
        f"maps/{feature}-{kind}",
        f"regressor.{feature}",
        inputs={"weights": weights.stamp},
        extra=f"maps {LAYOUT}" + f", drawing {DRAWING}" * (kind in ("slices", "flatmap")),
    )


def written(feature: str, maps: Sequence[Facts]) -> str:
    """Return the text of a feature's JSON file."""
    contents = {
        "layout": LAYOUT,
        "feature": feature,
        "voxels": maps[0].voxels,
        "maps": {each.kind: each.json() for each in maps},
    }
    return json.dumps(contents, indent=1) + "\n"


def read(path: Path) -> tuple[Facts, ...]:
    """Read a feature's JSON file.

    Raises:
        DataError: it is of another shape.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            Facts(
                feature=contents["feature"],
                kind=kind,
                voxels=contents["voxels"],
                largest=numbers["max"],
                mean=numbers["mean"],
                regions=tuple(RegionMean(**region) for region in numbers["regions"]),
            )
            for kind, numbers in contents["maps"].items()
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} holds no maps; delete it and run `brainkit map` again") from error


HEADINGS = {
    "weight": "Mean |weight| of a voxel, relative to the average voxel",
    "selected": "Share of a feature's units that use a voxel",
}


def table(every: Sequence[Facts], kind: str) -> str:
    """Return a table of regions by features, as lines of text.

    "weight" is shown relative to the mean over all mapped voxels (1.00), since the units of
    features differ; "selected" in percent of a feature's units.
    """
    maps = [each for each in every if each.kind == kind]
    names = dict.fromkeys((r.volume, r.name) for each in maps for r in each.regions)
    by_map = [{(r.volume, r.name): r for r in each.regions} for each in maps]
    rows = [["region", "voxels", *(each.feature for each in maps)]]
    for key in names:
        here = [regions.get(key) for regions in by_map]
        voxels = max(each.voxels for each in here if each)
        cells = (_cell(one, each) if one else "-" for one, each in zip(here, maps, strict=True))
        rows.append([" ".join(key), str(voxels), *cells])
    whole = ["all", str(max(each.voxels for each in maps))]
    rows.append([*whole, *(_cell(RegionMean("", "", 0, each.mean), each) for each in maps)])
    return "\n".join(aligned(rows, right=range(1, len(rows[0]))))


def _cell(region: RegionMean, whole: Facts) -> str:
    if whole.kind == "selected":
        return f"{100 * region.mean:.2f} %"
    return f"{region.mean / whole.mean:.2f}" if whole.mean else "-"


def current(run: Run, weights: Mapping[str, Artefact]) -> dict[str, Artefact]:
    """Return the weights, by feature, from which numbers and slices were made."""
    return {
        feature: learned
        for feature, learned in weights.items()
        if all(artefact(run, feature, kind, learned).current for kind in ("facts", "slices"))
    }


def stamps(run: Run, weights: Mapping[str, Artefact]) -> dict[str, str]:
    """Return what a report that shows the run's maps depends on; empty when there are none.

    Args:
        run: whose maps.
        weights: what its regressors learned, by feature.
    """
    mapped = current(run, weights).items()
    texts = [artefact(run, feature, "slices", learned).stamp for feature, learned in mapped]
    texts += [str(bool(_flatmap(run, feature, learned))) for feature, learned in mapped]
    return {"maps": sha256(" ".join(texts).encode()).hexdigest()[:16]} if texts else {}


def brain_maps(run: Run, weights: Mapping[str, Artefact]) -> tuple[BrainMap, ...]:
    """Return the run's current maps as the report shows them; arguments as of `stamps`."""
    mapped = current(run, weights).items()
    return tuple(_brain_map(run, feature, learned) for feature, learned in mapped)


def _brain_map(run: Run, feature: str, weights: Artefact) -> BrainMap:
    maps = read(artefact(run, feature, "facts", weights).intact())
    weight = next(each for each in maps if each.kind == "weight")
    ranked = sorted(weight.regions, key=lambda region: region.mean, reverse=True)
    scale = weight.mean or 1.0
    return BrainMap(
        feature=feature,
        picture=artefact(run, feature, "slices", weights).path,
        text=" ".join(_sentence(each) for each in maps),
        regions=tuple((region.name, region.mean / scale) for region in ranked[:NAMED]),
        flatmap=_flatmap(run, feature, weights),
    )


def _sentence(facts: Facts) -> str:
    if facts.kind == "selected":
        return (
            f"A voxel is used by {_percent(facts.mean)} of the feature's units on average and by "
            f"{_percent(facts.largest)} at most."
        )
    return (
        f"Mean |weight| of {facts.voxels:,} voxels over the feature's units; the largest is "
        f"{facts.largest:.3g}, the mean {facts.mean:.3g}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _flatmap(run: Run, feature: str, weights: Artefact) -> Path | None:
    picture = artefact(run, feature, "flatmap", weights)
    return picture.path if picture.current else None
