"""Features to latents: what decoders turn into pictures and captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from brainkit.errors import UsageError
from brainkit.parts import resuming_walk, takes_gaps
from brainkit.run.artefact import Artefact, Recipe
from brainkit.run.folder import Source
from brainkit.run.journal import FileJournal
from brainkit.run.remembered import training_rows, training_stamps
from brainkit.run.returned import conditions, finite, latents, loaded, not_finite
from brainkit.run.shared import Run
from brainkit.run.step import Batch, Batches, each
from brainkit.run.watched import Watched

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.data import Condition


def sample(
    run: Run,
    source: Source,
    features: Mapping[str, Artefact],
    training: Mapping[str, Artefact] | None = None,
) -> dict[str, list[Artefact]]:
    """Walk from the features of each chosen image to its latents, a file each sample.

    Args:
        run: whose conditioner and sampler.
        source: "brain" for predicted features, "true" for those of the stimuli themselves.
        features: files of these features, by name.
        training: files of the true features, for conditioners that want the training images.

    Returns:
        for each output one artefact a draw, in the order of `run.draws`.
    """
    training = features if training is None else training
    inputs = {name: features[name].stamp for name in run.method.conditioner.needs}
    inputs |= training_stamps(run, "conditioner", training)
    made = {output: _latents(run, output, inputs) for output in run.method.decoders}
    doing = f"sampling {' and '.join(made)} from {source} features"
    with each(run, f"latents/{source}", *made.values(), doing=doing) as batches:
        if batches:
            tensors = {name: features[name].test() for name in run.method.conditioner.needs}
            _check_gaps(run, tensors)
            condition = loaded(
                run, "conditioner", training=training_rows(run, "conditioner", training)
            )
            _walk(run, source, tensors, made, batches, condition)
    return made


def _latents(run: Run, output: str, inputs: Mapping[str, str]) -> list[Artefact]:
    """Return the file of each draw; all runs that make it from the same features share it."""

    def recipe(extra: str) -> Recipe:
        parts = "conditioner", "sampler"
        return run.recipe(f"latents/{output}", *parts, inputs=inputs, output=output, extra=extra)

    shared = recipe(f"seed={run.config.seed}").stamp
    return [
        Artefact(run.folder.latent(output, shared, draw), recipe(f"image={draw.image} seed={seed}"))
        for draw, seed in zip(run.draws, run.seeds(output), strict=True)
    ]


def _walk(
    run: Run,
    source: Source,
    tensors: Mapping[str, Tensor],
    made: Mapping[str, Sequence[Artefact]],
    batches: Batches,
    condition: Callable[[Mapping[str, Tensor]], object],
) -> None:
    import torch

    with torch.no_grad():
        for batch in batches:
            images = [draw.image for draw in batch.of(run.draws)]
            rows = torch.from_numpy(run.test_rows(images))
            given = {n: t[rows].float().to(run.store.device) for n, t in tensors.items()}
            with run.blame("conditioner", f"preparing {source} features"):
                prepared = condition(given)
            by_output = conditions(run, prepared, images)
            for output, files in made.items():
                if not all(latent.current for latent in batch.of(files)):
                    _sample_batch(run, output, by_output[output], batch, files)


def _sample_batch(
    run: Run, output: str, condition: Condition, batch: Batch, files: Sequence[Artefact]
) -> None:
    """Sample one output of a batch and write its latents."""
    sampler, journal = run.method.sampler, FileJournal(batch.of(files))
    seeds = run.seeds(output, batch.of(run.draws))
    progress = batch.progress(1 / len(run.method.decoders))
    watched = Watched(run, output, condition)
    with run.blame("sampler", f"sampling {output}"):
        if resuming_walk(sampler):
            walked = sampler.sample(watched.condition, seeds, progress, journal=journal)
        else:
            walked = sampler.sample(watched.condition, seeds, progress)
    images = [draw.image for draw in batch.of(run.draws)]
    reached = latents(run, output, walked, condition)
    # A state that led to NaN would do so again.
    spoilt = not_finite(reached)
    for row in spoilt:
        journal.drop(row)
    watched.require_finite(spoilt, images)
    finite(run, "sampler", reached, f"{output} latents", images)
    for row in batch.writing_order(files):
        journal.finish(row, reached[row].float().cpu())
    # After all are written: a batch that is killed before goes on from all of its states.
    for row in range(len(batch)):
        journal.drop(row)


def _check_gaps(run: Run, tensors: Mapping[str, Tensor]) -> None:
    """Keep features of which only some units were predicted from conditioners that need all."""
    if takes_gaps(run.method.conditioner):
        return
    for name, tensor in tensors.items():
        left_out = int(tensor[:1].isnan().sum())
        if left_out:
            raise UsageError(
                f"regressor.{name} leaves out {left_out} of {tensor[:1].numel()} units, but "
                f"{run.who('conditioner')} needs all of them; set its option that chooses units "
                "to keep them all"
            )
