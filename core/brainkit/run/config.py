"""What one run was asked to do: read from the command line and run.toml, written back resolved."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brainkit.errors import UsageError, did_you_mean
from brainkit.names import NAME_OF_SUBJECT
from brainkit.options import checked_path, option, options, pairs, parsed, validated
from brainkit.run.composition import losses, require_writable, told_of
from brainkit.run.folder import Control, Folder, work_of
from brainkit.run.typed import READ

if TYPE_CHECKING:
    from brainkit.method import Lookup, Method

MINIATURE = "miniature."
PLUGINS = "plugins"
"""The table of a run file that says which distributions it was run with; it asks for nothing."""
OF_DATA = ("selection.", "regressor.")
"""What of a preset for the miniature speaks of its data, not of its small networks."""
Images = int | tuple[int, ...] | None


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes, and where; each field is an option.

    Attributes:
        nsd: None means the miniature.
        weights: None means the miniature's on the miniature and the released ones on NSD; of
            random ones pictures and scores mean nothing.
        images: how many of the first, or 0-based ids; None means all.
        samples: None means as many as the method's paper.
        scores: names in `brainkit.metrics.GROUPS`; None means none.
        preset: None means "miniature" for the miniature's weights where the method has one,
            otherwise "paper". Other weights on the miniature's data take of it what speaks of data.
        use: address -> name of another part there.
        options: dotted address -> value, checked by the part it belongs to.
        composition: address -> name of the part there, of a method that no plugin registers.
        origins: address of an option or replaced part -> the run file that says so, for messages.
    """

    method: str
    subject: int | str = option(
        1, "1 to 8, or in data of your own a name", ge=1, le=8, pattern=NAME_OF_SUBJECT.pattern
    )
    nsd: Path | None = option(None, "folder of an NSD download; without one, the miniature")
    work: Path = option(Path("brainkit-runs"), "folder for results")
    checkpoints: Path | None = option(None, "folder of the released weights")
    weights: Literal["released", "random", "miniature"] | None = option(
        None,
        "released; random: the released sizes untrained, to see time and memory; or miniature: the "
        "small ones, also on data of your own; without, the miniature's on it, else released",
    )
    images: int | tuple[int, ...] | None = option(
        None, "count of test images, or ids: 10 or 3,17,52; without, all", ge=1
    )
    batch_size: int = option(20, "images in a batch; another number rounds otherwise", ge=1)
    device: str = option("auto", "auto, cpu, cuda or cuda:n", pattern=r"auto|cpu|cuda(:\d+)?")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "auto (bfloat16 on CUDA, else float32), float32, bfloat16 or float16"
    )
    seed: int = option(0, "of all noise", ge=0, le=2**63 - 1)
    ceiling: bool = option(True, "also run from the true features, or not")
    null: bool = option(True, "also run from the mean brain, which few draws need, or not")
    samples: int | None = option(
        None, "reconstructions of each image, all scored; without, as many as the method's", ge=1
    )
    scores: tuple[str, ...] | None = option(
        None, "group of scores beside the method's, e.g. mindeye2. Repeatable"
    )
    controls: tuple[Control, ...] | None = option(
        None, "also run all images with noise, other-subject, text-only or image-only, with commas"
    )
    preset: str | None = option(None, "the method's own set of options, see show")
    name: str | None = option(
        None,
        "name of the run's folder, of letters, digits and . _ = + -; without, one that says what "
        "differs from the defaults",
        pattern=r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,79}",
    )
    use: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    composition: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Path] = field(default_factory=dict, repr=False, compare=False)

    def check(self) -> RunConfig:
        """Check every setting, which is named by its flag, and return the configuration.

        Raises:
            UsageError: says the value met and the values expected.
        """
        for name in SETTINGS:
            checked_setting(name, getattr(self, name), flag(name))
        return self

    @property
    def difficulty(self) -> dict[str, Any]:
        """The options `miniature.NAME`: how hard the simulated subject is to decode."""
        mine = (each for each in self.options.items() if each[0].startswith(MINIATURE))
        return {address.removeprefix(MINIATURE): value for address, value in mine}

    def applied(self, lookup: Lookup) -> Method:
        """Return the method with its preset, its parts replaced and options set, checked.

        Raises:
            UsageError: something is named that is not there, or a value is wrong.
        """
        from brainkit.metrics import groups_named

        method = self.composed(lookup)
        groups_named(method.scores, f"{method.name}: scores")
        return method

    def composed(self, lookup: Lookup) -> Method:
        """Return what `applied` does, the names of its scores unchecked, so without numpy."""
        method = self._plain(lookup)
        method = method.with_preset(self.preset_of(method)).with_options(self._of_data(method))
        for address, name in self.use.items():
            with told_of(self.origins.get(address)):
                method = method.with_part(address, name, lookup)
        for address, value in self.options.items():
            if not address.startswith(MINIATURE):
                with told_of(self.origins.get(address)):
                    method = method.with_options({address: value})
        samples = method.samples if self.samples is None else self.samples
        scores = tuple(dict.fromkeys((*method.scores, *(self.scores or ()))))
        composed = replace(method, samples=samples, scores=scores).check()
        require_writable(composed)
        return composed

    def _plain(self, lookup: Lookup) -> Method:
        from brainkit.method import Method

        if self.composition:
            return Method.of_parts(self.method, self.composition, lookup)
        method: Method = lookup("method", self.method)
        return method

    def lost(self, lookup: Lookup) -> list[str]:
        """Say which options of the method go with the parts that are replaced.

        These are values of the paper or the preset; the new part begins with its own defaults.
        """
        method = self._plain(lookup)
        before = method.with_preset(self.preset_of(method)).with_options(self._of_data(method))
        after = before
        for address, name in self.use.items():
            after = after.with_part(address, name, lookup)
        return losses(before, after)

    def preset_of(self, method: Method) -> str:
        """Return the name of the preset that a run of the method begins with."""
        if self.preset is not None:
            return self.preset
        small = self.networks == "miniature" and "miniature" in method.presets
        return "miniature" if small else "paper"

    @property
    def harder(self) -> dict[str, Any]:
        """The options of `difficulty` whose values are not the usual ones."""
        from brainkit.miniature.brain import Difficulty

        usual = Difficulty()
        mine = self.difficulty.items()
        return {name: value for name, value in mine if getattr(usual, name, None) != value}

    @property
    def networks(self) -> str:
        """Which weights networks have: "miniature", "released" or "random"."""
        return self.weights or self._usual

    @property
    def unusual(self) -> str:
        """The kind of weights where it is not the usual one of the data, else empty."""
        return "" if self.networks == self._usual else self.networks

    @property
    def _usual(self) -> str:
        return "miniature" if self.nsd is None else "released"

    def _of_data(self, method: Method) -> dict[str, Any]:
        if self.preset is not None or self.nsd is not None or self.networks == "miniature":
            return {}
        small = method.presets.get("miniature", {})
        return {address: value for address, value in small.items() if address.startswith(OF_DATA)}

    def resolved(self, method: Method) -> RunConfig:
        """Return a copy in which every option of every part is written out."""
        values = {
            f"{address}.{each.name}": getattr(part, each.name)
            for address, part in method.parts()
            for each in options(part)
        }
        hard = {f"{MINIATURE}{name}": value for name, value in self.difficulty.items()}
        samples = self.samples or (method.samples if method.samples > 1 else None)
        preset = self.preset_of(method)
        return replace(self, options=values | hard, preset=preset, samples=samples)


