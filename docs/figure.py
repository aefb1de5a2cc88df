"""Draw the README's figure and print its table from a finished run on the miniature.

python docs/figure.py brainkit-runs/miniature/subj01/runs/NAME
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from brainkit.miniature import miniature
from brainkit.nsd import load_captions, load_stimuli
from brainkit.report import read_metrics

OUT = Path(__file__).parent / "images" / "miniature.png"
COLUMNS, SIDE, GAP, LEFT, TEXT = 8, 128, 8, 96, 96
ROWS = ("stimulus", "from true\nfeatures", "from brain")


def main(folder: Path) -> None:
    """Take every n-th test image, so that nothing is picked by hand."""
    found = read_metrics(folder / "metrics.json")
    images = [each["image_id"] for each in found["images"]]
    chosen = images[:: len(images) // COLUMNS][:COLUMNS]
    said = {each["image_id"]: each["caption"] for each in found["images"]}
    nsd = miniature().nsd
    width = LEFT + COLUMNS * (SIDE + GAP)
    sheet = Image.new("RGB", (width, 3 * (SIDE + GAP) + 2 * TEXT + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for row, label in enumerate(ROWS):
        draw.text((GAP, TEXT + row * (SIDE + GAP) + SIDE // 2 - 16), label, "black", font)
    draw.text((GAP, GAP), "true caption", "black", font)
    draw.text((GAP, TEXT + 3 * (SIDE + GAP)), "decoded\ncaption", "black", font)
    shown, captions = load_stimuli(nsd, chosen), load_captions(nsd, chosen)
    for column, image in enumerate(chosen):
        x = LEFT + column * (SIDE + GAP)
        name = f"nsd{image:05d}.png"
        pictures = (
            Image.fromarray(shown[column]),
            Image.open(folder / "true" / "images" / name),
            Image.open(folder / "images" / name),
        )
        for row, picture in enumerate(pictures):
            large = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(large, (x, TEXT + row * (SIDE + GAP)))
        for y, text in ((GAP, captions[column][0]), (TEXT + 3 * (SIDE + GAP), said[image])):
            draw.text((x, y), "\n".join(textwrap.wrap(text, 20)[:6]), "black", font)
    OUT.parent.mkdir(exist_ok=True)
    sheet.save(OUT, optimize=True)
    print(f"n = {found['n_test']} images; in brackets the 95 % interval\n")
    print("| score | from brain | true features | null |\n| --- | --- | --- | --- |")
    for each in found["scores"]:
        levels = (each, each["true_features"], each["floor"])
        cells = " | ".join(written(level) for level in levels)
        arrow = "↑" if each["higher_is_better"] else "↓"
        print(f"| {each['name']} {arrow} | {cells} |")


def written(level: dict[str, Any] | None) -> str:
    """Return a value with its interval, for reading."""
    if level is None or level["value"] is None:
        return "–"
    ends = level.get("interval")
    bracket = f" [{ends['low']:.3f}, {ends['high']:.3f}]" if ends else ""
    return f"{level['value']:.3f}{bracket}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
