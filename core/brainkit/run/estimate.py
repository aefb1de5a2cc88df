"""Memory and disk of a run, foretold before it begins.

Shapes of weights are read from headers, or from the manifests of releases. Then every part's own
function runs once on the meta device, where tensors have shapes but no numbers, and what is alive
at once is added up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from brainkit.console import human_size
from brainkit.data import Condition, Stimuli, TrainingRows
from brainkit.parts import Decoder, Encoder, Sampler, remembers
from brainkit.run.encode import ENCODED_AT_ONCE
from brainkit.run.shared import Run
from brainkit.run.sources import of_source, sources_of
from brainkit.run.tally import ShapeStore, Tally, descend

if TYPE_CHECKING:
    from brainkit.data import Integers

PICTURE = (425, 425, 3)
CAPTIONS = ("a person rides a brown horse along the beach at dusk",) * 5
"""NSD's pictures, and captions of the usual number and length."""


@dataclass(frozen=True)
class Need:
    """What one step holds in memory.

    Attributes:
        step: e.g. "encoding clip_image".
        batch: images, or draws, at once.
        weights: bytes of its networks.
        memory: bytes at most, weights and activations.
        unknown: why nothing is known, else empty.
    """

    step: str
    batch: int
    weights: int = 0
    memory: int = 0
    unknown: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a run takes.

    Attributes:
        needs: memory of each step with networks.
        disk: bytes of each kind of file; pictures as if not compressed.
    """

    needs: tuple[Need, ...]
    disk: Mapping[str, int]


def called(sampler: Sampler, condition: Condition) -> set[tuple[str, bool]]:
    """Return what a sampler calls of a condition, and whether it goes back through that.

    Its first step is watched, with a few numbers in place of latents and nothing to compute.
    """
    calls = set()

    def note(name: str, returned: Tensor) -> Tensor:
        calls.add((name, returned.requires_grad))
        return returned

    def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
        return note("denoise", latent / 2)

    def misfit(latent: Tensor) -> Tensor:
        return note("misfit", latent.flatten(1).mean(dim=1))

    def stop(done: int, total: int) -> None:
        raise _Stepped

    small = replace(
        condition,
        denoise=denoise,
        denoise_with=condition.denoise_with and (lambda context: denoise),
        misfit=condition.misfit and misfit,
        start=torch.ones(1, *(min(length, 2) for length in condition.start.shape[1:])),
        context=None if condition.context is None else torch.ones(1, 2, 2),
        sigmas=torch.linspace(0.03, 14.0, len(condition.sigmas)),
    )
    with suppress(_Stepped), torch.no_grad():
        sampler.sample(small, [0], stop)
    return calls


class _Stepped(Exception):  # noqa: N818 (it is no error)
    """A sampler has taken its first step."""


Work = Callable[[Tally], tuple[int, tuple[int, ...]]]
"""Does a step under a tally; returns the bytes of its networks and the shape of what it makes."""


def estimate(run: Run) -> Estimate:
    """Return what a run takes, as if nothing had been computed yet."""
    store, n_draws = ShapeStore.of(run.store), len(run.draws)
    batch = min(run.config.batch_size, n_draws)
    copies = sum(len(of_source(run, source).draws) for source in sources_of(run)) / batch
    needs, disk = [], _disk(run)
    for feature, encoder in run.method.encoders.items():
        work = partial(_encode, run, encoder, store)
        needs.append(_need(f"encoding {feature}", ENCODED_AT_ONCE, work)[0])
    for output, decoder in run.method.decoders.items():
        sampling, latent = _need(f"sampling {output}s", batch, partial(_sample, run, store, output))
        decoding, decoded = _need(
            f"decoding {output}s", batch, partial(_decode, run, decoder, store, latent)
        )
        needs += [sampling, decoding]
        disk[f"{output} latents"] = round(4 * prod(latent) * copies)
        if decoder.gives == "image":
            disk["pictures"] = round(prod(decoded) * copies)
    return Estimate(tuple(needs), {name: size for name, size in disk.items() if size})


def _need(step: str, batch: int, work: Work) -> tuple[Need, tuple[int, ...]]:
    """Return what a step holds, and the shape of what it makes; (0,) where that is not known.

    Code may ask tensors without numbers whether something holds: it is told no, and if the step
    cannot go on from there, yes.
    """
    why = ""
    for truth in (False, True):
        tally = Tally(truth=truth)
        try:
            with torch.no_grad():
                weights, shape = work(tally)
        except Exception as error:  # whatever a part raises that cannot do without numbers
            why = why or " ".join(str(error).split())[:80] or type(error).__name__
        else:
            return Need(step, batch, weights, tally.most), shape
    return Need(step, batch, unknown=why), (0,)


def _loaded(run: Run, part: Any, store: ShapeStore, tally: Tally) -> Any:
    """Return a part's function; a network that only waited for its weights has not counted."""
    names, ids = remembers(part), run.image_ids[0]
    given = {}
    if names is not None:
        shapes = {name: run.method.encoders[name].shape(store) for name in names}
        rows = {n: torch.empty(len(ids), *s, device="meta").half() for n, s in shapes.items()}
        given["training"] = TrainingRows(ids, rows, _example)
    with tally:
        function = part.load(store, **given)
    tally.most = tally.alive
    return function


