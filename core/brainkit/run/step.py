"""The work folder of a run: which steps are current, why others are not, and who holds it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brainkit.console import Say
from brainkit.run.artefact import Recipe, is_current, read_recipe, sidecar, write_text


@dataclass(frozen=True)
class Artefact:
    """One file a run wrote or would write."""

    path: Path
    recipe: Recipe


@dataclass
class Work:
    """Knows where a run's files lie and skips the steps whose files are current.

    Attributes:
        root: folder of one subject, `<work>/subj01`.
        say: shows one line.
        dry: only say what would be done.
        computed: names of the steps that were computed, or would be.
    """

    root: Path
    say: Say
    dry: bool = False
    computed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def step(
        self, path: Path, recipe: Recipe, make: Callable[[Artefact], None], size: str = ""
    ) -> Artefact:
        """Make the file unless it is current, and say which and why.

        Args:
            path: of the file, below `root`.
            recipe: what makes it.
            make: writes the file, given the artefact.
            size: what a dry run says about it, e.g. "3.9 GB".
        """
        artefact = Artefact(path, recipe)
        if is_current(path, recipe):
            self.kept.append(recipe.step)
            self.say(f"{recipe.step}: kept")
            return artefact
        self.computed.append(recipe.step)
        why = self.why(path, recipe)
        if self.dry:
            target = path.relative_to(self.root)
            self.say(
                f"{recipe.step}: would be computed ({why}), writes {target}, {size}".rstrip(", ")
            )
            return artefact
        self.say(f"{recipe.step}: computing ({why})")
        began = time.monotonic()
        make(artefact)
        if path.suffix not in (".safetensors", ".png"):
            write_text(sidecar(path), recipe.text())
        self.say(f"{recipe.step}: done in {time.monotonic() - began:.1f} s")
        return artefact

    def why(self, path: Path, recipe: Recipe) -> str:
        """Say why a file is not current: new, or what changed since it was made."""
        old = read_recipe(path)
        if not old:
            # A shared file carries its stamp in its name: the older one lies beside it.
            stem = path.name.removesuffix(f"-{recipe.stamp}{path.suffix}")
            others = path.parent.glob(f"{stem}-*{path.suffix}") if stem != path.name else iter(())
            newest = max(others, key=lambda found: found.stat().st_mtime, default=None)
            old = read_recipe(newest) if newest else {}
        return recipe.changes(old) if old else "new"

    def shared(self, name: str, recipe: Recipe) -> Path:
        """Give the path of a file that several methods may use: its stamp is in its name."""
        return self.root / f"{name}-{recipe.stamp}.safetensors"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process; when another one does, say who and wait."""
        from filelock import FileLock, Timeout

        if self.dry:
            yield
            return
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / ".lock")
        owner = self.root / ".lock-owner.json"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.say(f"{self.root} is in use by {_owner(owner)}; waiting for it to finish")
            lock.acquire()
        try:
            me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}
            write_text(owner, json.dumps(me))
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