SETTINGS = tuple(each.name for each in fields(RunConfig) if each.name != "origins")


def about(name: str) -> str:
    """Return what the help of a setting's flag says, with its default where that is a value.

    >>> about("seed")
    'Of all noise.  [default: 0]'
    """
    setting = next(each for each in fields(RunConfig) if each.name == name)
    text = setting.metadata["help"]
    default = "" if setting.default is None else f"  [default: {_written(setting.default)}]"
    # Words that are typed are not to begin with a capital.
    typed = "pattern" in setting.metadata or "Literal" in str(setting.type)
    return f"{text if typed else text[0].upper() + text[1:]}.{default}"


def flag(name: str) -> str:
    """Return the flag of a setting.

    >>> flag("batch_size"), flag("options")
    ('--batch-size', '--option')
    """
    return "--option" if name == "options" else f"--{name.replace('_', '-')}"


def checked_setting(name: str, value: Any, address: str) -> Any:
    """Return a setting in its own type.

    Args:
        name: of a field of `RunConfig`.
        value: as Python or TOML writes it.
        address: how the user named it, for the message.

    Raises:
        UsageError: the value has the wrong type, is outside its limits or names no group of scores.
    """
    setting = next(each for each in fields(RunConfig) if each.name == name)
    if isinstance(value, str | Path) and "Path" in str(setting.type):
        value = checked_path(value, address)
    if isinstance(value, list):
        value = tuple(value)
    value = validated(RunConfig, name, value, address, strict=True)
    if name == "scores" and value:
        from brainkit.metrics import groups_named

        groups_named(value, address)
    if name == "images" and isinstance(value, tuple) and (not value or min(value) < 0):
        raise UsageError(
            f"{address} has the ids {list(value)}, expected one or more ids from 0; correct it or "
            "leave it out"
        )
    return value


