"""Methods from Python: load one, change it, write one down in a notebook, and run it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, TypedDict, Unpack

from brainkit.console import Say, tell
from brainkit.errors import UsageError
from brainkit.hookspecs import hookimpl
from brainkit.method import KINDS, Method
from brainkit.names import unfit, unfit_method
from brainkit.options import options as options_of
from brainkit.plugins import Registry, Source, installed_sources
from brainkit.results import Result
from brainkit.run.config import RunConfig, checked_setting
from brainkit.run.identity import between

NOTEBOOK = "notebook"
"""What the parts are of that no plugin registers."""


class Settings(TypedDict, total=False):
    """What a run may be told besides its method; `brainkit run --help` says what each is for."""

    nsd: Path | str | None
    subject: int | str
    work: Path | str
    checkpoints: Path | str | None
    weights: Literal["released", "random"] | None
    images: int | Sequence[int] | None
    batch_size: int
    device: str
    dtype: str
    seed: int
    ceiling: bool
    null: bool
    samples: int | None
    scores: Sequence[str] | None
    controls: Sequence[str] | None
    preset: str | None
    name: str | None


def load_method(name: str) -> Method:
    """Return a method of an installed plugin.

    Raises:
        UsageError: there is none of that name.
    """
    method: Method = Registry.installed().get("method", name)
    return method


def load_part(kind: str, name: str) -> Any:
    """Return a part of an installed plugin or of core, e.g. `load_part("sampler", "ddim")`.

    Raises:
        UsageError: there is none.
    """
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}, expected {', '.join(KINDS)}")
    return Registry.installed().get(kind, name)


def run_method(
    method: str | Method,
    *,
    options: Mapping[str, Any] | None = None,
    use: Mapping[str, str] | None = None,
    say: Say = tell,
    **settings: Unpack[Settings],
) -> Result:
    """Run a method as `brainkit run` does, and return what it found.

    What is there already is not computed again, and the command line lists and reports the run.

    Args:
        method: its name; one from `load_method`, changed or not; or one that is written here, under
            a name of its own.
        options: dotted address -> value, over the method's own.
        use: address -> name of another part there.
        say: told what is done, a line each.
        settings: as the flags of `brainkit run`.

    Raises:
        BrainkitError: as of `brainkit run`.
    """
    from brainkit.run import prepare, run

    registry = Registry.installed()
    given = {name: _checked(name, value) for name, value in settings.items()}
    mine: dict[str, Any] = {"options": dict(options or {}), "use": dict(use or {})}
    if isinstance(method, str):
        config = RunConfig(method, **given, **mine)
    elif method.name in registry.names("method"):
        config = _changed(method, registry, given, mine)
    else:
        registry = _with_parts(method, registry)
        config = _composed(method, given, mine)
    prepared = prepare(config, registry, say)
    run(prepared)
    return Result(prepared.folder.root)


def _checked(name: str, value: Any) -> Any:
    if name not in Settings.__annotations__:
        known = ", ".join(Settings.__annotations__)
        raise UsageError(f"a run has no setting {name!r}; it has {known}")
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = tuple(value)
    return checked_setting(name, value, name)


def _changed(
    method: Method, registry: Registry, given: Mapping[str, Any], mine: Mapping[str, Any]
) -> RunConfig:
    """Return the settings by which the command line runs a registered method that was changed.

    Raises:
        UsageError: it cannot, because of parts or texts that no plugin registers.
    """
    plain: Method = registry.get("method", method.name)
    differing = between(plain, method, registry.get)
    counts = {"samples": method.samples} if method.samples != plain.samples else {}
    config = RunConfig(
        method.name,
        **{**counts, **given},
        options={**differing.options, **mine["options"]},
        use={**differing.use, **mine["use"]},
    )
    again = RunConfig(method.name, preset="paper", options=differing.options, use=differing.use)
    try:
        same = dict(again.composed(registry.get).parts()) == dict(method.parts())
    except UsageError:  # of a name that is not registered
        same = False
    if not same:
        raise UsageError(
            f"{method.name} has parts here that no plugin registers; give it a name of its own, "
            f"method.replace(name='my-{method.name}')"
        )
    return config


def _composed(method: Method, given: Mapping[str, Any], mine: Mapping[str, Any]) -> RunConfig:
    """Return the settings that spell out a method part by part, as its run file will."""
    if why := unfit_method(method.name):
        raise UsageError(f"the method is called {why}")
    values = {
        f"{address}.{each.name}": getattr(part, each.name)
        for address, part in method.check().parts()
        for each in options_of(part)
    }
    counts = {"samples": method.samples, "scores": method.scores or None}
    return RunConfig(
        method.name,
        **{**counts, **given},
        options={**values, **mine["options"]},
        use=mine["use"],
        composition=method.composition,
    )


def _with_parts(method: Method, registry: Registry) -> Registry:
    """Return the registry with the parts of a method that no plugin registers.

    Raises:
        UsageError: the name of one cannot be a part's, or is another's.
    """
    parts: dict[tuple[str, str], Any] = {}
    for address, part in method.parts():
        kind = address.partition(".")[0]
        if kind in KINDS and part.name not in registry.names(kind):
            parts[kind, part.name] = part
        elif kind in KINDS and type(registry.get(kind, part.name)) is not type(part):
            raise UsageError(
                f"the {kind} {part.name!r} of {method.name} is another than "
                f"{registry.distribution(kind, part.name)} registers; give it another name"
            )
    wrong = [why for _, name in parts if (why := unfit(name))]
    if wrong:
        raise UsageError(f"a part of {method.name} is called {wrong[0]}")
    if not parts:
        return registry
    owner = f"{NOTEBOOK} 0 code {_digest(parts.values())}"
    plugin = _plugin(parts)
    return Registry([*installed_sources(), Source(NOTEBOOK, owner, lambda: plugin)])


def _plugin(parts: Mapping[tuple[str, str], Any]) -> SimpleNamespace:
    def registering(kind: str) -> Callable[..., None]:
        @hookimpl
        def registered(register: Callable[[Any], None]) -> None:
            for (of, _), part in parts.items():
                if of == kind:
                    register(part)

        return registered

    return SimpleNamespace(**{f"register_{kind}s": registering(kind) for kind in KINDS})


def _digest(parts: Any) -> str:
    """Return a hash of what parts are written as, so that a changed cell computes anew."""
    texts = []
    for kind in {type(part) for part in parts}:
        try:
            texts.append(inspect.getsource(kind))
        except (OSError, TypeError):  # typed where nothing keeps it
            texts.append(kind.__qualname__)
    return sha256("\n".join(sorted(texts)).encode()).hexdigest()[:8]
