"""What a run will take, before it takes it: memory, arithmetic and disk.

Every part's own function runs once on tensors that have shapes but no numbers, so the estimate is
of the very networks of the run. A part whose function cannot do without numbers is "not known".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import ceil, prod
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from brainkit.console import human_size
from brainkit.data import Condition, Stimuli
from brainkit.errors import BrainkitError
from brainkit.run.regress import ENCODED_AT_ONCE
from brainkit.run.sample import draws
from brainkit.run.shared import SOURCES, Run
from brainkit.samplers.calls import calls

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.weights.tracing import Cost, ShapeStore

PICTURE = (425, 425, 3)
CAPTIONS = ("a person rides a brown horse along the beach at dusk",) * 5
"""NSD's pictures, and captions of the usual number and length."""
LONGEST = 2.0
"""Seconds that measuring the device may take."""


@dataclass(frozen=True)
class Need:
    """What one step takes.

    Attributes:
        step: e.g. "encoding clip_image".
        batch: images, or draws, at once.
        weights: bytes of the networks that it holds.
        memory: bytes at most, weights and activations.
        flops: floating-point operations of the whole step, by dtype.
        unknown: why nothing is known, else empty.
    """

    step: str
    batch: int
    weights: int = 0
    memory: int = 0
    flops: Mapping[str, float] = field(default_factory=dict)
    unknown: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a run takes: each step, the bytes of each kind of file, and the device's speed.

    `speeds` are operations a second by dtype; a dtype that would take too long to measure is left
    out.
    """

    needs: tuple[Need, ...]
    disk: Mapping[str, int]
    speeds: Mapping[str, float]

    @property
    def seconds(self) -> float | None:
        """The least time that the arithmetic takes; None where a speed is not known."""
        total = sum((Counter(need.flops) for need in self.needs), Counter[str]())
        if not set(total) <= set(self.speeds):
            return None
        return sum(flops / self.speeds[dtype] for dtype, flops in total.items())


def estimate(run: Run, *, measure: bool = True) -> Estimate:
    """Estimate a run, as if nothing had been computed yet."""
    from brainkit.weights.tracing import ShapeStore

    store = ShapeStore.of(run.store)
    needs = [_encoding(run, store, feature) for feature in run.method.encoders]
    made: dict[str, float] = {}
    needs += _generating(run, store, made)
    dtypes = {dtype for need in needs for dtype in need.flops}
    speeds = {each: speed(run.store.device, each) for each in dtypes} if measure else {}
    known = {dtype: found for dtype, found in speeds.items() if found}
    return Estimate(tuple(needs), disk(run, made), known)


def _encoding(run: Run, store: ShapeStore, feature: str) -> Need:
    """Encode a batch of pictures with their captions."""
    import numpy as np

    from brainkit.weights.tracing import traced

    encoder, batch = run.part(f"encoder.{feature}"), ENCODED_AT_ONCE
    stimuli = Stimuli(
        np.zeros((batch, *PICTURE), np.uint8), (CAPTIONS,) * batch, np.arange(batch, dtype=np.int32)
    )
    times = sum(map(len, run.image_ids)) / batch

    def work(truth: bool) -> Taken:
        function, loaded = traced(lambda: encoder.load(store), truth=truth)
        cost = traced(lambda: function(stimuli), truth=truth).cost
        return Taken(loaded.kept, cost.peak, _times(cost.flops, times))

    return _need(f"encoding {feature}", batch, work)


def _generating(run: Run, store: ShapeStore, made: dict[str, float]) -> Iterator[Need]:
    """Sample and decode a batch of each output, from each source of features.

    Args:
        run: what is estimated.
        store: without numbers.
        made: gets the bytes of latents and pictures by output.
    """
    from brainkit.weights.tracing import traced

    n_draws = len(draws(run))
    batch = min(run.config.batch_size, n_draws)
    times = n_draws / batch * (len(SOURCES) if run.config.ceiling else 1)
    prepared = cache(lambda truth: _Prepared.of(run, store, batch, truth=truth))
    for output, decoder in run.method.decoders.items():
        latents: list[Tensor] = []

        def sample(truth: bool, output: str = output, latents: list[Tensor] = latents) -> Taken:
            walk = _Walk.of(prepared(truth), output, truth=truth)
            latents[:] = [walk.latent]
            made[f"{output} latents"] = 4 * walk.latent.numel() * times
            return walk.taken(run.method.sampler, times)

        def decode(truth: bool, decoder: Any = decoder, latents: list[Tensor] = latents) -> Taken:
            function, loaded = traced(lambda: decoder.load(store), truth=truth)
            shown, cost = traced(lambda: function(latents[0], [0] * batch), truth=truth)
            if decoder.gives == "image":
                made["pictures"] = shown.numel() * times
            return Taken(loaded.kept, cost.peak, _times(cost.flops, times))

        yield _need(f"sampling {output}s", batch, sample)
        if latents:
            yield _need(f"decoding {output}s", batch, decode)
        else:
            yield Need(f"decoding {output}s", batch, unknown="its latents are not known")


class Taken(NamedTuple):
    """Bytes of networks, bytes at most beside them, and operations by dtype."""

    weights: int
    beside: int
    flops: Mapping[str, float]


def _need(step: str, batch: int, work: Callable[[bool], Taken]) -> Need:
    """Try both answers to what code may ask of tensors without numbers."""
    why = ""
    for truth in (False, True):
        try:
            taken = work(truth)
        except Exception as error:  # whatever a part raises that cannot do without numbers
            why = why or " ".join(str(error).split())[:80] or type(error).__name__
        else:
            return Need(step, batch, taken.weights, taken.weights + taken.beside, taken.flops)
    return Need(step, batch, unknown=why)


@dataclass(frozen=True)
class _Prepared:
    """Conditions on tensors without numbers, and what loading and preparing took."""

    conditions: Mapping[str, Condition]
    loaded: Cost
    cost: Cost

    @classmethod
    def of(cls, run: Run, store: ShapeStore, batch: int, *, truth: bool) -> _Prepared:
        import torch

        from brainkit.weights.tracing import traced

        part = run.method.conditioner
        features = {
            name: torch.empty(batch, *run.part(f"encoder.{name}").shape(store), device="meta")
            for name in part.needs
        }
        prepare, loaded = traced(lambda: part.load(store), truth=truth)
        conditions, cost = traced(lambda: prepare(features), truth=truth)
        return cls(conditions, loaded, cost)


@dataclass(frozen=True)
class _Walk:
    """What a sampler walks, and what calling its denoiser once took."""

    condition: Condition
    latent: Tensor
    before: _Prepared
    denoised: Cost
    truth: bool

    @classmethod
    def of(cls, before: _Prepared, output: str, *, truth: bool) -> _Walk:
        from brainkit.weights.tracing import traced

        found = before.conditions[output]
        latent, denoised = traced(lambda: found.denoise(found.start, found.sigmas[-1]), truth=truth)
        return cls(found, latent, before, denoised, truth)

    def taken(self, sampler: Any, times: float) -> Taken:
        """Multiply by what the sampler calls, gradients and the misfit included."""
        counts = calls(sampler, self.condition)
        flops = Counter(self.before.cost.flops) + _times(self.denoised.flops, counts["denoise"])
        held, beside = self.before.loaded.kept, self.denoised.peak
        if counts["denoise back"]:
            back = self._back(self._denoised)
            flops += _times(back.flops - self.denoised.flops, counts["denoise back"])
            beside = max(beside, back.peak)
        if counts["misfit"]:
            loading, back = self._misfit()
            held += loading.kept
            beside = max(beside, back.peak)
            # Forth alone is a third of forth and back.
            share = counts["misfit back"] + (counts["misfit"] - counts["misfit back"]) / 3
            flops += _times(back.flops, share)
        beside = max(self.before.cost.peak, self.before.cost.kept + beside)
        return Taken(held, beside, _times(flops, times))

    def _denoised(self, latent: Tensor) -> Tensor:
        return self.condition.denoise(latent, self.condition.sigmas[-1])

    def _misfit(self) -> tuple[Cost, Cost]:
        from brainkit.weights.tracing import traced

        misfit = self.condition.misfit
        assert misfit is not None
        # First it is told that all is in order, as it may ask of its targets.
        for truth in (True, False):
            try:
                loading = traced(lambda: misfit(self.latent), truth=truth).cost
                return loading, self._back(misfit, truth=truth)
            except BrainkitError as error:
                refused = error
        raise refused

    def _back(self, function: Callable[[Tensor], Tensor], *, truth: bool | None = None) -> Cost:
        import torch

        from brainkit.weights.tracing import traced

        def there_and_back() -> None:
            with torch.enable_grad():
                latent = self.latent.detach().requires_grad_()
                # Not `grad`, inside of which function modes are off.
                torch.autograd.backward([function(latent).sum()])

        return traced(there_and_back, truth=self.truth if truth is None else truth).cost


def _times(flops: Mapping[str, float], times: float) -> Counter[str]:
    scaled: Counter[str] = Counter()
    for dtype, each in flops.items():
        scaled[dtype] = each * times  # type: ignore[assignment]
    return scaled


def disk(run: Run, made: Mapping[str, float]) -> dict[str, int]:
    """Give the bytes of the files of a run by kind; pictures as if not compressed.

    Args:
        run: what is estimated.
        made: bytes of latents and pictures.
    """
    n_train, n_test = map(len, run.image_ids)
    shapes = {name: run.part(f"encoder.{name}").shape(run.store) for name in run.method.encoders}
    numbers = sum(prod(shape) for shape in shapes.values())
    return {
        "trials": run.plan.bytes_in_memory,
        "features": 2 * numbers * (n_train + n_test),
        "predictions": 2 * numbers * n_test,
        **{name: round(size) for name, size in made.items()},
    }


def speed(device: str, dtype: str) -> float | None:
    """Measure the operations a second of a product of square matrices; None if it takes long."""
    import torch

    found, best, began = getattr(torch, dtype), 0.0, perf_counter()
    for side in (256, 512, 1024, 2048, 4096, 8192):
        if best and 4 * side**3 / best > LONGEST - (perf_counter() - began):
            break
        matrix = torch.ones(side, side, device=device, dtype=found)
        for _ in range(2):
            start = perf_counter()
            float((matrix @ matrix)[0, 0])
            took = perf_counter() - start
            if took > LONGEST:
                return None
            best = max(best, 2 * side**3 / took)
    return best


def text(found: Estimate, run: Run) -> list[str]:
    """Give the lines of a dry run."""
    known = [need for need in found.needs if not need.unknown]
    most = max(known, key=lambda need: need.memory, default=None)
    lines = []
    if most:
        lines.append(
            f"memory   {human_size(most.memory)} on {run.store.device} at most, {most.step} "
            f"{most.batch} at once: {human_size(most.weights)} weights, "
            f"{human_size(most.memory - most.weights)} activations"
        )
    files = ", ".join(f"{name} {human_size(size)}" for name, size in found.disk.items())
    lines.append(f"disk     {human_size(sum(found.disk.values()))}: {files}")
    lines.append(f"time     {_time(found, run)}")
    lines += [f"  {_line(need)}" for need in found.needs]
    return lines


def _time(found: Estimate, run: Run) -> str:
    total = sum(sum(need.flops.values()) for need in found.needs)
    if found.seconds is None:
        return f"{total / 1e12:.3g} TFLOP; the device's speed was not measured"
    speeds = " and ".join(
        f"{each / 1e12:.3g} TFLOP/s in {dtype}" for dtype, each in sorted(found.speeds.items())
    )
    return (
        f"{duration(found.seconds)} at least: {total / 1e12:.3g} TFLOP at the {speeds} that a "
        f"product of matrices reached on {run.store.device} just now; fitting, scoring and reading "
        "come on top"
    )


def _line(need: Need) -> str:
    if need.unknown:
        return f"{need.step}: not known ({need.unknown})"
    return (
        f"{need.step}: {human_size(need.weights)} weights, "
        f"{human_size(need.memory - need.weights)} activations of {need.batch}, "
        f"{sum(need.flops.values()) / 1e12:.3g} TFLOP"
    )


def duration(seconds: float) -> str:
    """Give a time for people.

    >>> duration(0.2), duration(75), duration(9000)
    ('1 s', '1 min 15 s', '2 h 30 min')
    """
    whole = max(1, ceil(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
