"""Where samplers and regressors of many steps keep how far they are: a killed run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.run.artefact import (
    Artefact,
    Recipe,
    is_current,
    read_note,
    recorded_aside,
    save_tensors,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

STATE = ".state.safetensors"
"""Ends the name of a state in place of the ending of the file it leads to."""
CONTENT = "sha256"
"""What the metadata of a state call the hash of its tensors."""
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


def _write_state(path: Path, state: Mapping[str, Tensor], recipe: Recipe) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_tensors(path, tensors, recipe, notes={CONTENT: _digest(tensors)})


def _read_state(path: Path, recipe: Recipe) -> dict[str, Tensor]:
    """Return a state as it was written; empty if it leads elsewhere or is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not is_current(path, recipe):
        return {}
    try:
        state = load_file(path)
    except (SafetensorError, ValueError):
        return {}
    return state if read_note(path, CONTENT) == _digest(state) else {}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors' names, shapes, dtypes and bytes."""
    import torch

    digest = sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
        return _read_state(self._file(row), self._latents[row].recipe)

    def keep(self, row: int, state: Mapping[str, Tensor]) -> None:
        """Keep the state of an image of the batch in place of the one before."""
        _write_state(self._file(row), state, self._latents[row].recipe)

    def finish(self, row: int, latent: Tensor) -> None:
        """Write an image's latent with the path that led to it."""
        artefact = self._latents[row]
        path = {k: v for k, v in self.state(row).items() if k.startswith(PATH)}
        with recorded_aside(artefact.path, artefact.recipe) as aside:
            save_tensors(aside, {"latent": latent, **path}, artefact.recipe)

    def drop(self, row: int) -> None:
        """Forget how far an image of the batch is."""
        self._file(row).unlink(missing_ok=True)

    def _file(self, row: int) -> Path:
        return self._latents[row].path.with_suffix(STATE)


class FileFitJournal:
    """The state of one feature's fit, in a file beside the weights it leads to.

    A state carries the recipe of those weights, so one of other options, trials or features is
    never taken up.
    """

    def __init__(self, weights: Artefact) -> None:
        """Begin with the artefact that the fit will write."""
        self._weights = weights
        self._file = weights.path.with_suffix(STATE)

    def state(self) -> dict[str, Tensor]:
        """Return what was kept last; empty at first."""
        return _read_state(self._file, self._weights.recipe)

    def keep(self, state: Mapping[str, Tensor]) -> None:
        """Keep a state in place of the one before."""
        _write_state(self._file, state, self._weights.recipe)

    def finish(self) -> None:
        """Drop the state: the weights are written."""
        self._file.unlink(missing_ok=True)
