"""Files of a run: written aside and renamed, each carrying the recipe of what made it.

A recipe names the step, the part with all its options, its distribution, the hashes of its weights
and the stamps of its inputs. The stamp is a hash of the recipe, so it is known before anything is
computed, and a file whose stamp is current need not be made again. Recipes are read from headers
without importing torch or numpy.
"""

from __future__ import annotations

import ast
import json
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.disk import UnwritableError, written_aside
from brainkit.run import records, structure
from brainkit.run.folder import lock_of
from brainkit.run.structure import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

LAYOUT = 1
RECIPE_KEY = "brainkit"
UNCHANGED = "asked for again"
"""What is said of two recipes that do not differ."""
STAMPED = re.compile(r"-[0-9a-f]{16}$")
"""Ends the names of files, or folders of files, that runs share."""


@dataclass(frozen=True)
class Recipe:
    """What made an artefact.

    Attributes:
        step: name of the step, e.g. "features/clip_image".
        made_by: `repr` of each part involved, or another exact description.
        versions: distribution and version of each part, with a hash of code that is being edited.
        weights: SHA-256 of each checkpoint.
        inputs: stamp of each artefact or file group that was read.
    """

    step: str
    made_by: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        """The first 16 hex digits of a SHA-256 over everything above and the layout version."""
        return sha256(self.text().encode()).hexdigest()[:16]

    def text(self) -> str:
        """Return the recipe as one line of JSON."""
        return json.dumps({"layout": LAYOUT, **asdict(self)}, sort_keys=True)

    def is_like(self, old: Mapping[str, Any]) -> bool:
        """Say whether an older recipe is of this step and parts, with any options and inputs."""
        before, now = list(old.get("made_by", [])), list(self.made_by)
        same = [text.partition("(")[0] for text in before] == [
            text.partition("(")[0] for text in now
        ]
        step = old.get("step") == self.step
        return step and same and set(old.get("weights", {})) == set(self.weights)

    def changes(self, old: Mapping[str, Any]) -> str:
        """Say in a few words what differs from an older recipe."""
        differences: list[str] = []
        before, now = list(old.get("made_by", [])), list(self.made_by)
        for first, second in zip(before, now, strict=False):
            differences += _option_changes(first, second)
        if len(before) != len(now):
            differences.append("another set of parts")
        differences += _table_changes(old.get("weights", {}), self.weights, "weights of ")
        differences += _table_changes(old.get("inputs", {}), self.inputs)
        differences += _version_changes(list(old.get("versions", [])), list(self.versions))
        if old.get("layout") != LAYOUT:
            differences.append("artefact layout changed")
        if old.get("step", self.step) != self.step:
            differences.append(f"step {old['step']} -> {self.step}")
        return ", ".join(differences) or UNCHANGED


def _table_changes(before: Mapping[str, str], now: Mapping[str, str], word: str = "") -> list[str]:
    """Say which of the weights or inputs changed, are read now, or are read no more."""
    changed = [key for key in now if key in before and now[key] != before[key]]
    return [
        *(f"{word}{key} changed" for key in changed),
        *(f"{word}{key} read now" for key in now if key not in before),
        *(f"{word}{key} read no more" for key in before if key not in now),
    ]


def _version_changes(before: list[str], now: list[str]) -> list[str]:
    """Say which distributions have another version, or other code in the same one.

    >>> _version_changes(["bk-a 1 code 0f", "bk-b 1"], ["bk-a 1 code 3e", "bk-b 1.1"])
    ['the code of bk-a changed', 'bk-b 1 -> bk-b 1.1']
    """
    if before != now and len(before) != len(now):
        return [f"version {before} -> {now}"]
    changes = []
    for old, new in dict.fromkeys(zip(before, now, strict=True)):
        if old.partition(" code ")[0] == new.partition(" code ")[0] and old != new:
            changes.append(f"the code of {new.partition(' ')[0]} changed")
        elif old != new:
            changes.append(f"{old or 'no version'} -> {new or 'no version'}")
    return changes


