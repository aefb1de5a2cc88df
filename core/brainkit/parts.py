"""What each of the five kinds of part promises, and what one may offer besides.

The protocols are structural: a plugin's part is a frozen dataclass with these members and inherits
nothing. Members are read-only properties here so that class attributes and frozen fields satisfy
them. `docs/plugins/parts.md` explains each with its shapes.

What a part may offer besides is asked for here and nowhere else: `Sharing` and `Mappable` by
`isinstance`, since having their methods is the offer; `resuming_fit`, `resuming_walk`,
`takes_gaps`, `directions_of`, `remembers`, `files_of`, `rowwise`, `uses_truth`, `checkpoints_of`
and `described` by calling, since these are attributes that may be there and be False or empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard, cast, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

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
        """Return the shape of one feature from the network's configuration, loading no weights."""
        ...

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, *shape) on the store's device."""
        ...


class Regressor(Protocol):
    """Learns to predict a feature from voxels."""

    @property
    def name(self) -> str: ...
    def fit(self, betas: Tensor, feature: Tensor) -> dict[str, Tensor]:
        """Learn from betas float32 (trials, voxels) and a feature (trials, *shape).

        The feature may be a float16 tensor mapped from disk. Returns flat weights for safetensors.
        """
        ...

    def predict(self, weights: Mapping[str, Tensor], betas: Tensor, feature: Tensor) -> Tensor:
        """Predict float32 (trials, *shape) for new betas; `feature` is the training feature.

        A unit that the regressor leaves out is NaN in every row. Scores pass over such units, and
        only conditioners that are `TakesGaps` are given them.
        """
        ...


class FitJournal(Protocol):
    """Where a regressor that trains for long keeps how far it is.

    A `ResumingFit` takes one. A killed fit goes on from the last state, to the very weights it
    would have had.
    """

    def state(self) -> dict[str, Tensor]:
        """Return what was kept last, on the CPU; empty at first."""
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
        """Return a function from features, float32 (batch, *shape), to one condition an output."""
        ...


class Journal(Protocol):
    """Where a sampler of many iterations keeps how far it is, image by image.

    A `ResumingWalk` takes one. Its states make a killed run go on where it was, in batches of the
    same images, which may stand at different iterations; of the last state, tensors whose names
    begin with `path.` stay beside the latent and the report shows them: `path.losses` float32
    (iterations,), `path.latents` float16 (frames, *latent) and `path.iterations` int64 (frames,),
    each frame's iteration.
    """

    def state(self, row: int) -> dict[str, Tensor]:
        """Return what was kept last for an image of the batch; empty at first."""
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
        """Return float32 (batch, *latent); image i's noise comes from seeds[i] alone.

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
        """Return a function from latents (batch, *latent) and one seed each.

        It returns uint8 (batch, height, width, 3) on the CPU, or `batch` captions.
        """
        ...


@runtime_checkable
class Sharing(Protocol):
    """A regressor whose work on the betas is shared by all features; optional.

    `isinstance(part, Sharing)` tells the runner to write the factor as one artefact, to call the
    two `_shared` methods with it, and to keep the training betas out of the weights. `fit` and
    `predict` of the same part have to give the same predictions without it.
    """

    @property
    def shares(self) -> str:
        """Text that is equal for two parts exactly when they can use one factor."""
        ...

    def factorise(self, betas: Tensor) -> dict[str, Tensor]:
        """Learn what depends on the betas, float32 (trials, voxels), alone."""
        ...

    def fit_shared(
        self, betas: Tensor, feature: Tensor, factor: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Learn like `fit`, given the factor of the same betas."""
        ...

    def predict_shared(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor],
        train_betas: Tensor,
    ) -> Tensor:
        """Predict like `predict`, given the factor and the betas it was made from."""
        ...


