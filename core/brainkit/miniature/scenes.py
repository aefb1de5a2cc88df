"""Draw small procedural pictures with captions, everything from one seed.

The miniature's world: one of six backgrounds and one or two large objects out of twelve kinds.
Nothing but the seed has to be stored: the same seed gives the same bytes on every machine with the
same Pillow. What a picture shows (its attributes), how exactly it is drawn (jitter) and how it is
described (captions) come from three separate random streams, so changing one of them does not
change the others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature.drawing import COLOURS as COLOURS
from brainkit.miniature.drawing import SIDE as SIDE
from brainkit.miniature.drawing import paint

TRAIN_SEEDS: Final = range(0, 26_000)
"""Scenes that the miniature's networks may be trained on."""
HELD_OUT_SEEDS: Final = range(1_000_000, 2_000_000)
"""Scenes for evaluating networks, never trained on."""
SUBJECT_SEEDS: Final = range(2_000_000, 3_000_000)
"""Scenes that the simulated subject looks at, never trained on."""

KINDS: Final[dict[str, str]] = {
    "face": "faces",
    "sign": "words",
    "house": "places",
    "tree": "places",
    "person": "bodies",
    "dog": "animals",
    "bird": "animals",
    "butterfly": "animals",
    "car": "vehicles",
    "boat": "vehicles",
    "apple": "food",
    "cake": "food",
}
"""Category of each kind of object."""

KIND_COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "face": ("red", "yellow", "blue"),
    "sign": ("red", "green", "blue", "yellow"),
    "house": ("red", "yellow", "white", "blue"),
    "tree": ("green", "orange", "red"),
    "person": ("red", "blue", "green", "purple"),
    "dog": ("white", "orange", "yellow"),
    "bird": ("red", "blue", "yellow"),
    "butterfly": ("purple", "orange", "blue"),
    "car": ("red", "blue", "yellow", "white"),
    "boat": ("red", "yellow", "purple", "white"),
    "apple": ("red", "green", "yellow"),
    "cake": ("white", "purple", "orange"),
}
"""Colours that each kind comes in; a face's is its hair's, a person's its coat's."""

CLASHES: Final[dict[str, frozenset[str]]] = {
    "beach": frozenset({"yellow"}),
    "meadow": frozenset({"green"}),
    "night": frozenset({"blue", "purple"}),
    "room": frozenset({"orange"}),
    "snow": frozenset({"white"}),
    "street": frozenset(),
}
"""Colours too close to a background's own for an object to stand out."""

BACKGROUNDS: Final[dict[str, tuple[str, ...]]] = {
    "beach": ("at the beach", "on the sand", "by the sea"),
    "meadow": ("in a meadow", "on the grass", "in the fields"),
    "night": ("at night", "under the stars", "in the dark"),
    "room": ("in a room", "indoors", "near a window"),
    "snow": ("in the snow", "on a snowy day", "in winter"),
    "street": ("on a street", "in the city", "in town"),
}
"""Phrases for each background."""

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "face": ("face", "head"),
    "sign": ("sign", "board"),
    "house": ("house", "cottage"),
    "tree": ("tree", "oak"),
    "person": ("person", "man"),
    "dog": ("dog", "puppy"),
    "bird": ("bird", "songbird"),
    "butterfly": ("butterfly", "moth"),
    "car": ("car", "automobile"),
    "boat": ("boat", "sailboat"),
    "apple": ("apple", "fruit"),
    "cake": ("cake", "dessert"),
}
"""Nouns for each kind of object."""

VERBS: Final[dict[str, tuple[str, ...]]] = {
    "face": ("smiling", "looking"),
    "sign": ("standing", "posted"),
    "house": ("standing", "built"),
    "tree": ("growing", "standing"),
    "person": ("waiting", "standing"),
    "dog": ("sitting", "resting"),
    "bird": ("sitting", "perched"),
    "butterfly": ("flying", "fluttering"),
    "car": ("parked", "waiting"),
    "boat": ("sailing", "moored"),
    "apple": ("lying", "placed"),
    "cake": ("served", "placed"),
}
"""What each kind of object is seen doing."""

WORDS: Final = ("bus", "zoo", "ice", "tea")
"""Words that stand on signs."""
SIZES: Final[dict[str, tuple[str, ...]]] = {"small": ("small", "little"), "large": ("large", "big")}
"""Phrases for each size; named only of an object that is alone."""
POSITIONS: Final[dict[str, tuple[str, ...]]] = {
    "left": ("on the left", "on the left side"),
    "centre": ("in the middle", "in the centre"),
    "right": ("on the right", "on the right side"),
}
"""Phrases for each position."""

_PHOTO: Final = ("photo", "picture", "image", "view")
_BESIDE: Final = ("next to", "beside")


