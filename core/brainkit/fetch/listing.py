"""What a fetch will do, laid out for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from brainkit.console import human_size
from brainkit.fetch.inventory import STYLES
from brainkit.fetch.plan import FetchPlan, Item, disks, numbered
from brainkit.schema import FetchEntry, FetchPlanEntry, FileEntry
from brainkit.tables import Block, TextTable, Title, laid_out

HEADINGS = ("checkpoint", "state", "size", "for", "licence")


def text(planned: FetchPlan) -> str:
    """Return what a dry run prints as plain text."""
    return laid_out(blocks(planned))


def blocks(planned: FetchPlan, *, problems: bool = True) -> list[Block]:
    """Return what is shown before anything starts, with why things cannot be had."""
    rows = [_row(item) for item in planned.items]
    table = TextTable(HEADINGS, rows, right={2}, styles=STYLES)
    shown: list[Block] = [f"checkpoint store {planned.store}", "", table]
    for item in planned.items:
        lines = [f"  {line}" for line in _files(item)]
        shown += ["", Title(item.known.name), *lines] if lines else []
    if problems:
        shown += [line for problem in planned.problems for line in ("", problem)]
    return [*shown, "", *_sums(planned)]


def values(planned: FetchPlan) -> FetchPlanEntry:
    """Return the same for programs."""
    return {
        "store": str(planned.store),
        "checkpoints": [_entry(item) for item in planned.items],
        "download": sum(size for found in planned.found for size in found.missing),
        "disks": [
            {"folder": str(folder), "needed": needed, "free": free}
            for folder, needed, free in (disks(planned) if planned.found else ())
        ],
    }


def _entry(item: Item) -> FetchEntry:
    return {
        "name": item.known.name,
        "state": item.state.word,
        "scores": item.known.scores,
        "files": list(_file_entries(item)),
        "problem": item.problem or None,
    }


def _file_entries(item: Item) -> Iterator[FileEntry]:
    if item.origin and item.problem:
        whence = item.origin.repository or item.origin.url or item.origin.page
        for file in item.origin.files:
            yield _file_entry(file.path, file.size, None, (whence, item.origin.licence))
    for found in item.all_found:
        of = (found.whence, found.origin.licence)
        for file, size, missing in zip(found.origin.files, found.sizes, found.missing, strict=True):
            yield _file_entry(file.path, size, missing, of)


def _file_entry(path: str, size: int, missing: int | None, of: tuple[str, str]) -> FileEntry:
    sizes: tuple[int | None, int | None] = (size, missing) if size else (None, None)
    return {
        "path": path,
        "size": sizes[0],
        "missing": sizes[1],
        "origin": of[0],
        "licence": of[1],
    }


def _row(item: Item) -> tuple[str, ...]:
    word, record, found = item.state.word, item.state.record, item.found
    name, scores = item.known.name, "scores" if item.known.scores else "runs"
    if item.state.there:
        licence, size = record.licence if record else "", human_size(item.state.size)
    elif found is not None:
        licence, size = found.origin.licence, _size(found.sizes)
    elif origin := item.origin:
        licence, size = origin.licence, _size([file.size for file in origin.files])
    else:
        licence = size = ""
    return name, word, size, scores, licence.partition(";")[0]


def _files(item: Item) -> Iterator[str]:
    """Describe each file that has to come, and what is wrong with what is there."""
    if item.state.word == "damaged":
        yield f"damaged: {item.state.why}"
    if item.state.there:
        yield f"from {item.state.record.origin}" if item.state.record else "placed by hand"
    elif item.found:
        yield f"from {item.found.whence}"
    elif item.origin:
        yield f"from {item.origin.repository or item.origin.url or item.origin.page}"
    if item.origin and item.found and item.origin.repository != item.found.origin.repository:
        yield f"{item.origin.repository} moved to {item.found.origin.repository}"
    if item.origin and item.problem:
        yield from (f"{file.path}, {_told(file.size)}" for file in item.origin.files)
    for found in item.all_found:
        of = "" if found is item.found else f", {found.whence}, {found.origin.licence}"
        for file, size, missing in zip(found.origin.files, found.sizes, found.missing, strict=True):
            yield f"{file.path}, {_told(size)}{of}{_here(size, missing)}"
    if item.release and item.origin:
        origins = item.release.origins
        for origin, line in zip(origins, numbered(origins), strict=True):
            if origin != item.origin:
                yield f"or with --origin {line}"


def _here(size: int, missing: int) -> str:
    if not size or missing == size:
        return ""
    return ", here already" if not missing else f", {human_size(size - missing)} of it here already"


def _told(size: int) -> str:
    return human_size(size) if size else "size unknown"


def _size(sizes: Sequence[int]) -> str:
    known = human_size(sum(sizes))
    return known if sizes and all(sizes) else (f"over {known}" if any(sizes) else "unknown")


def _sums(planned: FetchPlan) -> Iterator[str]:
    if not planned.found:
        problems = any(item.problem for item in planned.items)
        yield "nothing can be downloaded" if problems else "nothing to download"
        return
    sizes = [size for found in planned.found for size in found.missing]
    unknown = not all(size for found in planned.found for size in found.sizes)
    yield f"to download  {'over ' if unknown else ''}{human_size(sum(sizes))}"
    for folder, needed, free in disks(planned):
        yield f"disk         {human_size(needed)} needed in {folder}, {human_size(free)} free"