def _encode(
    run: Run, encoder: Encoder, store: ShapeStore, tally: Tally
) -> tuple[int, tuple[int, ...]]:
    function, weights = _loaded(run, encoder, store, tally), tally.alive
    with tally:
        return weights, tuple(function(_example(np.arange(ENCODED_AT_ONCE, dtype=np.int32))).shape)


def _example(image_ids: Integers) -> Stimuli:
    """Return black pictures of NSD's size, with captions of the usual number and length."""
    pictures = np.zeros((len(image_ids), *PICTURE), np.uint8)
    return Stimuli(pictures, (CAPTIONS,) * len(image_ids), image_ids)


def _sample(run: Run, store: ShapeStore, output: str, tally: Tally) -> tuple[int, tuple[int, ...]]:
    prepare, weights = _loaded(run, run.method.conditioner, store, tally), tally.alive
    batch = min(run.config.batch_size, len(run.draws))
    shapes = {name: run.method.encoders[name].shape(store) for name in run.method.conditioner.needs}
    with tally:
        features = {
            name: torch.empty(batch, *shape, device="meta") for name, shape in shapes.items()
        }
        condition = prepare(features)[output]
        latent = _denoise(condition, condition.start)
    calls = called(run.method.sampler, condition)
    if any(name == "misfit" for name, _ in calls):
        weights += _loaded_late(condition, latent, tally)
    if ("denoise", True) in calls:
        descend(partial(_denoise, condition), condition.start, tally)
    if condition.misfit and ("misfit", True) in calls:
        descend(condition.misfit, latent, tally)
    return weights, tuple(latent.shape)


def _denoise(condition: Condition, latent: Tensor) -> Tensor:
    return condition.denoise(latent, condition.sigmas[-1])


def _loaded_late(condition: Condition, latent: Tensor, tally: Tally) -> int:
    """Return the bytes of networks that a misfit loads when it is first asked."""
    assert condition.misfit is not None
    before, most = tally.alive, tally.most
    with tally:
        condition.misfit(latent)
    tally.most = max(most, tally.alive)
    with tally:
        condition.misfit(latent)
    return tally.alive - before


def _decode(
    run: Run, decoder: Decoder, store: ShapeStore, latent: tuple[int, ...], tally: Tally
) -> tuple[int, tuple[int, ...]]:
    if latent == (0,):
        raise ValueError("its latents are not known")
    function, weights = _loaded(run, decoder, store, tally), tally.alive
    with tally:
        decoded = function(torch.empty(latent, device="meta"), [0] * latent[0])
    return weights, tuple(decoded.shape) if isinstance(decoded, Tensor) else (0,)


def _disk(run: Run) -> dict[str, int]:
    """Return the bytes of the files before sampling by kind."""
    n_train, n_test = map(len, run.image_ids)
    shapes = [encoder.shape(run.store) for encoder in run.method.encoders.values()]
    numbers = sum(prod(shape) for shape in shapes)
    return {
        "trials": run.plan.bytes_in_memory,
        "features": 2 * numbers * (n_train + n_test),
        "predictions": 2 * numbers * n_test,
    }


def text(foretold: Estimate, run: Run) -> list[str]:
    """Return the lines of a dry run."""
    known = [need for need in foretold.needs if not need.unknown]
    most = max(known, key=lambda need: need.memory, default=None)
    lines = []
    if most:
        lines.append(
            f"memory   {human_size(most.memory)} on {run.store.device} at most, {most.step} "
            f"{most.batch} at once: {human_size(most.weights)} weights, "
            f"{human_size(most.memory - most.weights)} activations"
        )
    files = ", ".join(f"{name} {human_size(size)}" for name, size in foretold.disk.items())
    # An encoder states its feature's shape itself; latents and pictures have to be seen.
    unseen = any(need.unknown for need in foretold.needs if not need.step.startswith("encoding"))
    total = human_size(sum(foretold.disk.values())) + " and more" * unseen
    lines.append(f"disk     {total}: {files}")
    return lines + [f"  {_line(need)}" for need in foretold.needs]


def _line(need: Need) -> str:
    if need.unknown:
        return f"{need.step}: not known ({need.unknown})"
    return (
        f"{need.step}: {human_size(need.weights)} weights, "
        f"{human_size(need.memory - need.weights)} activations of {need.batch}"
    )
