"""A method: a named composition of parts that reproduces one paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brainkit.data import Selection
from brainkit.errors import UsageError, did_you_mean
from brainkit.names import unfit, unfit_method
from brainkit.options import options, replaced, validated
from brainkit.parts import checkpoints_of, remembers

if TYPE_CHECKING:
    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Checkpoint
    from brainkit.papers import Paper, Published
    from brainkit.parts import Conditioner, Decoder, Encoder, Regressor, Sampler

KINDS = ("encoder", "regressor", "conditioner", "sampler", "decoder")
KEYED = {"encoder": "encoders", "regressor": "regressors", "decoder": "decoders"}
OUTPUTS = ("image", "caption")
Lookup = Callable[[str, str], Any]


@dataclass(frozen=True)
class Method:
    """A composition of parts with the settings of a paper as defaults.

    Attributes:
        name: what the user types, e.g. "unibrain".
        summary: one line for `list-plugins`.
        source: the paper, and the code it was checked against.
        encoders: feature -> the encoder that makes it from stimuli.
        regressors: feature -> the regressor that predicts it; the same keys.
        conditioner: turns predicted features into denoisers and starting points.
        sampler: walks from the start to the finished latent.
        decoders: output ("image", "caption") -> the decoder of its latent.
        selection: which voxels and trials are used.
        footnotes: sentences the report prints about the method's own deviations.
        presets: name -> options by dotted address, chosen by `--preset`. One called "miniature" is
            what the miniature runs with unless another is asked for.
        scores: groups of scores the paper reports beside the standard ones, names in
            `brainkit.metrics.GROUPS`; a run checks them.
        samples: reconstructions made of each image; all of them are scored.
        papers: what to cite who uses the method, its own paper first.
        published: numbers that were printed for the method, for `brainkit compare`.
    """

    name: str
    summary: str
    source: str
    encoders: Mapping[str, Encoder]
    regressors: Mapping[str, Regressor]
    conditioner: Conditioner
    sampler: Sampler
    decoders: Mapping[str, Decoder]
    selection: Selection = field(default_factory=Selection)
    footnotes: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scores: tuple[str, ...] = ()
    samples: int = 1
    papers: tuple[Paper, ...] = ()
    published: tuple[Published, ...] = ()

    @classmethod
    def of_parts(cls, name: str, composition: Mapping[str, str], lookup: Lookup) -> Method:
        """Return a method put together from registered parts, with their default options.

        Args:
            name: of the method.
            composition: address -> name of the part there, e.g. {"encoder.clip": "clip-image",
                "sampler": "ddim"}; and the texts "summary", "source" and, a line each,
                "footnotes".
            lookup: `lookup(kind, name)` gives a registered part.

        Raises:
            UsageError: a part is lacking or not registered.
        """
        given: dict[str, Any] = {kept: {} for kept in KEYED.values()}
        given |= {word: composition.get(word, "") for word in ("summary", "source")}
        given["footnotes"] = tuple(composition.get("footnotes", "").splitlines())
        for address, part in composition.items():
            kind, _, key = address.partition(".")
            if kind in KEYED:
                given[KEYED[kind]][key] = lookup(kind, part)
            elif kind in KINDS:
                given[kind] = lookup(kind, part)
        lacking = [kind for kind in KINDS if not given.get(KEYED.get(kind, kind))]
        if lacking:
            raise UsageError(f"the composition of {name} lacks {', '.join(lacking)}; name one each")
        return cls(name=name, **given)

    @property
    def composition(self) -> dict[str, str]:
        """The names of its parts by address, and its texts: what `of_parts` takes."""
        parts = {address: part.name for address, part in self.parts() if address != "selection"}
        texts = {"summary": self.summary, "source": self.source}
        return {**texts, "footnotes": "\n".join(self.footnotes), **parts}

    def replace(self, changes: Mapping[str, Any] | None = None, /, **fields: Any) -> Method:
        """Return a checked copy with other options, parts or fields.

        Args:
            changes: dotted address of an option -> value, e.g. {"sampler.steps": 20}; or address of
                a part -> part, e.g. {"regressor": Ridge(alpha=10)}, which replaces all regressors.
            fields: fields of the method itself, e.g. `name="mine"`.

        Raises:
            UsageError: an address does not exist, a value is wrong, or parts do not fit.
        """
        changed = self._copy(**fields)
        for address, value in (changes or {}).items():
            if address in KINDS or address in dict(changed.parts()):
                for found in changed._matching(address):
                    changed = changed._placed(found, value)
            else:
                changed = changed.with_options({address: value})
        return changed.check()

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Return every (address, part), in the order of a run."""
        yield "selection", self.selection
        for kind in KINDS:
            if kind in KEYED:
                for key, part in getattr(self, KEYED[kind]).items():
                    yield f"{kind}.{key}", part
            else:
                yield kind, getattr(self, kind)

    def checkpoints(self, *, generating: bool = True) -> tuple[Checkpoint, ...]:
        """Return the checkpoints of all parts, each once, or without `generating` of encoders."""
        found = {
            checkpoint.name: checkpoint
            for address, part in self.parts()
            for checkpoint in checkpoints_of(part)
            if generating or address.startswith("encoder.")
        }
        return tuple(found.values())

    def with_part(self, address: str, name: str, lookup: Lookup) -> Method:
        """Return a copy in which the part or parts at an address are others.

        Args:
            address: "regressor" (all of them), "regressor.clip_text" or "sampler".
            name: the registered name of the new part.
            lookup: `lookup(kind, name)` gives a registered part.
        """
        kind = address.partition(".")[0]
        if kind == "selection":
            raise UsageError(
                "the selection is no part to replace; set its options, e.g. selection.sessions=10"
            )
        if kind not in KINDS:
            raise UsageError(f"{self.name} has no part {address!r} ({self._has(address)}")
        part = lookup(kind, name)
        changed = self
        for found in self._matching(address):
            changed = changed._placed(found, part)
        return changed

    def with_options(self, values: Mapping[str, Any]) -> Method:
        """Return a copy with options set by dotted address, e.g. {"sampler.steps": 20}."""
        changed = self
        for address, value in values.items():
            where, _, name = address.rpartition(".")
            if not where:
                raise UsageError(
                    f"option {address!r} has no part; write part.option, e.g. sampler.steps=20"
                )
            for found in changed._matching(where):
                part = dict(changed.parts())[found]
                changed = changed._placed(found, replaced(part, {name: value}, found))
        return changed

    def with_preset(self, name: str) -> Method:
        """Return a copy with a preset's options; "paper" is what the method's values say already.

        Raises:
            UsageError: the method has no such preset.
        """
        if name == "paper" and name not in self.presets:
            return self
        if name not in self.presets:
            known = sorted({"paper", *self.presets})
            hint = did_you_mean(name, known)
            raise UsageError(f"{self.name} has no preset {name!r}; it has {known}.{hint}")
        return self.with_options(self.presets[name])

    def check(self) -> Method:
        """Check the composition and give it back.

        Raises:
            UsageError: keys, features or outputs do not fit each other, or an option's value is
                wrong.
        """
        self._check_options()
        self._check_names()
        if set(self.encoders) != set(self.regressors):
            raise UsageError(
                f"{self.name}: encoders make {sorted(self.encoders)} but regressors predict "
                f"{sorted(self.regressors)}; both need the same features"
            )
        missing = sorted(set(self.conditioner.needs) - set(self.encoders))
        if missing:
            raise UsageError(
                f"{self.name}: conditioner {self.conditioner.name!r} needs {missing}, "
                f"but the encoders make {sorted(self.encoders)}"
            )
        for address, part in self.parts():
            lacking = sorted(set(remembers(part) or ()) - set(self.encoders))
            if lacking:
                raise UsageError(
                    f"{self.name}: {address} {part.name!r} remembers {lacking}, but the encoders "
                    f"make {sorted(self.encoders)}"
                )
        for entry in self.selection.by_feature:
            name, _, roi = entry.partition("=")
            if name not in self.encoders or not roi:
                raise UsageError(
                    f"selection.by_feature has {entry!r}, expected FEATURE=ROI with a feature "
                    f"among {sorted(self.encoders)}, e.g. {next(iter(self.encoders))}=streams:early"
                )
        self._check_samples()
        for key, decoder in self.decoders.items():
            if key not in self.conditioner.gives or decoder.gives != key:
                raise UsageError(
                    f"{self.name}: decoder {decoder.name!r} for {key!r} gives {decoder.gives!r} "
                    f"and the conditioner prepares {list(self.conditioner.gives)}"
                )
            if key not in OUTPUTS:
                raise UsageError(f"{self.name}: there is no {key!r:.60} to decode to")
        return self

    def check_checkpoints(self, store: CheckpointStore, *, generating: bool = True) -> None:
        """Check that all weights are there, or without `generating` those of encoders.

        Raises:
            CheckpointError: names every missing checkpoint at once.
        """
        missing = [
            found for found in self.checkpoints(generating=generating) if not store.has(found)
        ]
        # Its own sentence says what to do, also when no miniature comes with a plugin.
        if len(missing) == 1 or (missing and store.miniature):
            store.folder(missing[0])
        if missing:
            raise store.lacking(self.name, missing)

    def _check_options(self) -> None:
        for address, part in self.parts():
            for option in options(part):
                value = getattr(part, option.name)
                validated(part, option.name, value, f"{address}.{option.name}")

    def _check_names(self) -> None:
        """Refuse names that cannot be typed, or would lead a file out of its folder."""
        why = unfit_method(self.name)
        if why:
            raise UsageError(f"the name of a method is {why}")
        for feature in (*self.encoders, *self.regressors):
            if unfit(feature):
                raise UsageError(f"{self.name}: the name of a feature is {unfit(feature)}")

    def _check_samples(self) -> None:
        if self.samples < 1:
            raise UsageError(f"{self.name}: samples is {self.samples}, expected 1 or more")

    def _matching(self, address: str) -> list[str]:
        known = [found for found, _ in self.parts()]
        matching = [found for found in known if found == address]
        if not matching and address in KEYED:
            matching = [found for found in known if found.startswith(f"{address}.")]
        if not matching:
            raise UsageError(f"{self.name} has no part {address!r} ({self._has(address)}")
        return matching

    def _has(self, address: str) -> str:
        known = [found for found, _ in self.parts()]
        return f"it has: {', '.join(known)}).{did_you_mean(address, [*known, *KINDS])}"

    def _placed(self, address: str, part: Any) -> Method:
        kind, _, key = address.partition(".")
        if kind in KEYED:
            name = KEYED[kind]
            return self._copy(**{name: {**getattr(self, name), key: part}})
        return self._copy(**{kind: part})

    def _copy(self, **changes: Any) -> Method:
        return dataclasses.replace(self, **changes)
