"""Lend training images to parts that want them: ids and features, no betas, no test image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from brainkit.data import Stimuli, TrainingRows
from brainkit.errors import DataError, enumerated
from brainkit.parts import remembers
from brainkit.run.artefact import Artefact
from brainkit.run.shared import Run

if TYPE_CHECKING:
    from brainkit.data import Integers


def training_rows(run: Run, address: str, features: Mapping[str, Artefact]) -> TrainingRows | None:
    """Return the training rows that a part declares to want, or None if it does not.

    Args:
        run: whose parts and images.
        address: of the part.
        features: files of the true features, by name.
    """
    names = remembers(dict(run.method.parts())[address])
    if names is None:
        return None
    return TrainingRows(
        image_ids=run.image_ids[0],
        features={name: features[name]["train"] for name in names},
        stimuli=lambda image_ids: _stimuli(run, address, image_ids),
    )


def training_stamps(run: Run, address: str, features: Mapping[str, Artefact]) -> dict[str, str]:
    """Return the stamps of what `training_rows` gives, for recipes; {} if a part wants none."""
    names = remembers(dict(run.method.parts())[address])
    if names is None:
        return {}
    files = {"image ids": run.files["ids"], "images": run.files["images"]}
    return {
        **{f"training {name}": stamp for name, stamp in files.items()},
        **{f"training {name}": features[name].stamp for name in names},
    }


def _stimuli(run: Run, address: str, image_ids: Integers) -> Stimuli:
    import numpy as np

    from brainkit.nsd import load_captions, load_stimuli

    wanted = np.asarray(image_ids, np.int32)
    others = np.setdiff1d(wanted, run.image_ids[0])
    if len(others):
        raise DataError(
            f"{run.who(address)} asked for the images {enumerated(list(map(str, others)))}, which "
            "are no training images; what it may know are these alone"
        )
    captions = load_captions(run.nsd, wanted)
    return Stimuli(load_stimuli(run.nsd, wanted), tuple(captions), wanted)
