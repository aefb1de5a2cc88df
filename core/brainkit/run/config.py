"""What one run was asked to do: read from the command line and run.toml, written back resolved."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from brainkit.data import EXTRA_SCORES
from brainkit.errors import UsageError, did_you_mean
from brainkit.method import Lookup, Method
from brainkit.options import options

DTYPES = ("float32", "bfloat16", "float16")
WEIGHTS = ("released", "random")
MINIATURE = "miniature."
OF_DATA = ("selection.", "regressor.")
"""What of a preset for the miniature speaks of its data, not of its small networks."""
Images = int | tuple[int, ...] | None


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes, and where.

    Attributes:
        method: registered name of the method.
        subject: 1 to 8.
        nsd: folder of an NSD download; None means the miniature.
        work: folder for artefacts.
        checkpoints: folder of the checkpoint store.
        weights: "released"; "random" for the released sizes with seeded random weights, whose
            pictures and scores mean nothing; None for the miniature's on the miniature and the
            released ones on NSD.
        images: how many test images are reconstructed, or their 0-based ids; None means all.
        batch_size: images per network call; changes memory and speed, never a result.
        device: "auto", "cpu", "cuda" or "cuda:n".
        dtype: "auto" (bfloat16 on CUDA, float32 on CPU) or a torch dtype's name.
        seed: of all noise.
        ceiling: whether the same pipeline also runs from the true features.
        samples: reconstructions made of each image; None means as many as the method's paper.
        scores: groups of scores beside the method's own, see `EXTRA_SCORES`; None means none.
        preset: name of a set of options the method comes with; None means "miniature" for the
            miniature's weights where the method has one, otherwise "paper". Other weights on the
            miniature's data take of it what speaks of data.
        use: address -> name of another part there.
        options: dotted address -> value.
    """

    method: str
    subject: int = 1
    nsd: Path | None = None
    work: Path = Path("brainkit-runs")
    checkpoints: Path | None = None
    weights: str | None = None
    images: Images = None
    batch_size: int = 20
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    ceiling: bool = True
    samples: int | None = None
    scores: tuple[str, ...] | None = None
    preset: str | None = None
    use: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> RunConfig:
        """Check values that no part checks, and give the configuration back."""
        if not 1 <= self.subject <= 8:
            raise UsageError(f"--subject is {self.subject}, expected 1 to 8")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size is {self.batch_size}, expected 1 or more")
        if isinstance(self.images, int) and self.images < 1:
            raise UsageError(f"--images is {self.images}, expected 1 or more, or image ids")
        if self.samples is not None and (type(self.samples) is not int or self.samples < 1):
            raise UsageError(f"--samples is {self.samples}, expected 1 or more for each image")
        for group in self.scores or ():
            if group not in EXTRA_SCORES:
                hint = did_you_mean(group, EXTRA_SCORES)
                raise UsageError(
                    f"--scores has {group!r}, expected one of {', '.join(EXTRA_SCORES)}.{hint}"
                )
        if self.dtype != "auto" and self.dtype not in DTYPES:
            hint = did_you_mean(self.dtype, DTYPES)
            raise UsageError(
                f"--dtype is {self.dtype!r}, expected auto, {', '.join(DTYPES)}.{hint}"
            )
        if self.weights is not None and self.weights not in WEIGHTS:
            hint = did_you_mean(self.weights, WEIGHTS)
            raise UsageError(
                f"--weights is {self.weights!r}, expected {' or '.join(WEIGHTS)}.{hint}"
            )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}, expected 0 to 2**63 - 1")
        return self

    @property
    def difficulty(self) -> dict[str, Any]:
        """The options `miniature.NAME`: how hard the simulated subject is to decode."""
        mine = (each for each in self.options.items() if each[0].startswith(MINIATURE))
        return {address.removeprefix(MINIATURE): value for address, value in mine}

    def applied(self, lookup: Lookup) -> Method:
        """Give the method with its preset, its parts replaced and options set, checked."""
        method: Method = lookup("method", self.method)
        method = method.with_preset(self.preset_of(method)).with_options(self._of_data(method))
        for address, name in self.use.items():
            method = method.with_part(address, name, lookup)
        others = {a: v for a, v in self.options.items() if not a.startswith(MINIATURE)}
        samples = method.samples if self.samples is None else self.samples
        scores = tuple(dict.fromkeys((*method.scores, *(self.scores or ()))))
        return replace(method.with_options(others), samples=samples, scores=scores).check()

    def preset_of(self, method: Method) -> str:
        """Give the name of the preset that a run of the method begins with."""
        if self.preset is not None:
            return self.preset
        small = self.networks == "miniature" and "miniature" in method.presets
        return "miniature" if small else "paper"

    @property
    def data(self) -> str:
        """Whose data they are: "miniature" or "nsd"."""
        return "miniature" if self.nsd is None else "nsd"

    @property
    def networks(self) -> str:
        """Which weights networks have: "miniature", "released" or "random"."""
        return self.weights or ("miniature" if self.nsd is None else "released")

    def _of_data(self, method: Method) -> dict[str, Any]:
        if self.preset is not None or self.nsd is not None or self.networks == "miniature":
            return {}
        small = method.presets.get("miniature", {})
        return {address: value for address, value in small.items() if address.startswith(OF_DATA)}

    def resolved(self, method: Method) -> RunConfig:
        """Give a copy in which every option of every part is written out."""
        values = {
            f"{address}.{option.name}": getattr(part, option.name)
            for address, part in method.parts()
            for option in options(part)
        }
        hard = {f"{MINIATURE}{name}": value for name, value in self.difficulty.items()}
        samples = self.samples or (method.samples if method.samples > 1 else None)
        preset = self.preset_of(method)
        return replace(self, options=values | hard, preset=preset, samples=samples)


def read_config(path: Path) -> dict[str, Any]:
    """Read a run file into keyword arguments of `RunConfig`.

    Raises:
        UsageError: the file is missing, is not TOML or has unknown keys.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"run file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"run file {path} is not TOML: {error}") from error
    known = [each.name for each in fields(RunConfig)]
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"run file {path} has the key {name!r}; known: {known}.{hint}")
    for name in ("nsd", "work", "checkpoints"):
        if name in values:
            values[name] = Path(values[name])
    for name in ("images", "scores"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    values["options"] = _flat(values.get("options", {}))
    values["use"] = _flat(values.get("use", {}))
    return values


def to_toml(config: RunConfig, comment: str) -> str:
    """Write a configuration as TOML, options as nested tables; absent means the default.

    The work folder is left out, so that equal runs in two places write equal files.
    """
    import tomli_w

    values: dict[str, Any] = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if value is not None and each.name not in ("work", "use", "options"):
            values[each.name] = _plain(value)
    values["use"] = dict(config.use)
    values["options"] = _nested(config.options)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + "\n" + tomli_w.dumps(values)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for address, value in values.items():
        if value is None:
            continue
        *path, name = address.split(".")
        table = nested
        for step in path:
            table = table.setdefault(step, {})
        table[name] = _plain(value)
    return nested
