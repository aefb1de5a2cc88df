"""What a run reconstructs from: the brain, and what its scores are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from brainkit.errors import UsageError
from brainkit.run.folder import Source
from brainkit.run.shared import Predictions, Run

NULL = "null"
"""The source whose reconstructions come from no brain's responses."""
N_NULLS = 3
"""Reconstructions from the mean brain at least, which differ by their noise alone."""

SIDES: Final[Mapping[Source, str]] = {"text-only": "caption", "image-only": "image"}
"""What the encoders read whose features alone come from the brain."""
SIDE_NAMES = {"caption": "captions", "image": "pictures", "both": "both at once"}


def sources_of(run: Run) -> tuple[Source, ...]:
    """Return what a run reconstructs from."""
    true: tuple[Source, ...] = ("true",) if run.config.ceiling else ()
    # What random weights make of the mean brain says nothing either.
    without = run.networks == "random" or not run.config.null
    null: tuple[Source, ...] = () if without else ("null",)
    return ("brain", *true, *null, *controls_of(run))


def controls_of(run: Run) -> tuple[Source, ...]:
    """Return the controls that are asked for, each once."""
    return tuple(dict.fromkeys(run.config.controls or ()))


def require_controls(run: Run) -> None:
    """Check that the controls that are asked for say something about this run.

    Raises:
        UsageError: says why one does not.
    """
    for control in controls_of(run):
        if run.networks == "random":
            raise UsageError(
                f"--controls is {control}, but scores of random weights mean nothing; leave it out"
            )
        if control in SIDES:
            _require_sides(run, control)


def _require_sides(run: Run, control: Source) -> None:
    """Check that a method has features of both sides, of which one can do without the other."""
    method = run.method
    reads = {method.encoders[name].reads for name in method.conditioner.needs}
    if not reads >= set(SIDES.values()):
        read = " and of ".join(SIDE_NAMES[each] for each in sorted(reads))
        raise UsageError(
            f"--controls is {control}, but {method.name} reconstructs from features of {read}, "
            "expected some of captions alone and some of pictures alone; leave it out"
        )


def control_notes(known: Predictions) -> tuple[str, ...]:
    """Return a sentence on each control that a reader of its scores needs."""
    notes = {
        "noise": "each predicted number is drawn with mean and spread of the training images'",
        "text-only": "features of pictures are their mean over the training images",
        "image-only": "features of captions are their mean over the training images",
    }
    if files := [*known.controls.get("other-subject", {}).values()]:
        whose = files[0].path.parent.parent.name
        notes["other-subject"] = f"the features that {whose}'s brain predicts for the same images"
    return tuple(f"Control {name}: {notes[name]}." for name in known.controls)


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
