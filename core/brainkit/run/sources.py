"""What a run reconstructs from: the brain, and what its scores are held against."""

from __future__ import annotations

from dataclasses import replace

from brainkit.run.folder import Source
from brainkit.run.shared import Run

NULL = "null"
"""The source whose reconstructions come from no brain's responses."""
N_NULLS = 3
"""Reconstructions from the mean brain at least, which differ by their noise alone."""


def sources_of(run: Run) -> tuple[Source, ...]:
    """Return what a run reconstructs from."""
    true: tuple[Source, ...] = ("true",) if run.config.ceiling else ()
    # What random weights make of the mean brain says nothing either.
    without = run.networks == "random" or not run.config.null
    null: tuple[Source, ...] = () if without else ("null",)
    return ("brain", *true, *null)


def of_source(run: Run, source: Source) -> Run:
    """Return the run that makes the reconstructions of a source.

    That from the mean brain makes those of the first test images, whose noise they have: draws of
    one null, whichever images are chosen.
    """
    if source != NULL:
        return run
    images = run.image_ids[1][: -(-N_NULLS // run.method.samples)].tolist()
    other = replace(run, config=replace(run.config, images=tuple(images)))
    # What was read of the files is the same.
    known = ("plan", "image_ids", "files")
    other.__dict__.update({name: run.__dict__[name] for name in known if name in run.__dict__})
    return other