@runtime_checkable
class Mappable(Protocol):
    """A regressor that can tell how much each voxel bears on its predictions; optional.

    `isinstance(part, Mappable)` tells `brainkit map` that it may ask.
    """

    def importance(
        self,
        weights: Mapping[str, Tensor],
        betas: Tensor,
        feature: Tensor,
        factor: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return each voxel's importance for a feature.

        Args:
            weights: what `fit` returned, or `fit_shared` of a regressor that offers `Sharing`.
            betas: the training betas, float32 (trials, voxels).
            feature: the training feature, (trials, *shape); may be mapped from disk.
            factor: what `factorise` returned for these betas, with the weights of `fit_shared`.

        Returns:
            "weight" float32 (voxels,), the mean over units of |weight| where betas and units are
            z-scored over the training trials; and, of regressors that select voxels, "selected"
            float32 (voxels,), the share of units in [0, 1] that use the voxel. Units without
            prediction do not count; a voxel that no unit uses is 0.
        """
        ...


class Resuming(Protocol):
    """A regressor or sampler of many steps, which goes on where a killed run was; optional.

    `journalled = True` says that it takes the keyword `journal`.
    """

    @property
    def journalled(self) -> bool: ...


class ResumingFit(Resuming, Protocol):
    """A regressor that trains for long.

    Its betas lie on the run's device, in `fit` and `predict`; its feature stays where it is.
    """

    def fit(
        self,
        betas: Tensor,
        feature: Tensor,
        journal: FitJournal | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """Learn like `Regressor.fit`; `progress(done, total)` is called after every step."""
        ...


class ResumingWalk(Resuming, Protocol):
    """A sampler of many iterations for an image."""

    def sample(
        self,
        condition: Condition,
        seeds: Sequence[int],
        progress: Progress | None = None,
        journal: Journal | None = None,
    ) -> Tensor:
        """Walk like `Sampler.sample`."""
        ...


class TakesGaps(Protocol):
    """A conditioner that can do with features of which units are NaN; optional."""

    @property
    def reads_gaps(self) -> bool: ...


class Remembers(Protocol):
    """A conditioner or decoder that chooses among the training images; optional.

    `remembers` names the features it wants, which may be none. `load` then takes the keyword
    `training`, a `brainkit.data.TrainingRows`: ids, true features, and pictures when asked.
    """

    @property
    def remembers(self) -> tuple[str, ...]: ...


class ReadsDirections(Protocol):
    """A conditioner to which the length of some features does not matter; optional.

    Scores then tell besides how much of the variance of their directions is explained.
    """

    @property
    def directions(self) -> tuple[str, ...]: ...


class ReadsFiles(Protocol):
    """An encoder that reads files of the user's, a change of which encodes anew; optional."""

    @property
    def files(self) -> Sequence[Path]: ...


def resuming_fit(part: Regressor) -> TypeGuard[ResumingFit]:
    """Say whether a regressor's `fit` takes a journal."""
    return _journalled(part)


def resuming_walk(part: Sampler) -> TypeGuard[ResumingWalk]:
    """Say whether a sampler's `sample` takes a journal."""
    return _journalled(part)


def _journalled(part: object) -> bool:
    return bool(getattr(part, "journalled", False))


def takes_gaps(part: Conditioner) -> bool:
    """Say whether a conditioner may be given features of which only some units were predicted."""
    return bool(getattr(part, "reads_gaps", False))


def remembers(part: object) -> tuple[str, ...] | None:
    """Return the features of the training images that a part wants; None if it wants no images."""
    return cast("tuple[str, ...] | None", getattr(part, "remembers", None))


def directions_of(part: Conditioner) -> tuple[str, ...]:
    """Return the features of which a conditioner reads the direction alone, not the length."""
    return tuple(getattr(part, "directions", ()))


def files_of(part: Encoder) -> Sequence[Path]:
    """Return the files of the user's that an encoder reads."""
    return cast("Sequence[Path]", getattr(part, "files", ()))


def rowwise(part: object) -> bool:
    """Say whether a trial's prediction is its own; `rowwise = False` admits that it is not."""
    return bool(getattr(part, "rowwise", True))


def uses_truth(part: object) -> bool:
    """Say whether a part chooses by the true image or caption; `uses_truth = True` admits it."""
    return bool(getattr(part, "uses_truth", False))


def checkpoints_of(part: object) -> tuple[Checkpoint, ...]:
    """Return the weights that a part of any kind needs; regressors and samplers need none."""
    return cast("tuple[Checkpoint, ...]", getattr(part, "checkpoints", ()))


def described(part: object, output: str = "") -> str:
    """Return the text that identifies a part in a recipe, for all outputs or for one.

    A part whose options bear on one output only may offer `recipe(output)`; otherwise it is `repr`.
    """
    own = getattr(part, "recipe", None)
    return str(own(output)) if own and output else repr(part)
