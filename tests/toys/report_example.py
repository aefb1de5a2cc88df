"""A report with everything that one can show, for tests in a browser."""

import math

import numpy as np

from brainkit.data import Interval
from brainkit.papers import NSD
from brainkit.report import BrainMap, Figure, Level, ReportData, ReportRow, ScoreRow, Way

NAMES = (
    "pixel correlation",
    "SSIM",
    "two-way identification, CLIP (miniature)",
    "CIDEr@allref",
    *(f"{n}-way top-1 of the classifier with a long name" for n in range(12)),
)
THINGS = ("dog", "cat", "boat", "tree", "house")


def picture(seed: int, side: int = 48) -> np.ndarray:
    """Return uint8 (side, side, 3): a gradient that differs from seed to seed."""
    ramp = np.add.outer(np.arange(side), np.arange(side)) * 255 // (2 * side)
    return np.stack([(ramp + 37 * seed * k) % 256 for k in (1, 2, 3)], -1).astype(np.uint8)


def example(n_images: int) -> ReportData:
    """Return a report of so many images; the last has an undefined score."""
    values = np.random.default_rng(0).random((n_images, len(NAMES)))
    return ReportData(
        title="Toy on the miniature",
        method="toy",
        subject="subj01",
        n_train=1000,
        n_test=n_images,
        miniature=True,
        test_images="all there are",
        scores=tuple(
            ScoreRow(
                name=name,
                value=float(of.mean()),
                sem=0.02,
                interval=Interval(float(of.mean()) - 0.04, float(of.mean()) + 0.04, 0.95, "BCa"),
                true=Level(value=0.9),
                null=Level(value=0.2, sd=0.02, n=5),
                n=n_images,
                per_image=tuple(of.tolist()),
                unit="share",
                group="captions" if "CIDEr" in name else "pictures",
                notes=("how close it is",),
            )
            for name, of in zip(NAMES, values.T, strict=True)
        ),
        rows=tuple(_row(index, index + 1 == n_images, of) for index, of in enumerate(values)),
        n_shuffles=5,
        date="2026-01-02T03:04:05+00:00",
        timings={"sampling": 75.0},
        warnings=("a strange thing",),
        footnotes=("a footnote",),
        options={"sampler.steps": 20},
        versions={"brainkit": "0.1.0"},
        command="brainkit run --config run.toml",
        run_toml='method = "toy"\n' * 30,
        figures=(Figure(title="Weights", picture=picture(1), text="what it shows"),),
        maps=(BrainMap(feature="clip", picture=picture(2), text="a map", regions=(("V1", 2.0),)),),
        papers=(NSD,),
    )


def _row(index: int, undefined: bool, values: np.ndarray) -> ReportRow:
    thing = THINGS[index % len(THINGS)]
    scores = {name: float(value) for name, value in zip(NAMES, values, strict=True)}
    return ReportRow(
        image_id=10 * index + 7,
        stimulus=picture(3 * index),
        ceiling=picture(3 * index + 1),
        brain=picture(3 * index + 2),
        captions=(f"a {thing} by the sea", "another"),
        ceiling_caption=f"a {thing}",
        brain_caption="something small",
        scores={**scores, "SSIM": math.nan} if undefined else scores,
        way=Way(strip=picture(5), iterations=(0, 5), losses=(2.0, 1.0)) if index == 0 else None,
        others=(picture(6), picture(7)) if index == 0 else (),
    )
