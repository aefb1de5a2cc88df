"""Paint the miniature's backgrounds and objects with flat shapes and thin outlines.

Everything is drawn at twice the size and reduced, which softens the edges. Objects are drawn in
unit coordinates: (-1, -1) is the top left and (1, 1) the bottom right corner of their box.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from brainkit.miniature.scenes import Scene, SceneObject

Colour: TypeAlias = tuple[int, int, int]

SIDE: Final = 64
"""Height and width of a picture in pixels."""

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (216, 36, 40),
    "orange": (244, 132, 28),
    "yellow": (250, 214, 44),
    "green": (34, 150, 62),
    "blue": (40, 84, 214),
    "purple": (150, 58, 186),
    "white": (244, 244, 244),
}
"""The colours of objects before jitter, RGB in 0-255."""

_FULL: Final = 2 * SIDE
_DARK: Final = (34, 32, 40)
_LIGHT: Final = (236, 236, 226)
_SKIN: Final = (240, 190, 150)
_WOOD: Final = (120, 76, 42)
_LETTERS: Final[dict[str, tuple[str, ...]]] = {
    "a": ("111", "101", "111", "101", "101"),
    "b": ("110", "101", "110", "101", "110"),
    "c": ("111", "100", "100", "100", "111"),
    "e": ("111", "100", "110", "100", "111"),
    "i": ("111", "010", "010", "010", "111"),
    "o": ("111", "101", "101", "101", "111"),
    "s": ("111", "100", "111", "001", "111"),
    "t": ("111", "010", "010", "010", "010"),
    "u": ("101", "101", "101", "101", "111"),
    "z": ("111", "001", "010", "100", "111"),
}


def paint(scene: Scene, jitter: random.Random) -> NDArray[np.uint8]:
    """Paint a scene as uint8 (height, width, channels), RGB in 0-255."""
    canvas = Image.new("RGB", (_FULL, _FULL))
    brush = ImageDraw.Draw(canvas)
    _BACKDROPS[scene.background](brush, jitter)
    edge = _LIGHT if scene.background == "night" else _DARK
    for thing in scene.objects:
        colour = _shifted(COLOURS[thing.colour], jitter, 6)
        _FIGURES[thing.kind](_Pen(brush, thing, edge), colour, thing.word)
    return np.array(canvas.reduce(2))


def _shifted(colour: Colour, jitter: random.Random, amount: int) -> Colour:
    red, green, blue = (min(255, max(0, c + jitter.randint(-amount, amount))) for c in colour)
    return red, green, blue


def _shaded(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(c * factor)) for c in colour)
    return red, green, blue


@dataclass(frozen=True)
class _Pen:
    """Draws in an object's unit coordinates, two pixels of outline on the double-size canvas."""

    brush: ImageDraw.ImageDraw
    thing: SceneObject
    edge: Colour

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, down = self.thing.centre
        half = self.thing.extent / 2
        return 2 * (across + x * half), 2 * (down + y * half)

    def shape(self, fill: Colour, *points: tuple[float, float]) -> None:
        self.brush.polygon([self.at(*point) for point in points], fill, self.edge, 2)

    def box(self, fill: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        self.brush.rectangle([*self.at(x0, y0), *self.at(x1, y1)], fill, self.edge, 2)

    def oval(self, fill: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        self.brush.ellipse([*self.at(x0, y0), *self.at(x1, y1)], fill, self.edge, 2)

    def patch(self, fill: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw a box without outline."""
        self.brush.rectangle([*self.at(x0, y0), *self.at(x1, y1)], fill)

    def spot(self, fill: Colour, x: float, y: float, radius: float) -> None:
        """Draw a disc without outline."""
        corners = [*self.at(x - radius, y - radius), *self.at(x + radius, y + radius)]
        self.brush.ellipse(corners, fill)

    def line(self, fill: Colour, width: float, *points: tuple[float, float]) -> None:
        pixels = max(2, round(width * self.thing.extent))
        self.brush.line([self.at(*point) for point in points], fill, pixels, "curve")


def _face(pen: _Pen, colour: Colour, word: str) -> None:
    pen.oval(colour, -0.95, -1.0, 0.95, 0.75)
    pen.oval(_SKIN, -0.68, -0.62, 0.68, 1.0)
    pen.shape(colour, (-0.72, -0.2), (-0.6, -0.7), (0.6, -0.7), (0.72, -0.2), (0.0, -0.42))
    for side in (-0.3, 0.3):
        pen.spot((255, 255, 255), side, 0.05, 0.19)
        pen.spot(_DARK, side, 0.07, 0.12)
    pen.brush.chord([*pen.at(-0.36, 0.2), *pen.at(0.36, 0.78)], 10, 170, (190, 30, 50))


def _sign(pen: _Pen, colour: Colour, word: str) -> None:
    pen.box(_WOOD, -0.1, 0.2, 0.1, 1.0)
    pen.box(colour, -1.0, -0.8, 1.0, 0.4)
    ink = (252, 252, 252) if sum(colour) < 440 else _DARK
    cell = 1.72 / (4 * len(word) - 1)
    for index, letter in enumerate(word):
        for row, bits in enumerate(_LETTERS[letter]):
            for column, bit in enumerate(bits):
                if bit == "1":
                    x = -0.86 + (4 * index + column) * cell
                    y = -0.2 + (row - 2.5) * cell * 1.15
                    pen.patch(ink, x, y, x + cell, y + cell * 1.15)


def _house(pen: _Pen, colour: Colour, word: str) -> None:
    pen.box(_shaded(colour, 0.6), 0.4, -0.9, 0.65, -0.2)
    pen.box(colour, -0.82, -0.1, 0.82, 1.0)
    pen.shape((112, 62, 48), (-1.0, -0.08), (0.0, -1.0), (1.0, -0.08))
    pen.box(_WOOD, -0.2, 0.35, 0.2, 1.0)
    for side in (-0.54, 0.54):
        pen.box((176, 222, 246), side - 0.2, 0.12, side + 0.2, 0.52)


def _tree(pen: _Pen, colour: Colour, word: str) -> None:
    pen.box(_WOOD, -0.17, 0.2, 0.17, 1.0)
    for x, y in ((-0.42, 0.0), (0.42, 0.0), (0.0, -0.42)):
        pen.oval(colour, x - 0.56, y - 0.56, x + 0.56, y + 0.5)
    pen.spot(colour, 0.0, -0.12, 0.42)
    for x, y in ((-0.5, -0.02), (0.5, 0.0), (0.0, -0.55), (0.0, 0.05)):
        pen.spot(_shaded(colour, 0.7), x, y, 0.15)


def _person(pen: _Pen, colour: Colour, word: str) -> None:
    trousers = (64, 58, 70)
    for left in (-0.38, 0.04):
        pen.box(trousers, left, 0.45, left + 0.34, 1.0)
    for side in (-1, 1):
        pen.shape(
            colour, (side * 0.2, -0.4), (side * 0.5, -0.4), (side * 0.9, 0.3), (side * 0.6, 0.42)
        )
        pen.spot(_SKIN, side * 0.77, 0.42, 0.15)
    pen.shape(colour, (-0.46, -0.42), (0.46, -0.42), (0.52, 0.6), (-0.52, 0.6))
    pen.line(_shaded(colour, 0.6), 0.04, (0.0, -0.3), (0.0, 0.54))
    pen.oval(_SKIN, -0.33, -1.0, 0.33, -0.34)
    pen.brush.chord([*pen.at(-0.33, -1.0), *pen.at(0.33, -0.34)], 180, 360, _WOOD)


def _dog(pen: _Pen, colour: Colour, word: str) -> None:
    pen.line(pen.edge, 0.17, (-0.7, -0.1), (-0.95, -0.5))
    pen.line(colour, 0.1, (-0.7, -0.1), (-0.95, -0.5))
    for x in (-0.74, -0.42, 0.14, 0.42):
        pen.box(colour, x, 0.3, x + 0.2, 1.0)
    pen.oval(colour, -0.85, -0.22, 0.62, 0.56)
    pen.oval(colour, 0.1, -0.82, 0.82, 0.02)
    pen.oval(colour, 0.55, -0.5, 1.0, -0.06)
    pen.oval(_shaded(colour, 0.55), 0.04, -0.86, 0.36, -0.1)
    pen.spot(_DARK, 0.56, -0.5, 0.09)
    pen.spot(_DARK, 0.92, -0.36, 0.12)


def _bird(pen: _Pen, colour: Colour, word: str) -> None:
    for x in (-0.1, 0.16):
        pen.line((240, 150, 30), 0.07, (x, 0.55), (x, 0.98))
    pen.shape(_shaded(colour, 0.7), (-0.4, 0.1), (-1.0, -0.12), (-0.94, 0.3), (-0.4, 0.5))
    pen.oval(colour, -0.64, -0.32, 0.56, 0.68)
    pen.shape((250, 170, 30), (0.66, -0.7), (1.0, -0.46), (0.66, -0.32))
    pen.oval(colour, 0.08, -0.92, 0.8, -0.16)
    pen.oval(_shaded(colour, 0.62), -0.52, -0.06, 0.14, 0.42)
    pen.spot((255, 255, 255), 0.5, -0.6, 0.14)
    pen.spot(_DARK, 0.53, -0.6, 0.08)


def _butterfly(pen: _Pen, colour: Colour, word: str) -> None:
    for side in (-1, 1):
        pen.shape(
            colour, (0, 0), (side * 0.5, 0.06), (side * 0.78, 0.5), (side * 0.4, 0.86), (0, 0.4)
        )
        pen.shape(
            colour, (0, -0.1), (side * 0.55, -0.84), (side, -0.74), (side * 0.94, -0.1), (0, 0.16)
        )
        pen.spot((252, 252, 252), side * 0.66, -0.46, 0.18)
        pen.spot((252, 252, 252), side * 0.46, 0.44, 0.14)
        pen.line(_DARK, 0.05, (0, -0.5), (side * 0.26, -0.96))
    pen.oval(_DARK, -0.12, -0.6, 0.12, 0.62)


def _car(pen: _Pen, colour: Colour, word: str) -> None:
    pen.shape(colour, (-0.62, 0.05), (-0.4, -0.52), (0.36, -0.52), (0.66, 0.05))
    pen.shape((176, 222, 246), (-0.46, 0.04), (-0.32, -0.38), (-0.04, -0.38), (-0.04, 0.04))
    pen.shape((176, 222, 246), (0.08, 0.04), (0.08, -0.38), (0.3, -0.38), (0.48, 0.04))
    pen.shape(colour, (-1.0, 0.02), (0.9, 0.02), (1.0, 0.3), (1.0, 0.62), (-1.0, 0.62))
    for x in (-0.55, 0.55):
        pen.oval((40, 40, 44), x - 0.3, 0.32, x + 0.3, 0.92)
        pen.spot((214, 214, 214), x, 0.62, 0.13)
    pen.patch((255, 240, 150), 0.84, 0.2, 0.96, 0.38)


def _boat(pen: _Pen, colour: Colour, word: str) -> None:
    pen.patch(_WOOD, -0.1, -1.0, 0.0, 0.5)
    pen.shape(colour, (0.06, -0.98), (0.06, 0.3), (0.92, 0.3))
    pen.shape(colour, (-0.16, -0.7), (-0.16, 0.3), (-0.78, 0.3))
    pen.shape((134, 84, 48), (-1.0, 0.42), (1.0, 0.42), (0.68, 1.0), (-0.68, 1.0))
    pen.patch((246, 236, 214), -0.78, 0.58, 0.78, 0.7)


def _apple(pen: _Pen, colour: Colour, word: str) -> None:
    pen.line(_WOOD, 0.1, (0.0, -0.4), (0.08, -0.96))
    pen.oval(colour, -0.9, -0.58, 0.3, 0.98)
    pen.oval(colour, -0.3, -0.58, 0.9, 0.98)
    pen.spot(colour, 0.0, 0.25, 0.62)
    pen.shape((60, 170, 60), (0.08, -0.6), (0.4, -0.98), (0.82, -0.86), (0.5, -0.58))
    pen.spot((255, 250, 240), -0.48, -0.1, 0.17)


def _cake(pen: _Pen, colour: Colour, word: str) -> None:
    for x in (-0.4, 0.0, 0.4):
        pen.patch((250, 250, 250), x - 0.07, -0.72, x + 0.07, -0.2)
        pen.spot((255, 190, 40), x, -0.84, 0.13)
    pen.box((150, 92, 52), -0.9, -0.2, 0.9, 0.86)
    pen.patch((246, 226, 180), -0.84, 0.4, 0.84, 0.54)
    pen.box(colour, -0.96, -0.28, 0.96, 0.12)
    for x in (-0.72, -0.24, 0.24, 0.72):
        pen.spot(colour, x, 0.12, 0.2)
    pen.box((226, 226, 232), -1.0, 0.84, 1.0, 1.0)


def _bands(
    brush: ImageDraw.ImageDraw, jitter: random.Random, *bands: tuple[Colour, float]
) -> list[float]:
    """Fill the picture from top to bottom; each band starts at its height (0-1), jittered."""
    starts = []
    for colour, start in bands:
        top = _FULL * (start + jitter.uniform(-0.04, 0.04)) if start else 0.0
        brush.rectangle([0, top, _FULL, _FULL], _shifted(colour, jitter, 8))
        starts.append(top)
    return starts


def _disc(brush: ImageDraw.ImageDraw, fill: Colour, x: float, y: float, radius: float) -> None:
    brush.ellipse([x - radius, y - radius, x + radius, y + radius], fill)


def _cloud(brush: ImageDraw.ImageDraw, fill: Colour, x: float, y: float) -> None:
    for dx, dy, radius in ((-10, 2, 7), (0, -2, 9), (10, 2, 7)):
        _disc(brush, fill, x + dx, y + dy, radius)


def _sky(brush: ImageDraw.ImageDraw, jitter: random.Random) -> None:
    """Add a sun on one side and a cloud on the other."""
    side = jitter.choice((-1, 1))
    _disc(brush, (255, 226, 80), 64 + side * 48, 16 + jitter.uniform(-2, 2), 10)
    _cloud(brush, (250, 250, 252), 64 - side * 40, 16 + jitter.uniform(-3, 5))


def _beach(brush: ImageDraw.ImageDraw, jitter: random.Random) -> None:
    sky, sea, sand = (150, 212, 248), (20, 132, 190), (234, 206, 148)
    _bands(brush, jitter, (sky, 0), (sea, 0.4), (sand, 0.62))
    _sky(brush, jitter)


def _meadow(brush: ImageDraw.ImageDraw, jitter: random.Random) -> None:
    _, grass = _bands(brush, jitter, ((160, 214, 246), 0), ((122, 198, 84), 0.48))
    for _ in range(7):
        x, y = jitter.uniform(4, 124), jitter.uniform(grass + 8, 124)
        _disc(brush, (250, 246, 170), x, y, 2.5)
    _sky(brush, jitter)


def _night(brush: ImageDraw.ImageDraw, jitter: random.Random) -> None:
    _bands(brush, jitter, ((20, 24, 66), 0), ((30, 44, 48), 0.72))
    for _ in range(9):
        _disc(brush, (240, 240, 200), jitter.uniform(4, 124), jitter.uniform(4, 76), 1.6)
    side, height = jitter.choice((-1, 1)), 18 + jitter.uniform(-2, 2)
    _disc(brush, (246, 240, 190), 64 + side * 46, height, 11)


def _room(brush: ImageDraw.ImageDraw, jitter: random.Random) -> None:
    _bands(brush, jitter, ((236, 208, 196), 0), ((158, 110, 84), 0.7))
    left = 64 + jitter.choice((-1, 1)) * 36 - 22 + jitter.uniform(-3, 3)
    brush.rectangle([left, 10, left + 44, 54], (170, 220, 246), (250, 250, 250), 4)
    brush.line([left + 22, 10, left + 22, 54], (250, 250, 250), 4)
    brush.line([left, 32, left + 44, 32], (250, 250, 250), 4)


def _snow(brush: ImageDraw.ImageDraw, jitter: random.Random) -> None:
    _, ground = _bands(brush, jitter, ((178, 194, 212), 0), ((244, 246, 250), 0.5))
    for centre in (jitter.uniform(10, 40), jitter.uniform(86, 118)):
        peak, base = jitter.uniform(14, 26), ground + 1
        brush.polygon([(centre - 36, base), (centre, peak), (centre + 36, base)], (128, 144, 170))
        brush.polygon([(centre - 12, peak + 14), (centre, peak), (centre + 12, peak + 14)], _LIGHT)


def _street(brush: ImageDraw.ImageDraw, jitter: random.Random) -> None:
    _, road = _bands(brush, jitter, ((196, 206, 216), 0), ((96, 98, 106), 0.68))
    for x in (0, 34, 68, 102):
        top, grey = jitter.uniform(12, 40), jitter.choice((134, 152, 170))
        brush.rectangle([x, top, x + 27, road], (grey, grey - 6, grey - 10))
        for y in range(int(top) + 6, int(road) - 12, 18):
            for left in (x + 4, x + 16):
                brush.rectangle([left, y, left + 7, y + 9], (238, 228, 170))
    brush.rectangle([0, road + 20, _FULL, road + 23], (226, 226, 220))


_FIGURES: Final[dict[str, Callable[[_Pen, Colour, str], None]]] = {
    "face": _face,
    "sign": _sign,
    "house": _house,
    "tree": _tree,
    "person": _person,
    "dog": _dog,
    "bird": _bird,
    "butterfly": _butterfly,
    "car": _car,
    "boat": _boat,
    "apple": _apple,
    "cake": _cake,
}

_BACKDROPS: Final[dict[str, Callable[[ImageDraw.ImageDraw, random.Random], None]]] = {
    "beach": _beach,
    "meadow": _meadow,
    "night": _night,
    "room": _room,
    "snow": _snow,
    "street": _street,
}
