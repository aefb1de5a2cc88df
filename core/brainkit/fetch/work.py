"""Download and convert what a plan says, or convert what the user has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from brainkit.checkpoints.record import Record
from brainkit.console import Bar, Say, human_size
from brainkit.errors import CheckpointError, UsageError, printable
from brainkit.fetch.given import given
from brainkit.fetch.inventory import DOWNLOADS, FETCHING
from brainkit.fetch.plan import FetchPlan, Found, Item, Search, bring, check_disks, grouped
from brainkit.locks import locked
from brainkit.weights import Companion, Config, RemoteFile
from brainkit.weights.convert import Converted, ReleasedFiles, convert

SMALL = 10**7
"""Bytes below which a file gets no progress bar."""


@contextmanager
def alone(store: Path, say: Say) -> Iterator[None]:
    """Wait until no other fetch writes into a store.

    Raises:
        UnwritableError: the folder cannot be written.
        BusyError: another fetch writes, for longer than one waits.
    """
    with locked(store / FETCHING, str(store), say, remedy="with --checkpoints"):
        yield


def carry_out(planned: FetchPlan, say: Say) -> Iterator[str]:
    """Download and convert what is missing; yields a line for each checkpoint that is done.

    Raises:
        CheckpointError: at the end, what failed of that which runs need; the rest is done.
    """
    check_disks(planned)
    failed = [(item, item.problem) for item in planned.items if item.problem]
    converted: list[Found] = []
    for items in _groups(planned.items):
        try:
            yield from _group(items, planned.store, say)
            converted += [found for item in items for found in item.all_found]
        except CheckpointError as error:
            failed += [(item, str(error)) for item in items]
    wanted = {each.origin for item, _ in failed for each in item.all_found}
    _tidy([each for each in converted if each.origin not in wanted])
    missing = grouped((problem, item.known.name) for item, problem in failed if item.known.scores)
    for problem, names in missing.items():
        say(f"Warning: scores of {', '.join(names)} will be left out: {problem}")
    needed = grouped((why, item.known.name) for item, why in failed if not item.known.scores)
    if needed:
        raise CheckpointError(
            "; ".join(f"{', '.join(names)}: {problem}" for problem, names in needed.items())
        )


def _groups(items: Sequence[Item]) -> list[list[Item]]:
    """Put together what is read from the same files, unless it needs other files beside it."""
    origins = {item.found.origin: item.found for item in items if item.found}
    return [
        group
        for found in origins.values()
        for group in _compatible([item for item in items if item.found == found])
    ]


def _compatible(items: Sequence[Item]) -> list[list[Item]]:
    """Split checkpoints that need different files under the same name."""
    groups: list[list[Item]] = []
    for item in items:
        fitting = (group for group in groups if not any(_differ(each, item) for each in group))
        group = next(fitting, None)
        if group is None:
            groups.append([item])
        else:
            group.append(item)
    return groups


def _differ(one: Item, other: Item) -> bool:
    return any(one.beside[p] != other.beside[p] for p in one.beside.keys() & other.beside.keys())


def _brought(items: Sequence[Item], bars: _Bars) -> dict[str, tuple[Path, ...]]:
    return {
        path: (bring(found, bars.downloading),)
        for item in items
        for path, found in item.beside.items()
    }


def _group(items: Sequence[Item], store: Path, say: Say) -> Iterator[str]:
    found = items[0].found
    assert found is not None
    with _Bars(say) as bars:
        folder = bring(found, bars.downloading)
        source = ReleasedFiles((folder,), _brought(items, bars), found.origin, found.commit)
        references = [item.known.checkpoint.release for item in items]
        say(f"checking {', '.join(item.known.name for item in items)}")
        made = convert(references, source, store, progress=bars.writing)
    yield from (line for each in made for line in _done(each))
    lacking = {item.known.name for item in items} - {each.checkpoint for each in made}
    if lacking:
        raise CheckpointError(
            f"{found.whence} has nothing of {', '.join(sorted(lacking))}; take another origin with "
            "--origin, or give the published files with --from PATH"
        )


class _Bars:
    """One progress bar at a time, for files that take a while."""

    def __init__(self, say: Say) -> None:
        self.say, self.shown = say, ""
        self.bar: Bar | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.close()

    def downloading(self, name: str, done: int, size: int) -> None:
        self._show(f"downloading {name}", done, size)

    def writing(self, name: str, done: int, size: int) -> None:
        self._show(f"writing {name}", done, size)

    def _show(self, what: str, done: int, size: int) -> None:
        if what != self.shown:
            self.__exit__()
            self.shown, self.bar = what, None
            if size >= SMALL:
                self.bar = Bar(what, round(size / 1e6), "MB", round(done / 1e6))
            else:
                self.say(what)
        if self.bar:
            self.bar.of(round(done / 1e6), round(size / 1e6))


def _done(made: Converted) -> Iterator[str]:
    kept = "was there already, " if made.kept else ""
    yield (
        f"{made.checkpoint}: {kept}{made.tensors} tensors, {human_size(made.size)}, layout "
        f"{made.layout}, in {made.folder}"
    )
    yield from (f"    {printable(note)}" for note in made.notes)
    for path in made.lacks:
        yield f"    lacks {path}: give the folder it lies in with --from PATH"


def _tidy(converted: Sequence[Found]) -> None:
    """Delete downloads of the store that have become checkpoints."""
    for found in converted:
        for _, path in found.direct:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
                path.parent.parent.rmdir()


def from_path(
    planned: FetchPlan, path: Path, config: Config | None, *, connect: bool, say: Say
) -> Iterator[str]:
    """Convert what a file or folder of the user has of checkpoints.

    Files beside the weights, such as a tokenizer's, that are not there too are fetched if they can
    be.

    Raises:
        UsageError: no checkpoint names a release, so none is known to read.
        CheckpointError: as `convert`.
    """
    items = [item for item in planned.items if item.known.checkpoint.release]
    if not items:
        names = ", ".join(item.known.name for item in planned.items)
        raise UsageError(f"nothing is known of the files of {names}; place it in {planned.store}")
    if len(planned.items) > 1:
        # A method's other checkpoints may be from other files; of one that is named that is told.
        items = [item for item in items if not item.state.there]
        items = [item for item in items if _names(item, path)] or items
    if not items:
        yield "nothing is missing"
        return
    search, made = Search(planned.store / DOWNLOADS, connect), list[Converted]()
    with given(path, items) as places:
        items = [replace(item, beside=_beside(item, places, search)) for item in items]
        errors: list[CheckpointError] = []
        for group in _compatible(items):
            try:
                with _Bars(say) as bars:
                    source = ReleasedFiles(places, _brought(group, bars))
                    references = [item.known.checkpoint.release for item in group]
                    say(f"checking {path}")
                    found = convert(
                        references, source, planned.store, config=config, progress=bars.writing
                    )
            except CheckpointError as error:
                errors.append(error)
                continue
            made += found
            for each in found:
                yield from _done(each)
                yield from _compared(each, group)
        if not made:
            raise errors[0]
    for failed in errors:
        say(f"Warning: {failed}")
    done = {each.checkpoint for each in made}
    missing = [
        i.known.name for i in planned.items if not i.state.there and i.known.name not in done
    ]
    if missing:
        yield f"still missing: {', '.join(missing)}"


def _names(item: Item, path: Path) -> bool:
    """Say whether a file has a name under which a checkpoint is published."""
    layouts = item.release.layouts if item.release else ()
    patterns = (each for layout in layouts for paths in layout.files for each in paths)
    return path.is_file() and path.name in {Path(each).name for each in patterns}


def _beside(item: Item, places: Sequence[Path], search: Search) -> Mapping[str, Found]:
    """Find the files beside the weights that the user's folders do not have."""
    found = {}
    for companion in item.release.companions if item.release else ():
        if companion.origins and not any(_has(place, companion) for place in places):
            with suppress(CheckpointError):  # told as lacking once the weights are there
                found[companion.path] = search(companion.origins[0])
    return found


def _has(path: Path, companion: Companion) -> bool:
    patterns = companion.files
    return path.is_dir() and all(any((path / n).is_file() for n in each) for each in patterns)


def _compared(made: Converted, items: Sequence[Item]) -> Iterator[str]:
    """Say of the user's files whether they are the published ones, where hashes are known."""
    record = Record.read(made.folder)
    releases = [item.release for item in items if item.known.name == made.checkpoint]
    published: list[RemoteFile] = [
        file
        for release in releases
        if release
        for origin in release.origins
        for file in origin.files
        if file.sha256
    ]
    for source, facts in record.sources.items() if record else ():
        name = printable(source)
        wanted = [file.sha256 for file in published if Path(file.path).name == source]
        if any(facts.sha256.startswith(each) for each in wanted):
            yield f"    {name} is the published file (SHA-256 {facts.sha256[:12]}...)"
        elif wanted:
            yield f"    {name} is not the published file, whose SHA-256 begins {wanted[0][:12]}"
