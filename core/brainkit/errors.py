"""The exceptions a user can meet.

BrainkitError            one clear sentence; the command line prints it and exits with 1
  UsageError             a wrong name, option or combination; exits with 2
  DataError              a file or array is not what it has to be
    NotFiniteError       what a part computed is NaN or infinite
  CheckpointError        weights are missing, damaged or do not fit their network
  PluginError            a plugin cannot be used
  PartError              a part of a plugin failed during a run
BrainkitWarning          valid but surprising; also printed in the report
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def printable(text: object) -> str:
    """Return a text as it may be printed: line breaks and control characters are escaped.

    Names from files and folders may hold either, and a terminal obeys what it is sent.

    >>> printable(f"V1{chr(27)}[2J") == f"V1{chr(92)}x1b[2J"
    True
    """
    if str(text).isprintable():
        return str(text)
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(text)
    )


def reason(error: BaseException) -> str:
    """Return an exception in one line: its sentence, or its type and its first line.

    >>> reason(ValueError("no voxels")), reason(KeyError())
    ('ValueError: no voxels', 'KeyError')
    """
    try:
        said = str(error).strip()
    except Exception:  # the error is a plugin's, and so is what turns it into text
        said = ""
    if isinstance(error, BrainkitError):
        return said
    first = printable((said.splitlines() or [""])[0])
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class BrainkitError(Exception):
    """Something the user can act on, said in one sentence.

    Attributes:
        exit_code: what a command ends with.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the sentence, on one line and without anything that steers a terminal."""
        return printable(super().__str__())


class UsageError(BrainkitError):
    """A name, option or combination that does not exist."""

    exit_code = 2


class DataError(BrainkitError):
    """A file or an array differs from what its format promises."""


class NotFiniteError(DataError):
    """What a part computed is NaN or infinite.

    Attributes:
        rows: of the batch, counted from 0.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        """Say which rows of a batch are not finite."""
        super().__init__(f"rows {list(rows)} of a batch are NaN or infinite; try --dtype float32")
        self.rows = tuple(rows)


class CheckpointError(BrainkitError):
    """Weights are missing, damaged, or do not fit the network they are for."""


class PluginError(BrainkitError):
    """A plugin cannot be admitted."""


class PartError(BrainkitError):
    """A part failed during a run."""


class BrainkitWarning(UserWarning):
    """A result is valid but surprising."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the hint that follows a misspelt name, or the empty string.

    >>> did_you_mean("unibrian", ["unibrain", "takagi"])
    " Did you mean 'unibrain'?"
    """
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def enumerated(names: Sequence[str], most: int = 5) -> str:
    """Return the first names and how many there are besides, for errors about lists of any length.

    >>> enumerated(["a", "b"])
    'a, b'
    >>> enumerated(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    first, rest = ", ".join(names[:most]), len(names) - most
    return f"{first} and {rest} more" if rest > 0 else first
