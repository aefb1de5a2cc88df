"""Where samplers and regressors of many steps keep how far they are: a killed run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.run.artefact import Artefact, is_current, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

PATH = "path."
"""Begins the names of the tensors that stay beside the finished latent."""
STRIP_FRAMES = 8
"""The most frames a picture of a sampler's way shows."""


def strip_frames(n_frames: int) -> list[int]:
    """Choose evenly which of the kept frames are shown, the first and the last among them.

    >>> strip_frames(3), strip_frames(31)
    ([0, 1, 2], [0, 4, 9, 13, 17, 21, 26, 30])
    """
    n_shown = min(n_frames, STRIP_FRAMES)
    return [round(frame * (n_frames - 1) / max(1, n_shown - 1)) for frame in range(n_shown)]


class FileJournal:
    """The states of a batch, a file for each image beside its latent.

    A state carries the recipe of the latent it leads to, so one of other options or features is
    never taken up.
    """

    def __init__(self, latents: Sequence[Artefact]) -> None:
        """Begin with the artefacts that the batch will write, in its order."""
        self._latents = latents

    def state(self, row: int) -> dict[str, Tensor]:
        """Return what was kept last for an image of the batch; empty at first."""
        from safetensors.torch import load_file

        latent, path = self._latents[row], self._file(row)
        return load_file(path) if is_current(path, latent.recipe) else {}

    def keep(self, row: int, state: Mapping[str, Tensor]) -> None:
        """Keep the state of an image of the batch in place of the one before."""
        tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
        write_tensors(self._file(row), tensors, self._latents[row].recipe)

    def finish(self, row: int, latent: Tensor) -> None:
        """Write an image's latent with the path that led to it, and drop its state."""
        artefact = self._latents[row]
        path = {k: v for k, v in self.state(row).items() if k.startswith(PATH)}
        write_tensors(artefact.path, {"latent": latent, **path}, artefact.recipe)
        self._file(row).unlink(missing_ok=True)

    def _file(self, row: int) -> Path:
        return self._latents[row].path.with_suffix(".state.safetensors")


class FileFitJournal:
    """The state of one feature's fit, in a file beside the weights it leads to.

    A state carries the recipe of those weights, so one of other options, trials or features is
    never taken up.
    """

    def __init__(self, weights: Artefact) -> None:
        """Begin with the artefact that the fit will write."""
        self._weights = weights
        self._file = weights.path.with_suffix(".state.safetensors")

    def state(self) -> dict[str, Tensor]:
        """Return what was kept last; empty at first."""
        from safetensors.torch import load_file

        return load_file(self._file) if is_current(self._file, self._weights.recipe) else {}

    def keep(self, state: Mapping[str, Tensor]) -> None:
        """Keep a state in place of the one before."""
        tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
        write_tensors(self._file, tensors, self._weights.recipe)

    def finish(self) -> None:
        """Drop the state: the weights are written."""
        self._file.unlink(missing_ok=True)