class _Pick(Protocol):
    def __call__(self, phrases: Sequence[str], /) -> str: ...


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene; `word` is what a sign says and empty for every other kind."""

    kind: str
    category: str
    colour: str
    size: str
    position: str
    centre: tuple[float, float]
    """Horizontal and vertical centre, in pixels from the top left corner."""
    extent: float
    """Larger side of the box around the object, in pixels."""
    word: str = ""


@dataclass(frozen=True)
class Scene:
    """What one picture shows, from left to right."""

    seed: int
    background: str
    objects: tuple[SceneObject, ...]


def make_scene(seed: int) -> Scene:
    """Choose what the picture of this seed shows."""
    attributes = random.Random(f"attributes {seed}")
    jitter = random.Random(f"layout {seed}")
    background = attributes.choice(list(BACKGROUNDS))
    alone = attributes.random() < 0.6
    kinds = attributes.sample(list(KINDS), 1 if alone else 2)
    positions = [attributes.choice(list(POSITIONS))] if alone else ["left", "right"]
    objects = []
    for kind, position in zip(kinds, positions, strict=True):
        size = attributes.choice(list(SIZES)) if alone else "small"
        extent = _extent(size, alone=alone, jitter=jitter)
        objects.append(
            SceneObject(
                kind=kind,
                category=KINDS[kind],
                colour=attributes.choice(allowed_colours(kind, background)),
                size=size,
                position=position,
                centre=_centre(kind, position, extent=extent, jitter=jitter),
                extent=extent,
                word=attributes.choice(WORDS) if kind == "sign" else "",
            )
        )
    return Scene(seed=seed, background=background, objects=tuple(objects))


def allowed_colours(kind: str, background: str) -> tuple[str, ...]:
    """Return the colours of this kind that stand out from this background."""
    return tuple(c for c in KIND_COLOURS[kind] if c not in CLASHES[background])


def _extent(size: str, *, alone: bool, jitter: random.Random) -> float:
    if not alone:
        return jitter.uniform(28.0, 30.0)
    return jitter.uniform(33.0, 36.0) if size == "small" else jitter.uniform(46.0, 48.0)


def _centre(
    kind: str, position: str, *, extent: float, jitter: random.Random
) -> tuple[float, float]:
    margin = extent / 2 + jitter.uniform(1.0, 3.0)
    across = {"left": margin, "centre": SIDE / 2 + jitter.uniform(-1, 1), "right": SIDE - margin}
    floor = SIDE - extent / 2 - jitter.uniform(2.0, 4.0)
    flies = kind in ("butterfly", "face")
    down = (floor + SIDE / 2) / 2 if flies else floor
    return across[position], down


def draw(scene: Scene) -> NDArray[np.uint8]:
    """Draw a scene as uint8 (height, width, channels), RGB in 0-255."""
    return paint(scene, random.Random(f"drawing {scene.seed}"))


def images(seeds: Iterable[int]) -> NDArray[np.uint8]:
    """Draw the scenes of these seeds as uint8 (batch, height, width, channels)."""
    return np.stack([draw(make_scene(seed)) for seed in seeds])


def captions(scene: Scene) -> tuple[str, ...]:
    """Describe a scene in five ways; caption k follows template k.

    Every caption names every object and its colour. Templates 0 to 3 name the background; 0 and 4
    the position; 0 and 3 the size of an object that is alone.
    """
    pick = random.Random(f"captions {scene.seed}").choice
    if len(scene.objects) == 1:
        return _describe_one(scene, pick)
    return _describe_two(scene, pick)


def _describe_one(scene: Scene, pick: _Pick) -> tuple[str, ...]:
    (thing,) = scene.objects
    places = BACKGROUNDS[scene.background]

    def sized() -> str:
        return _a(f"{pick(SIZES[thing.size])} {_named(thing, pick)}")

    def plain() -> str:
        return _a(_named(thing, pick))

    return (
        f"{sized()} {pick(POSITIONS[thing.position])} {pick(places)}",
        f"{pick(places)} there is {plain()}",
        f"{plain()} {pick(VERBS[thing.kind])} {pick(places)}",
        f"a {pick(_PHOTO)} of {sized()} {pick(places)}",
        f"there is {plain()} {pick(POSITIONS[thing.position])}",
    )


def _describe_two(scene: Scene, pick: _Pick) -> tuple[str, ...]:
    left, right = scene.objects
    places = BACKGROUNDS[scene.background]

    def name(thing: SceneObject) -> str:
        return _a(_named(thing, pick))

    def sides() -> str:
        return (
            f"{name(left)} {pick(POSITIONS['left'])} and {name(right)} {pick(POSITIONS['right'])}"
        )

    return (
        f"{sides()} {pick(places)}",
        f"{pick(places)} there is {name(left)} {pick(_BESIDE)} {name(right)}",
        f"{name(left)} {pick(VERBS[left.kind])} {pick(_BESIDE)} {name(right)} {pick(places)}",
        f"a {pick(_PHOTO)} of {name(left)} and {name(right)} {pick(places)}",
        f"there is {sides()}",
    )


def _named(thing: SceneObject, pick: _Pick) -> str:
    noun = pick(SYNONYMS[thing.kind])
    if thing.kind == "face":
        return f"{noun} with {thing.colour} hair"
    if thing.kind == "person":
        return f"{noun} in {_a(thing.colour)} coat"
    if thing.kind == "sign":
        return f"{thing.colour} {noun} saying {thing.word}"
    return f"{thing.colour} {noun}"


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def vocabulary() -> tuple[str, ...]:
    """Return every word that a caption can hold, sorted."""
    tables = (BACKGROUNDS, SYNONYMS, VERBS, SIZES, POSITIONS)
    phrases = [phrase for table in tables for entry in table.values() for phrase in entry]
    phrases += [
        *COLOURS,
        *WORDS,
        *_PHOTO,
        *_BESIDE,
        "a an of and there is with hair in coat saying",
    ]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


def kinds_in(caption: str) -> set[str]:
    """Find the kinds of objects that a caption names, by any synonym."""
    words = _words(caption)
    return {kind for kind, nouns in SYNONYMS.items() if words & set(nouns)}


def colours_in(caption: str) -> set[str]:
    """Find the colours that a caption names."""
    return _words(caption) & set(COLOURS)


def background_in(caption: str) -> str | None:
    """Find the background that a caption names by any of its phrases, or None."""
    text = f" {' '.join(re.findall(r'[a-z]+', caption.lower()))} "
    for background, phrases in BACKGROUNDS.items():
        if any(f" {phrase} " in text for phrase in phrases):
            return background
    return None


def _words(caption: str) -> set[str]:
    return set(re.findall(r"[a-z]+", caption.lower()))
