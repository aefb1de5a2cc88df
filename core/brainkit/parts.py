"""What each of the five kinds of part promises.

The protocols are structural: a plugin's part is a frozen dataclass with these members and inherits
nothing. Members are read-only properties here so that class attributes and frozen fields satisfy
them. `docs/plugins/parts.md` explains each with its shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Checkpoint, Condition, Stimuli

Reads = Literal["image", "caption", "both"]
Gives = Literal["image", "caption"]
Progress = Callable[[int, int], None]


class Encoder(Protocol):
    """Turns a stimulus into a feature worth predicting."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> Reads: ...
    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]: ...
    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Give the shape of one feature from the network's configuration, loading no weights."""
        ...

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Give a function from stimuli to float32 (batch, *shape) on the store's device."""
        ...


class Regressor(Protocol):
    """Learns to predict a feature from voxels. `rowwise = False` admits that rows depend."""

    @property
    def name(self) -> str: ...
    def fit(self, betas: Tensor, feature: Tensor) -> dict[str, Tensor]:
        """Learn from betas float32 (trials, voxels) and a feature (trials, *shape).

        The feature may be a float16 tensor mapped from disk. Gives flat weights for safetensors.
        """
        ...

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Predict float32 (trials, *shape) for new betas; `feature` is the training feature.

        A unit that the regressor leaves out is NaN in every row. Scores pass over such units, and
        only conditioners with `reads_gaps = True` are given them.
        """
        ...


class FitJournal(Protocol):
    """Where a regressor that trains for long keeps how far it is.

    A regressor that wants one has the class attribute `journalled = True` and its `fit` takes the
    keywords `journal: FitJournal | None = None` and `progress: Progress | None = None`. A killed
    fit then goes on from the last state, to the very weights it would have had. The betas of such
    a regressor lie on the run's device, in `fit` and `predict`; its feature stays where it is.
    """

    def state(self) -> dict[str, Tensor]:
        """Give what was kept last, on the CPU; empty at first."""
        ...

    def keep(self, state: Mapping[str, Tensor]) -> None:
        """Keep a state in place of the one before."""
        ...


class Conditioner(Protocol):
    """Turns predicted features into a denoiser and a starting point per output."""

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def gives(self) -> tuple[Gives, ...]: ...
    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]: ...
    def load(
        self, store: CheckpointStore
    ) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
        """Give a function from features, float32 (batch, *shape), to one condition an output."""
        ...


class Journal(Protocol):
    """Where a sampler of many iterations keeps how far it is, image by image.

    A sampler that wants one has the class attribute `journalled = True` and takes the keyword
    `journal: Journal | None = None`. Its states make a killed run go on where it was, in whatever
    batches; of the last state, tensors whose names begin with `path.` stay beside the latent and
    the report shows them: `path.losses` float32 (iterations,), `path.latents` float16
    (frames, *latent) and `path.iterations` int64 (frames,), each frame's iteration.
    """

    def state(self, row: int) -> dict[str, Tensor]:
        """Give what was kept last for an image of the batch; empty at first."""
        ...

    def keep(self, row: int, state: Mapping[str, Tensor]) -> None:
        """Keep the state of an image of the batch in place of the one before."""
        ...


class Sampler(Protocol):
    """Walks from the starting point to a finished latent."""

    @property
    def name(self) -> str: ...
    def sample(
        self, condition: Condition, seeds: Sequence[int], progress: Progress | None = None
    ) -> Tensor:
        """Give float32 (batch, *latent); image i's noise comes from seeds[i] alone.

        `progress(done, total)` is called after every step.
        """
        ...


class Decoder(Protocol):
    """Turns a finished latent into an image or a caption."""

    @property
    def name(self) -> str: ...
    @property
    def gives(self) -> Gives: ...
    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]: ...
    def load(self, store: CheckpointStore) -> Callable[[Tensor, Sequence[int]], Tensor | list[str]]:
        """Give a function from latents (batch, *latent) and one seed each.

        It returns uint8 (batch, height, width, 3) on the CPU, or `batch` captions.
        """
        ...
