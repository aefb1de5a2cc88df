"""The first step: NSD's betas to trials."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from brainkit.console import bar, human_size
from brainkit.run.artefact import Artefact, write_tensors
from brainkit.run.shared import Run
from brainkit.run.step import one
from brainkit.run.trials import FACTS, TrialsFile

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.data import Trials


def load(run: Run) -> TrialsFile:
    """Read, standardise and split the betas of the chosen voxels and trials."""
    inputs = {"betas": run.files["betas"]}
    if run.held_out:
        inputs["test images"] = run.files["ids"]
    recipe = run.recipe("trials", "selection", inputs=inputs)

    def make(artefact: Artefact) -> None:
        from brainkit.nsd import load_trials

        with bar("loading sessions", 1, "sessions") as shown:
            trials = load_trials(
                run.nsd,
                run.config.subject,
                run.method.selection,
                progress=shown.of,
                held_out=run.held_out,
            )
        facts = {"sessions": trials.sessions, "warnings": trials.warnings}
        notes = {FACTS: json.dumps(facts)}
        run.inputs.require_unchanged()
        write_tensors(artefact.path, _tensors(trials), recipe, notes)

    path = run.folder.trials(recipe.stamp)
    artefact = TrialsFile(path, recipe, run.folder.facts(path))
    one(run, artefact, make, size=human_size(run.plan.bytes_in_memory))
    return artefact


def _tensors(trials: Trials) -> dict[str, Tensor]:
    import torch

    arrays = {
        f"{name}_{field}": getattr(half, field)
        for name, half in (("train", trials.train), ("test", trials.test))
        for field in ("betas", "image_ids", "repeats")
    }
    arrays["voxel_xyz"] = trials.voxel_xyz
    if trials.ncsnr is not None:
        arrays["ncsnr"] = trials.ncsnr
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
