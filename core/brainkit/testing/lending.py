"""What parts are checked with: weights that can be had, features and latents of methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint, Condition, TrainingRows
from brainkit.method import Method
from brainkit.parts import checkpoints_of, remembers
from brainkit.plugins import Registry
from brainkit.testing import checks
from brainkit.testing.memory import example_training, remembering
from brainkit.testing.promise import Check, Failures

if TYPE_CHECKING:
    from torch import Tensor

Conformance = tuple[Check, ...] | str
"""Checks, or why there can be none."""
ROWS = 2
STEPS = 4
"""Of a sampler in the run of a method that is checked."""


@dataclass(frozen=True)
class Lender:
    """What the checks of a part are given.

    Attributes:
        registry: whose methods say which features and latents parts get from each other.
        released: folder of the released weights, for parts without a miniature.
    """

    registry: Registry
    released: Path

    def encoder(self, part: Any, excuses: Failures | None) -> Conformance:
        """Return the checks of an encoder."""
        store = self.store(checkpoints_of(part))
        if store is None:
            return self._lacking(checkpoints_of(part))
        return checks.for_encoder(part, store, expected_failures=excuses)

    def regressor(self, part: Any, excuses: Failures | None) -> Conformance:
        """Return the checks of a regressor."""
        return checks.for_regressor(part, expected_failures=excuses)

    def sampler(self, part: Any, excuses: Failures | None) -> Conformance:
        """Return the checks of a sampler."""
        return checks.for_sampler(part, expected_failures=excuses)

    def conditioner(self, part: Any, excuses: Failures | None) -> Conformance:
        """Return the checks of a conditioner, with features of a method that uses it."""
        for method, store in self._methods(lambda each: type(each.conditioner) is type(part)):
            features = self.features(method, store)
            own, training = method.conditioner, self.training(method, method.conditioner, store)
            return checks.for_conditioner(
                own, store, features, training=training, expected_failures=excuses
            )
        return self._unused(part)

    def decoder(self, part: Any, excuses: Failures | None) -> Conformance:
        """Return the checks of a decoder, with latents of a method that uses it."""
        for method, store in self._methods(
            lambda each: any(type(own) is type(part) for own in each.decoders.values())
        ):
            for output, own in method.decoders.items():
                if type(own) is type(part):
                    latents = self.latents(method, store, output)
                    training = self.training(method, own, store)
                    return checks.for_decoder(
                        own, store, latents, training=training, expected_failures=excuses
                    )
        return self._unused(part)

    def method(self, method: Method, excuses: Failures | None, *, runs: bool) -> Conformance:
        """Return the checks of a method; its run is made where there are weights for it."""
        small = self.small(method)
        store = self.store(small.checkpoints()) if runs else None
        return checks.for_method(small, store, expected_failures=excuses)

    def store(self, needed: Iterable[Checkpoint]) -> CheckpointStore | None:
        """Return a store that has all of some weights: the miniature's, or else the released."""
        wanted = tuple(needed)
        for store in (
            CheckpointStore(self.released, miniature=True),
            CheckpointStore(self.released),
        ):
            if all(store.has(each) for each in wanted):
                return store
        return None

    def small(self, method: Method) -> Method:
        """Return a method as the miniature runs it, in few steps."""
        small = method.with_preset("miniature") if "miniature" in method.presets else method
        options = {"sampler.steps": STEPS} if hasattr(small.sampler, "steps") else {}
        return small.with_options(options)

    def features(self, method: Method, store: CheckpointStore) -> dict[str, Tensor]:
        """Return what a method's conditioner needs, drawn from N(0, 0.1), (rows, *shape)."""
        import torch

        generator = torch.Generator().manual_seed(0)
        return {
            name: 0.1 * torch.randn(ROWS, *method.encoders[name].shape(store), generator=generator)
            for name in method.conditioner.needs
        }

    def training(self, method: Method, part: Any, store: CheckpointStore) -> TrainingRows:
        """Return training images with the features of a method that a part remembers."""
        import torch

        names = remembers(part) or ()
        shapes = {name: method.encoders[name].shape(store) for name in names}
        return example_training(part, {n: torch.empty(1, *s) for n, s in shapes.items()})

    def latents(self, method: Method, store: CheckpointStore, output: str) -> Tensor:
        """Return what a method's decoder of an output is given, without walking there."""
        import torch

        with torch.no_grad():
            conditioner = method.conditioner
            known = remembering(conditioner, self.training(method, conditioner, store))
            prepared = known.load(store)(self.features(method, store))
            condition: Condition = prepared[output]
            if len(condition.sigmas) > 1:
                return condition.start.clone()
            return condition.denoise(condition.start, condition.sigmas[-1]).clone()

    def _methods(
        self, wanted: Callable[[Method], bool]
    ) -> Iterator[tuple[Method, CheckpointStore]]:
        for name in self.registry.names("method"):
            method = self.small(self.registry.get("method", name))
            store = self.store(method.checkpoints())
            if store is not None and wanted(method):
                yield method, store

    def _unused(self, part: Any) -> str:
        return (
            f"no installed method that has weights uses {part.name!r}; register one, or check it "
            "in a test of yours with tensors of your own"
        )

    def _lacking(self, needed: Iterable[Checkpoint]) -> str:
        names = ", ".join(each.name for each in needed)
        return (
            f"there is no miniature of {names}, and {self.released} lacks the released weights; "
            "ship a miniature, fetch them, or check it in a test of yours"
        )
