"""Make the files of a step unless they are current: one file, or a file a draw.

Both say which files are kept and which are made and why, and make none on a dry run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from brainkit.console import Bar, bar
from brainkit.disk import require_no_folder
from brainkit.run.artefact import Artefact, sidecar, write_text
from brainkit.run.shared import Run, Work

if TYPE_CHECKING:
    from brainkit.parts import Progress

T = TypeVar("T")
WITH_RECIPE = (".safetensors", ".png")
"""Files that have room for their recipe; others get it in a hidden file beside them."""


def one(
    run: Run, artefact: Artefact, make: Callable[[Artefact], None], *, size: str = ""
) -> Artefact:
    """Make a file unless it is current, say which and why, and return its artefact.

    Args:
        run: counts the step as kept or computed.
        artefact: the file, below the run's root; its recipe names the step.
        make: writes the file, given the artefact.
        size: what a dry run says about it, e.g. "3.9 GB".
    """
    work, step = run.work, artefact.recipe.step
    if artefact.current and step not in work.again:
        confirm(work, artefact)
        work.kept.append(step)
        work.say(f"{step}: kept")
        return artefact
    work.computed.append(step)
    why = artefact.why()
    if work.dry:
        target = artefact.path.relative_to(work.root)
        work.say(f"{step}: would be computed ({why}), writes {target}, {size}".rstrip(", "))
        return artefact
    require_no_folder(artefact.path)
    work.say(f"{step}: computing ({why})")
    began = time.monotonic()
    make(artefact)
    if artefact.path.suffix not in WITH_RECIPE:
        write_text(sidecar(artefact.path), artefact.recipe.text())
    artefact.record()
    work.seconds[step] = round(time.monotonic() - began, 3)
    work.say(f"{step}: done in {work.seconds[step]:.1f} s")
    return artefact


def confirm(work: Work, *artefacts: Artefact) -> None:
    """Record current files that no record speaks of; a dry run writes nothing."""
    if not work.dry:
        for artefact in artefacts:
            artefact.confirm()


@dataclass(frozen=True)
class Batch:
    """Rows of a step's files that are made together.

    Attributes:
        rows: which, counted from 0.
        bar: counts the rows that are made.
    """

    rows: Sequence[int]
    bar: Bar

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, items: Sequence[T]) -> list[T]:
        """Return what belongs to the batch of a sequence with one item a row of the step."""
        return [items[row] for row in self.rows]

    def progress(self, share: float = 1.0) -> Progress:
        """Return a callback (step, steps) of work that is a share of the batch's."""
        return self.bar.within(len(self) * share)


@dataclass(frozen=True)
class Batches:
    """The rows that are to be made now; false when there are none, or the run is dry.

    Attributes:
        rows: which, counted from 0.
        size: rows of a batch at most.
        begin: shows the bar, when the first batch is taken.
        end: does what is left to do when the files of a batch are made.
    """

    rows: Sequence[int]
    size: int
    begin: Callable[[], Bar]
    end: Callable[[Batch], None] = lambda batch: None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        if not self.rows:
            return
        shown = self.begin()
        for start in range(0, len(self.rows), self.size):
            batch = Batch(self.rows[start : start + self.size], shown)
            yield batch
            self.end(batch)
            shown.of(start + len(batch), len(self.rows))


@contextmanager
def each(
    run: Run,
    step: str,
    *files: Sequence[Artefact],
    doing: str,
    unit: str = "",
    size: int = 0,
) -> Iterator[Batches]:
    """Say which files of a step are kept, and lend the others in batches, under a bar.

    A network that makes them is loaded within the block `if batches`, so that it is not loaded for
    nothing.

    Args:
        run: counts the step as kept or computed; its batch size is that of the batches.
        step: its name.
        files: one artefact a row; of several sequences, a row is kept when all of its files are.
        doing: what the bar says.
        unit: what rows are counted in; the run's draws unless told.
        size: rows of a batch, if not the run's batch size.
    """
    rows = list(zip(*files, strict=True))
    stale = [row for row, together in enumerate(rows) if not all(file.current for file in together)]
    unit = unit or run.unit
    confirm(run.work, *(file for row in set(range(len(rows))) - set(stale) for file in rows[row]))
    if stale:
        why = _why([file for of in files for file in of if not file.current])
        _announce(
            run.work, step, f"{len(stale)} of {len(rows)} {unit}", why, len(rows) - len(stale)
        )
    elif rows:
        run.work.kept.append(step)
        run.work.say(f"{step}: kept ({len(rows)} {unit})")
    for row in () if run.work.dry else stale:
        for file in rows[row]:
            require_no_folder(file.path)
    began = time.monotonic()
    with ExitStack() as stack:
        yield Batches(
            rows=() if run.work.dry else stale,
            size=size or run.config.batch_size,
            begin=lambda: stack.enter_context(bar(doing, len(stale), unit)),
            end=lambda batch: confirm(run.work, *(file for of in files for file in batch.of(of))),
        )
    if stale and not run.work.dry:
        run.work.seconds[step] = round(time.monotonic() - began, 3)


def _why(stale: Sequence[Artefact]) -> str:
    """Say why the first of some files is made, one that is damaged before all others."""
    damaged = [file for file in stale if file.damage()]
    more = f" and {len(damaged) - 1} more are damaged" if len(damaged) > 1 else ""
    return (damaged or stale)[0].why() + more


def _announce(work: Work, step: str, which: str, why: str, n_kept: int) -> None:
    work.computed.append(step)
    kept = f", {n_kept} kept" if n_kept else ""
    verb = "would be computed for" if work.dry else "computing"
    work.say(f"{step}: {verb} {which} ({why}{kept})")
