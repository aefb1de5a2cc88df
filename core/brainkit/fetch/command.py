"""The command `brainkit fetch`, from the words typed to the lines printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from brainkit.checkpoints.limits import read_json
from brainkit.console import Say
from brainkit.disk import UnwritableError
from brainkit.errors import CheckpointError, UsageError
from brainkit.fetch.hub import cache_folder, forbidden
from brainkit.fetch.known import Known, named
from brainkit.fetch.listing import blocks
from brainkit.fetch.plan import FetchPlan, plan, there
from brainkit.fetch.work import alone, carry_out, from_path
from brainkit.plugins import Registry
from brainkit.tables import Block
from brainkit.weights import Config


@dataclass(frozen=True)
class Asked:
    """What the user asked for.

    Attributes:
        name: of a method or checkpoint.
        path: file or folder the user has already; None to download.
        config: file with the configuration of a network of other sizes; None for the published.
        offline: whether no connection may be made.
        origin: which of a checkpoint's origins is taken, from 1.
    """

    name: str
    path: Path | None = None
    config: Path | None = None
    offline: bool = False
    origin: int = 1

    @property
    def connect(self) -> bool:
        """Whether servers may be asked."""
        return not self.offline and not forbidden()

    def check(self) -> Asked:
        """Check that the options go together, and give them back."""
        if self.config and not self.path:
            raise UsageError("--config is for a network of your own; give its file with --from")
        if self.path and self.origin != 1:
            raise UsageError(f"--origin {self.origin} says where to download, but --from does not")
        return self


def foretold(registry: Registry, asked: Asked, store: Path) -> FetchPlan:
    """Return what a fetch would do; nothing is moved.

    Raises:
        UsageError: an unknown name, or options that exclude each other.
    """
    wanted = named(registry, asked.check().name)
    return plan(wanted, store, connect=asked.connect, origin=asked.origin)


def fetch(registry: Registry, asked: Asked, store: Path, *, say: Say) -> Iterator[Block]:
    """Do what was asked for; yields what is to be printed.

    Raises:
        UsageError: an unknown name, or options that exclude each other.
        CheckpointError: something that runs need could not be had.
    """
    wanted = named(registry, asked.check().name)
    config, connect = _config(asked.config) if asked.config else None, asked.connect
    with _turn(store, wanted, asked, say):
        if asked.path is not None:
            given = FetchPlan(tuple(there(wanted, store)), store)
            yield from from_path(given, asked.path, config, connect=connect, say=say)
            return
        planned = plan(wanted, store, connect=connect, origin=asked.origin)
        # Where nothing is to be had the error says why at once.
        yield from blocks(planned, problems=bool(planned.found))
        yield from carry_out(planned, say)
        yield from _cached(planned)


@contextmanager
def _turn(store: Path, wanted: Sequence[Known], asked: Asked, say: Say) -> Iterator[None]:
    """Wait for other fetches; a store that cannot be written serves if it has all that is wanted.

    Raises:
        BrainkitError: as of `alone`.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(store, say))
        except UnwritableError:
            if asked.path or not all(item.state.there for item in there(wanted, store)):
                raise
        yield


def _cached(planned: FetchPlan) -> Iterator[str]:
    """Say that the hub's cache may be emptied."""
    if any(found.hub for found in planned.found):
        place = cache_folder()
        yield f"the downloads stay in {place}; runs do not need them, see `hf cache --help`"


def _config(path: Path) -> Config:
    try:
        loaded = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a network configuration: {error}") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path} holds a {type(loaded).__name__}, expected the object of a config.json"
        )
    return loaded