def configured(
    method: str | None, typed: Mapping[str, Any], *, file: Path | None = None
) -> RunConfig:
    """Return the settings of a run: those of a run file, and over them what was typed.

    Args:
        method: registered name of the method; None for that of the run file.
        typed: what a command line gave, by the name of the setting; None, an empty list and names
            of no setting are passed over. `images` may be a text such as "10" or "3,17,52"; `use`
            and `option` are texts ADDRESS=VALUE.
        file: TOML run file; one in the folder of its run means the work folder that this lies in.

    Raises:
        UsageError: names the flag, or the file and the key, that is wrong.
    """
    values = read_config(file) if file else {}
    if method is None and "method" not in values:
        missing = f"run file {file} names no method" if file else "no method is named"
        raise UsageError(f"{missing}; write brainkit run METHOD, see brainkit list-plugins")
    if method is not None and values.setdefault("method", method) != method:
        raise UsageError(f"{file} is of method {values['method']!r}, but {method!r} was asked for")
    if file and "work" not in values and (work := work_of(file.absolute())):
        values["work"] = work
    for name in SETTINGS:
        if name not in ("method", "use", "options") and typed.get(name) not in (None, [], ()):
            value = READ.get(name, lambda text: text)(typed[name])
            values[name] = checked_setting(name, value, flag(name))
    use, over = pairs(typed.get("use") or (), "--use"), _options(typed.get("option") or ())
    own, more = values.get("use", {}), values.get("options", {})
    if file:
        values["origins"] = dict.fromkeys([*(own.keys() - use), *(more.keys() - over)], file)
    values |= {"use": {**own, **use}, "options": {**more, **over}}
    return RunConfig(**values).check()


def _options(texts: Sequence[str]) -> dict[str, Any]:
    return {address: parsed(text) for address, text in pairs(texts, "-o").items()}


def read_config(path: Path) -> dict[str, Any]:
    """Read a run file into keyword arguments of `RunConfig`; its paths are relative to the file.

    Raises:
        UsageError: the file is missing, is not TOML, has unknown keys, or values that are wrong.
    """
    try:
        # Editors of Windows begin a text with a byte order mark.
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"run file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"run file {path} is not TOML: {error}") from error
    values.pop(PLUGINS, None)
    for name in values:
        if name not in SETTINGS:
            hint = did_you_mean(name, SETTINGS)
            raise UsageError(f"run file {path} has the key {name!r}; known: {[*SETTINGS]}.{hint}")
    settings = {
        name: checked_setting(name, _flat(value), f"{name} in run file {path}")
        for name, value in {"use": {}, "options": {}, **values}.items()
    }
    here = path.absolute().parent
    return {
        name: here / value if isinstance(value, Path) else value for name, value in settings.items()
    }


def config_in(folder: Folder) -> RunConfig:
    """Return the settings of the run in a folder.

    Raises:
        UsageError: as of `read_config`.
    """
    return RunConfig(**{"method": "", **read_config(folder.run_file), "work": folder.work})


def to_toml(config: RunConfig, comment: str) -> str:
    """Write a configuration as TOML, options as nested tables; absent means the default.

    The work folder is left out, so that equal runs in two places write equal files.
    """
    import tomli_w

    values: dict[str, Any] = {}
    for name in SETTINGS:
        value = getattr(config, name)
        if value is not None and name not in ("work", "use", "options", "composition"):
            values[name] = _plain(value)
    values["use"] = dict(config.use)
    if config.composition:
        values["composition"] = dict(config.composition)
    values["options"] = _nested(config.options)
    return "".join(f"# {line}\n" for line in comment.splitlines()) + "\n" + tomli_w.dumps(values)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _flat(value: Any, prefix: str = "") -> Any:
    """Return a table with dotted keys in place of the tables in it; other values as they are."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            flat.update(_flat(inner, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = inner
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
