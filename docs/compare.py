"""Draw pictures of several finished runs side by side and print their scores.

python docs/compare.py docs/images/NAME.png "z only=RUN/images" "z and c=OTHER/images"

Each folder is a run's `images`, or `true/images` for what the true features give. Stimuli are drawn
of runs on the miniature only; the table has the scores that the runs have.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from brainkit.metrics.profiles import PROFILES
from brainkit.metrics.standard import COLUMNS as FEATURES
from brainkit.miniature import miniature
from brainkit.nsd import load_stimuli
from brainkit.report import read_metrics

COLUMNS, SIDE, GAP, LEFT = 10, 96, 6, 92
SCORES = (
    "objects recalled (referee)",
    "background recalled (referee)",
    "pixel correlation",
    "SSIM",
    "two-way identification, CLIP (miniature)",
    "CLIP (miniature) cosine",
    *(feature.name(profile) for profile in PROFILES.values() for feature in FEATURES),
)
"""In the order of the table; only those that a run has."""


def main(out: Path, rows: dict[str, Path]) -> None:
    """Take every n-th test image, so that nothing is picked by hand."""
    splits = {split(folder) for folder in rows.values()}
    if len(splits) > 1:
        sys.exit(f"these runs have different test images, compare runs of one split: {splits}")
    ids = [each["image_id"] for each in metrics(next(iter(rows.values())))["images"]]
    chosen = ids[:: max(1, len(ids) // COLUMNS)][:COLUMNS]
    small = all(metrics(folder).get("data") == "miniature" for folder in rows.values())
    height = (len(rows) + small) * (SIDE + GAP)
    sheet = Image.new("RGB", (LEFT + COLUMNS * (SIDE + GAP), height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    lines = []
    if small:
        shown = load_stimuli(miniature().nsd, chosen)
        lines.append(("stimulus", [Image.fromarray(each) for each in shown]))
    for label, folder in rows.items():
        lines.append((label, [Image.open(folder / f"nsd{each:05d}.png") for each in chosen]))
    for row, (label, pictures) in enumerate(lines):
        draw.text((GAP, row * (SIDE + GAP) + SIDE // 2 - 8), label, "black", font)
        for column, picture in enumerate(pictures):
            large = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(large, (LEFT + column * (SIDE + GAP), row * (SIDE + GAP)))
    sheet.save(out, optimize=True)
    print(f"Test images: {splits.pop()}\n")
    names = columns(list(rows.values()))
    print("| | " + " | ".join(names) + " |\n" + "| --- " * (len(names) + 1) + "|")
    for label, folder in rows.items():
        print(f"| {label} | " + " | ".join(score(folder, name) for name in names) + " |")


def columns(folders: list[Path]) -> list[str]:
    """Return the scores that any of the runs has a value of, in the table's order."""
    return [name for name in SCORES if any(score(each, name) != "–" for each in folders)]


def metrics(folder: Path) -> dict[str, Any]:
    """Return the metrics of the run that a folder of pictures belongs to."""
    run = folder.parent.parent if folder.parent.name == "true" else folder.parent
    return read_metrics(run / "metrics.json")


def split(folder: Path) -> str:
    """Return which split a run used; one that goes by sessions has counts, for they decide it."""
    found = metrics(folder)
    name = found["options"].get("selection.split", "shared")
    return str(name) if name == "shared" else str(found["test_images"])


def score(folder: Path, name: str) -> str:
    """Return a score of the run that a folder of pictures belongs to, for reading."""
    found = metrics(folder)["scores"]
    entry: dict[str, Any] = next((each for each in found if each["name"] == name), {})
    true = folder.parent.name == "true"
    value = (entry.get("true_features") or {}).get("value") if true else entry.get("value")
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), {k: Path(v) for k, _, v in (a.partition("=") for a in sys.argv[2:])})
