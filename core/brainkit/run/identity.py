"""Who a run is: a hash of all that decides what it computes, a name, and the command for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from brainkit.errors import BrainkitError
from brainkit.method import KEYED, Lookup, Method
from brainkit.options import options, parsed
from brainkit.run.config import MINIATURE, RunConfig
from brainkit.run.folder import Data, sanitised

WORDS = 60
"""Characters of a run's name that say what differs from the defaults."""
DIGITS = 8
"""Hex digits of the hash that end a run's name."""


@dataclass(frozen=True)
class Differences:
    """In what a composition differs from the method's defaults.

    Attributes:
        preset: the preset that it is nearest to, if not the one that the method begins with.
        use: address -> name of another part there.
        options: dotted address -> value.
        settings: setting -> value, of those that bear on results: samples, dtype and seed.
    """

    preset: str = ""
    use: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.use) + len(self.options)

    def words(self) -> tuple[str, ...]:
        """Return a word for each difference, e.g. "regressor.alpha=10000"."""
        return (
            *([self.preset] if self.preset else []),
            *(f"{address}={name}" for address, name in self.use.items()),
            *(f"{address}={_short(value)}" for address, value in self.options.items()),
            *(f"{name}={value}" for name, value in self.settings.items()),
        )


def run_name(method: str, words: tuple[str, ...], digest: str) -> str:
    """Return the name of a run's folder: the method, what differs as far as it fits, a hash.

    >>> run_name("unibrain", ("regressor.alpha=10000",), "3fa9c1d200112233")
    'unibrain-regressor.alpha=10000-3fa9c1d2'
    """
    clean = [sanitised(word) for word in words]
    fitting: list[str] = []
    while clean and len("-".join([*fitting, clean[0]])) <= WORDS:
        fitting.append(clean.pop(0))
    more = [f"+{len(clean)}"] if clean else []
    return "-".join([sanitised(method), *fitting, *more, digest[:DIGITS]])


def digest_of(method: Method, config: RunConfig, *, data: Data, session: str, dtype: str) -> str:
    """Return 16 hex digits of all that decides what a run computes.

    Which images are made, where files lie, batch size, device, scores and whether there is a
    ceiling are no part of it.

    Args:
        method: with parts replaced and options set.
        config: for the subject, the seed and the kind of weights.
        data: whose data.
        session: fingerprint of the first session that is read.
        dtype: of the networks, whose rounding shows in pictures.
    """
    parts = {
        address: [part.name, {each.name: getattr(part, each.name) for each in options(part)}]
        for address, part in method.parts()
    }
    facts = {
        "method": method.name,
        "parts": parts,
        "samples": method.samples,
        "seed": config.seed,
        "subject": config.subject,
        "data": [data.key, session],
        "weights": config.networks,
        "dtype": dtype,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16]


def differences(method: Method, config: RunConfig, lookup: Lookup, dtype: str) -> Differences:
    """Return in what a composed method differs from what its name alone would run.

    Of several presets the one counts that leaves the fewest differences.
    """
    try:
        plain: Method = lookup("method", method.name)
    except BrainkitError:  # a method that nobody registered is its own default
        plain = method
        bases = {"": method}
    else:
        usual = RunConfig(method.name, nsd=config.nsd, weights=config.weights)
        presets = {"paper", *plain.presets} - {usual.preset_of(plain)}
        bases = {"": usual.composed(lookup)}
        bases |= {name: replace(usual, preset=name).composed(lookup) for name in sorted(presets)}
    found = [between(base, method, lookup, name) for name, base in bases.items()]
    nearest = min(found, key=len)
    settings = {
        **({"samples": method.samples} if method.samples != plain.samples else {}),
        **({"dtype": dtype} if dtype != "float32" else {}),
        **({"seed": config.seed} if config.seed else {}),
    }
    return replace(nearest, settings=settings)


def between(base: Method, method: Method, lookup: Lookup, preset: str = "") -> Differences:
    """Return in what parts and options a method differs from another."""
    before, use, values = dict(base.parts()), {}, {}
    for address, part in method.parts():
        standard = before.get(address)
        if standard is None or (type(standard), standard.name) != (type(part), part.name):
            use[address] = part.name
            standard = _registered(address, part, lookup)
        for each in options(part):
            if getattr(part, each.name) != getattr(standard, each.name):
                values[f"{address}.{each.name}"] = getattr(part, each.name)
    parts = dict(method.parts())
    return Differences(preset, _gathered(use, parts), _gathered(values, parts))


def _registered(address: str, part: Any, lookup: Lookup) -> Any:
    """Return a part as it is registered, or with the defaults of its class."""
    try:
        return lookup(address.partition(".")[0], part.name)
    except BrainkitError:
        return type(part)()


def _gathered(values: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Write what all parts of a kind have in common once: "regressor.alpha" for each feature's."""
    gathered: dict[str, Any] = {}
    for address, value in values.items():
        kind, rest = address.partition(".")[0], ""
        for each in parts:
            if address.startswith(f"{each}."):
                rest = address.removeprefix(each)
        every = [f"{each}{rest}" for each in parts if each.startswith(f"{kind}.")]
        alike = kind in KEYED and all(values.get(each) == value for each in every)
        gathered[f"{kind}{rest}" if alike else address] = value
    return gathered


def command(config: RunConfig, method: Method, differing: Differences) -> str:
    """Return the command that makes the same run, from any folder, into `brainkit-runs` there."""
    words = ["brainkit", "run", method.name]
    for flag, value in _flags(config, method, differing):
        words += [flag] if value is None else [flag, value]
    return shlex.join(words)


def _flags(
    config: RunConfig, method: Method, differing: Differences
) -> Iterator[tuple[str, str | None]]:
    plain = RunConfig(config.method)
    for name in ("subject", "batch_size", "dtype", "seed", "weights", "name"):
        if getattr(config, name) != getattr(plain, name):
            yield f"--{name.replace('_', '-')}", str(getattr(config, name))
    for name in ("nsd", "checkpoints"):
        if (path := getattr(config, name)) is not None:
            yield f"--{name}", str(path.absolute())
    if config.images is not None:
        ids = config.images
        yield "--images", str(ids) if isinstance(ids, int) else ",".join(map(str, ids)) + ","
    for name in ("ceiling", "null"):
        if not getattr(config, name):
            yield f"--no-{name}", None
    if "samples" in differing.settings:
        yield "--samples", str(method.samples)
    for group in config.scores or ():
        yield "--scores", group
    if config.controls:
        yield "--controls", ",".join(config.controls)
    if differing.preset:
        yield "--preset", differing.preset
    for address, name in differing.use.items():
        yield "--use", f"{address}={name}"
    hard = {f"{MINIATURE}{name}": value for name, value in config.difficulty.items()}
    for address, value in {**differing.options, **hard}.items():
        yield "-o", f"{address}={_typed(value)}"


def _typed(value: Any) -> str:
    """Return a value as `-o` reads it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(json.dumps(each, default=str) for each in value)}]"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return json.dumps(text) if isinstance(value, str) and parsed(text) != value else text


def _short(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "+".join(_short(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
