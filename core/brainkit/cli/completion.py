"""What a shell completes: methods, checkpoints, parts, addresses, presets, runs; fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import typer

from brainkit.errors import BrainkitError

if TYPE_CHECKING:
    from brainkit.method import Method
    from brainkit.plugins import Registry

ASKED = "_BRAINKIT_COMPLETE"
"""The variable by which a shell asks for completions."""
Completions = list[tuple[str, str]]


def methods(incomplete: str) -> Completions:
    """Return each method with its summary."""
    registry = _registry()
    return [(name, registry.get("method", name).summary) for name in registry.names("method")]


def checkpoints(incomplete: str) -> Completions:
    """Return each method, and each checkpoint with who needs it."""
    from brainkit.fetch.known import known

    others = [
        (name, f"weights, needed by {', '.join(each.methods) or 'scores'}")
        for name, each in known(_registry()).items()
    ]
    return [*methods(incomplete), *others]


def presets(ctx: typer.Context, incomplete: str) -> Completions:
    """Return each preset of the method that was typed before."""
    method = _typed_method(ctx)
    names = dict.fromkeys(["paper", *(method.presets if method else ())])
    return [(name, "the method's own set of options") for name in names]


def options(ctx: typer.Context, incomplete: str) -> Completions:
    """Return ADDRESS=VALUE for each option of the method, with its values or that which it has."""
    from brainkit.cli.described import method_entry

    method = _typed_method(ctx)
    return [
        (f"{option['address']}={value}", option["help"])
        for part in (method_entry(method)["parts"] if method else ())
        for option in part["options"]
        for value in _values(option)
    ]


def uses(ctx: typer.Context, incomplete: str) -> Completions:
    """Return ADDRESS=NAME for each part that could be at each address of the method."""
    from brainkit.cli.described import summary
    from brainkit.method import KEYED

    method, registry = _typed_method(ctx), _registry()
    addresses = [address for address, _ in method.parts()][1:] if method else []
    whole = [kind for kind in KEYED if method]
    return [
        (f"{address}={name}", summary(kind, registry.get(kind, name)))
        for address in [*whole, *addresses]
        for kind in [address.partition(".")[0]]
        for name in registry.names(kind)
    ]


def runs(ctx: typer.Context, incomplete: str) -> Completions:
    """Return each run in the folder that was typed before."""
    from pathlib import Path

    from brainkit.run.folder import found_runs

    work = Path(ctx.params.get("work") or "brainkit-runs")
    return [(each.root.name, each.subject.name) for each in found_runs(work)[0]]


def controls(incomplete: str) -> Completions:
    """Return each control, after those that were typed."""
    from typing import get_args

    from brainkit.run.folder import Control

    typed = incomplete.rpartition(",")[0].split(",") if "," in incomplete else []
    others = [name for name in get_args(Control) if name not in typed]
    return [(",".join([*typed, name]), "control") for name in others]


def scores(incomplete: str) -> Completions:
    """Return each group of scores."""
    from brainkit.metrics.groups import GROUPS

    return [(name, "group of scores") for name in GROUPS]


def weights(incomplete: str) -> Completions:
    """Return the kinds of weights."""
    return [("released", "as published"), ("random", "the released sizes, untrained")]


def devices(incomplete: str) -> Completions:
    """Return the devices."""
    return [("auto", "CUDA where there is one"), ("cpu", ""), ("cuda", "the first"), ("cuda:1", "")]


def dtypes(incomplete: str) -> Completions:
    """Return the dtypes of networks."""
    names = ("auto", "float32", "bfloat16", "float16")
    return [(name, "bfloat16 on CUDA, else float32" * (name == "auto")) for name in names]


def _registry() -> Registry:
    from brainkit.plugins import Registry

    return Registry.installed()


def _typed_method(ctx: typer.Context) -> Method | None:
    """Return the method on the line, with its preset and parts so far; None if there is none."""
    from brainkit.run import configured

    registry = _registry()
    # A flag that lacks its value leaves the other words as they were typed.
    words = [ctx.params.get("method"), *ctx.args]
    name = next((word for word in words if word in registry.names("method")), None)
    if name is None:
        return None
    try:
        typed = {"preset": ctx.params.get("preset"), "use": ctx.params.get("use")}
        return configured(name, typed).composed(registry.get)
    except BrainkitError:  # half a line may be wrong
        method: Method = registry.get("method", name)
        return method


def _values(option: Any) -> list[str]:
    """Return the words an option takes, or else the value it has."""
    from brainkit.cli.described import typed

    value = option["value"]
    if isinstance(value, bool):
        return ["true", "false"]
    words = [word.strip("' ") for word in option["allowed"].split(",")]
    named = bool(option["allowed"]) and all(word.isidentifier() for word in words)
    return words if named else [typed(value)]


@contextmanager
def asked_by_bash() -> Iterator[None]:
    """Mend what bash asks while the block answers: it takes "a=b" for three words.

    It completes the last of them, so what stands before the equals sign is not to be repeated.
    """
    if os.environ.get(ASKED) != "complete_bash":
        yield
        return
    import shlex

    words, place = _joined(
        shlex.split(os.environ.get("COMP_WORDS", "")), int(os.environ.get("COMP_CWORD", "0"))
    )
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = shlex.join(words), str(place)
    typed = words[place] if place < len(words) else ""
    told = StringIO()
    try:
        with redirect_stdout(told):
            yield
    finally:
        before = len(typed) - len(typed.rpartition("=")[2])
        lines = [line[before:] for line in told.getvalue().splitlines() if line]
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _joined(words: list[str], place: int) -> tuple[list[str], int]:
    """Return words in which what stands around an equals sign is one, and which is completed.

    >>> _joined(["brainkit", "run", "-o", "a", "=", "b"], 5)
    (['brainkit', 'run', '-o', 'a=b'], 3)
    """
    joined: list[str] = []
    moved = place
    for index, word in enumerate(words):
        glued = joined and (word == "=" or (joined[-1].endswith("=") and words[index - 1] == "="))
        if glued:
            joined[-1] += word
            moved -= index <= place
        else:
            joined.append(word)
    return joined, moved
