"""Make the files of a step unless they are current: one file, or a file a draw.

Both say which files are kept and which are made and why, and make none on a dry run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from brainkit.console import Bar, bar
from brainkit.disk import require_no_folder
from brainkit.locks import held_at_once, locked
from brainkit.run.artefact import Artefact, sidecar, write_text
from brainkit.run.folder import REMEDY
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
    work.reached.add(artefact.path)
    if artefact.current and step not in work.again:
        confirm(work, artefact)
        work.kept.append(step)
        work.say(f"{step}: kept")
        return artefact
    if work.dry:
        work.computed.append(step)
        target = artefact.path.relative_to(work.root)
        line = f"{step}: would be computed ({artefact.why(work.reached)}), writes {target}, {size}"
        work.say(line.rstrip(", "))
        return artefact
    require_no_folder(artefact.path)
    with locked(artefact.lock, step, work.say, remedy=REMEDY):
        return _made(work, artefact, make)


def _made(work: Work, artefact: Artefact, make: Callable[[Artefact], None]) -> Artefact:
    """Make a file that this process holds, unless another one made it meanwhile."""
    step = artefact.recipe.step
    if artefact.current and step not in work.again:
        work.kept.append(step)
        work.say(f"{step}: made by another process meanwhile")
        return artefact
    work.computed.append(step)
    work.say(f"{step}: computing ({artefact.why(work.reached)})")
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
        rows: which, counted from 0; all that fall into the batch, whether stale or current.
        bar: counts the rows that are made.
    """

    rows: Sequence[int]
    bar: Bar

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, items: Sequence[T]) -> list[T]:
        """Return what belongs to the batch of a sequence with one item a row of the step."""
        return [items[row] for row in self.rows]

    def writing_order(self, items: Sequence[Artefact]) -> list[int]:
        """Return the batch's rows, counted from 0 within it, in the order to write their files.

        Files that are current come first: a kill before the last of the others is written leaves a
        batch that is made again.
        """
        files = self.of(items)
        return sorted(range(len(files)), key=lambda row: not files[row].current)

    def progress(self, share: float = 1.0) -> Progress:
        """Return a callback (step, steps) of work that is a share of the batch's."""
        return self.bar.within(len(self) * share)


@dataclass(frozen=True)
class Batches:
    """The batches that are to be made now; false when there are none, or the run is dry.

    Attributes:
        groups: the rows of each.
        begin: shows the bar, when the first batch is taken.
        hold: takes the locks of a batch's files unless another process has one, which it returns.
        stale: says whether a batch is still to be made.
        wait: waits until another process leaves a lock, and says so.
        end: does what is left to do when the files of a batch are made, and leaves its locks.
    """

    groups: Sequence[Sequence[int]]
    begin: Callable[[], Bar]
    hold: Callable[[Sequence[int]], Path | None]
    stale: Callable[[Sequence[int]], bool]
    wait: Callable[[Path], None]
    end: Callable[[Sequence[int]], None]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Batch]:
        if not self.groups:
            return
        shown, done, total = self.begin(), 0, sum(map(len, self.groups))
        waiting = list(self.groups)
        while waiting:
            # What another process makes now comes last: it is likely to be there then.
            elsewhere: list[tuple[Sequence[int], Path]] = []
            for rows in waiting:
                if taken := self.hold(rows):
                    elsewhere.append((rows, taken))
                    continue
                if self.stale(rows):
                    yield Batch(rows, shown)
                self.end(rows)
                done += len(rows)
                shown.of(done, total)
            if len(elsewhere) == len(waiting):
                self.wait(elsewhere[0][1])
            waiting = [rows for rows, _ in elsewhere]


@contextmanager
def each(
    run: Run,
    step: str,
    *files: Sequence[Artefact],
    doing: str,
    unit: str = "",
    places: Sequence[int] | None = None,
) -> Iterator[Batches]:
    """Say which files of a step are kept, and lend the others in batches, under a bar.

    Kernels round differently in batches of another size. So batches are cut by the rows' places
    alone, and one with a stale row is made again whole: its rows then are what they would have been
    without a kill.

    A network that makes them is loaded within the block `if batches`, so that it is not loaded for
    nothing. Files are written in a batch's `writing_order`.

    Args:
        run: counts the step as kept or computed; its batch size is that of the batches.
        step: its name.
        files: one artefact a row; of several sequences, a row is kept when all of its files are.
        doing: what the bar says.
        unit: what rows are counted in; the run's draws unless told.
        places: each row's place among the run's draws, ascending, if rows are not the draws.
    """
    rows = list(zip(*files, strict=True))
    run.work.reached.update(file.path for of in files for file in of)
    stale = {row for row, together in enumerate(rows) if not all(file.current for file in together)}
    groups = _groups(places or range(len(rows)), run.config.batch_size, stale)
    made = {row for group in groups for row in group}
    unit = unit or run.unit
    confirm(run.work, *(file for row in set(range(len(rows))) - made for file in rows[row]))
    if stale:
        lacking = [file for of in files for file in of if not file.current]
        why = _why(lacking, run.work.reached)
        again, n_kept = len(made - stale), len(rows) - len(made)
        reasons = [why, f"{n_kept} kept" * bool(n_kept), f"{again} with their batch" * bool(again)]
        which = f"{len(made)} of {len(rows)} {unit}"
        _announce(run.work, step, which, ", ".join(filter(None, reasons)))
    elif rows:
        run.work.kept.append(step)
        run.work.say(f"{step}: kept ({len(rows)} {unit})")
    for row in () if run.work.dry else made:
        for file in rows[row]:
            require_no_folder(file.path)
    began = time.monotonic()
    with ExitStack() as stack:
        holding = stack.enter_context(ExitStack())

        def hold(group: Sequence[int]) -> Path | None:
            locks = {file.lock for row in group for file in rows[row]}
            return holding.enter_context(held_at_once(locks, REMEDY))

        def end(group: Sequence[int]) -> None:
            confirm(run.work, *(file for row in group for file in rows[row]))
            holding.close()

        yield Batches(
            groups=() if run.work.dry else groups,
            begin=lambda: stack.enter_context(bar(doing, len(made), unit)),
            hold=hold,
            stale=lambda group: not all(file.current for row in group for file in rows[row]),
            wait=lambda lock: _wait(run, step, lock),
            end=end,
        )
    if stale and not run.work.dry:
        run.work.seconds[step] = round(time.monotonic() - began, 3)


def _wait(run: Run, step: str, lock: Path) -> None:
    """Wait until another process leaves a lock."""
    with locked(lock, step, run.work.say, remedy=REMEDY):
        pass


def _groups(places: Sequence[int], size: int, stale: Set[int]) -> list[list[int]]:
    """Return the rows of each batch that holds a stale row.

    >>> _groups(range(7), 3, stale={4, 6})
    [[3, 4, 5], [6]]
    """
    rows = range(len(places))
    batches = [list(group) for _, group in groupby(rows, key=lambda row: places[row] // size)]
    return [batch for batch in batches if not stale.isdisjoint(batch)]


def _why(stale: Sequence[Artefact], reached: Set[Path]) -> str:
    """Say why the first of some files is made, one that is damaged before all others."""
    damaged = [file for file in stale if file.damage()]
    more = f" and {len(damaged) - 1} more are damaged" if len(damaged) > 1 else ""
    return (damaged or stale)[0].why(reached) + more


def _announce(work: Work, step: str, which: str, why: str) -> None:
    work.computed.append(step)
    verb = "would be computed for" if work.dry else "computing"
    work.say(f"{step}: {verb} {which} ({why})")