def _option_changes(before: str, now: str) -> list[str]:
    if before == now:
        return []
    old, new = _fields(before), _fields(now)
    if before.partition("(")[0] != now.partition("(")[0] or not old:
        return [f"{before} -> {now}"]
    return [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _fields(text: str) -> dict[str, str]:
    """Split a dataclass repr into its fields; {} for any other text."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return {}
    if not isinstance(tree, ast.Call) or tree.args:
        return {}
    return {each.arg: ast.unparse(each.value) for each in tree.keywords if each.arg}


@dataclass(frozen=True)
class Artefact:
    """One file that a run wrote or would write; it opens itself when asked.

    Attributes:
        path: of the file.
        recipe: what makes it, known before it is made.
    """

    path: Path
    recipe: Recipe

    @property
    def stamp(self) -> str:
        """The stamp of its recipe."""
        return self.recipe.stamp

    @property
    def lock(self) -> Path:
        """The lock that a process holds while it makes the file."""
        return lock_of(self.path)

    @property
    def current(self) -> bool:
        """Whether the file is there, was made by exactly this recipe and is as it was written."""
        return is_current(self.path, self.recipe) and not self.damage()

    def damage(self) -> str:
        """Return how the file differs from what was written, to follow its name; "" if not.

        Of a file without a record, as an earlier brainkit left, only whether it is whole is known.
        """
        if not self.path.is_file():
            return ""
        known = records.damage(self.path, self.stamp)
        if known is None:
            return structure.broken(self.path) if is_current(self.path, self.recipe) else ""
        return known

    def intact(self) -> Path:
        """Return the path for a step to open, once the file is known to be as it was written.

        Raises:
            DataError: it went or was changed after the run had looked at it.
        """
        return records.unharmed(self.path, self.damage())

    def record(self) -> None:
        """Write down what the finished file is, unless it is, for `damage` to compare it with."""
        if not records.is_recorded(self.path, self.stamp):
            records.record(self.path, self.stamp)

    def confirm(self) -> None:
        """Record a current file that has no record, or was copied, where its folder allows it."""
        with suppress(OSError, UnwritableError):
            self.record()

    def why(self, reached: Collection[Path] = ()) -> str:
        """Say why the file is not current: new, damaged, or what changed since it was made.

        Args:
            reached: files of the same run, which are no earlier ones of this.
        """
        damage = self.damage()
        if damage:
            return f"{self.path.name} {damage}"
        older = read_recipe(self.path)
        if not older and self.path.is_file():
            return f"{self.path.name} has lost its recipe"
        if not older:
            # A shared file carries a stamp in its name or its folder's: others lie beside it.
            earlier = [path for path in self._beside() if path not in reached]
            beside = [recipe for path in earlier if (recipe := read_recipe(path))]
            alike = [recipe for recipe in beside if self.recipe.is_like(recipe)]
            return min(map(self.recipe.changes, alike), key=len, default="new")
        return self.recipe.changes(older)

    def _beside(self) -> list[Path]:
        """Return the files of other stamps that have this one's place and name otherwise."""
        stem, ending, parent = self.path.stem, self.path.suffix, self.path.parent
        if STAMPED.search(stem):
            found = parent.glob(f"{escape(STAMPED.sub('', stem))}-*{ending}")
        elif STAMPED.search(parent.name):
            beside = f"{escape(STAMPED.sub('', parent.name))}-*"
            found = parent.parent.glob(f"{beside}/{escape(self.path.name)}")
        else:
            return []
        return [path for path in found if path.is_file()]

    def __contains__(self, name: str) -> bool:
        """Say whether the file is there and has a tensor of this name."""
        return name in read_header(self.path)

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor mapped from disk: its numbers are read when they are used."""
        from safetensors import safe_open

        with safe_open(self.intact(), framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by name, mapped from disk."""
        from safetensors import safe_open

        with safe_open(self.intact(), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def test(self) -> Tensor:
        """Return a feature of the test images, (images, *shape), true or predicted, from disk."""
        return self["decoded" if "decoded" in self else "test"]


@dataclass(frozen=True)
class Taken(Artefact):
    """A file of features whose rows are other test images' than the run's.

    Attributes:
        rows: for each test image of the run which row of the file it has.
    """

    rows: tuple[int, ...] = ()

    def test(self) -> Tensor:
        """Return the features of the run's test images, (images, *shape)."""
        return super().test()[list(self.rows)]


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


@contextmanager
def recorded_aside(path: Path, recipe: Recipe) -> Iterator[Path]:
    """Lend a temporary path like `written_aside`, and record the file before it gets its name.

    So a file that is written again with other bytes never counts as changed by others; the record
    of the one before holds until then.
    """
    with written_aside(path) as aside:
        yield aside
        records.record(aside, recipe.stamp, path.name)


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    recipe: Recipe,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors with their recipe in the header, whole or not at all.

    Args:
        path: of the file.
        tensors: by name.
        recipe: of what made them.
        notes: what else the header's metadata hold, by key.
    """
    with written_aside(path) as aside:
        save_tensors(aside, tensors, recipe, notes)


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    recipe: Recipe,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write to a temporary path what `write_tensors` does; arguments as there."""
    from safetensors.torch import save_file

    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        path,
        metadata={RECIPE_KEY: recipe.text(), **(notes or {})},
    )
    if notes:
        _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """Write a header's metadata in the order of their keys; the library's order is random."""
    header = read_header(path)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        file.write(text.ljust(length))


def read_note(path: Path, key: str) -> str:
    """Return what the metadata of a safetensors file hold under a key; "" when nothing."""
    metadata = read_header(path).get("__metadata__")
    return str(metadata.get(key, "")) if isinstance(metadata, dict) else ""


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the recipe kept in or beside a file, or {} when it has none."""
    text: str | bytes
    if path.suffix == ".safetensors":
        text = read_note(path, RECIPE_KEY)
    elif path.suffix == ".png":
        text = _png_text(path)
    else:
        beside = sidecar(path)
        text = beside.read_bytes() if path.is_file() and beside.is_file() else ""
    recipe = structure.json_object(text)
    return recipe if _is_recipe(recipe) else {}


def _is_recipe(recipe: Mapping[str, Any]) -> bool:
    texts, tables = ("made_by", "versions"), ("weights", "inputs")
    return all(
        isinstance(recipe.get(name), list) and all(isinstance(text, str) for text in recipe[name])
        for name in texts
    ) and all(isinstance(recipe.get(name), dict) for name in tables)


def _png_text(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return str(getattr(image, "text", {}).get(RECIPE_KEY, ""))
    except Exception:  # Pillow's readers raise whatever they stumble over
        return ""


def sidecar(path: Path) -> Path:
    """Return the hidden file that keeps the recipe of a file with no room for it."""
    return path.with_name(f".{path.name}.recipe")


def is_current(path: Path, recipe: Recipe) -> bool:
    """Say whether a file was made by exactly this recipe."""
    return bool(read_recipe(path) == json.loads(recipe.text()))


def write_png(path: Path, image: NDArray[np.uint8], recipe: Recipe) -> None:
    """Write uint8 (height, width, 3) as PNG with its recipe, and its record."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(RECIPE_KEY, recipe.text())
    with recorded_aside(path, recipe) as aside:
        Image.fromarray(image).save(aside, format="png", pnginfo=info)
