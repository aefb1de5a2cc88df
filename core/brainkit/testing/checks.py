"""The checks of each kind of part, as tuples of callables for a parametrised test.

Each function takes `expected_failures`, the names of promises the part cannot keep with the
reason; such a check fails once the promise is kept. Names are those of the promises' functions in
`brainkit.testing.part`, `.encoder`, `.regressor` and so on, whose first lines say what is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from types import ModuleType
from typing import TYPE_CHECKING, Any

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint, Stimuli, TrainingRows
from brainkit.method import Method
from brainkit.parts import Conditioner, Decoder, Encoder, Regressor, Sampler
from brainkit.testing import (
    checkpoint,
    conditioner,
    decoder,
    encoder,
    method,
    part,
    plugin,
    regressor,
    sampler,
)
from brainkit.testing.examples import example_stimuli
from brainkit.testing.memory import example_training, remembering, whole
from brainkit.testing.promise import Check, Failures, bound

if TYPE_CHECKING:
    from torch import Tensor

Promises = Sequence[Callable[..., None]]


def for_encoder(
    checked: Encoder,
    store: CheckpointStore,
    stimuli: Stimuli | None = None,
    *,
    expected_failures: Failures | None = None,
) -> tuple[Check, ...]:
    """Return the checks of an encoder.

    Args:
        checked: the encoder.
        store: holds the weights it needs, best those of a tiny network.
        stimuli: at least two, with captions; three drawn squares by default.
        expected_failures: name of a check -> why the part cannot keep that promise.
    """
    given = example_stimuli() if stimuli is None else stimuli
    return _bound("encoder", encoder.PROMISES, expected_failures, checked, store, given)


def for_regressor(
    checked: Regressor, *, expected_failures: Failures | None = None
) -> tuple[Check, ...]:
    """Return the checks of a regressor; they fit it to 40 trials of 12 voxels and 300 of 5."""
    return _bound("regressor", regressor.PROMISES, expected_failures, checked)


def for_conditioner(
    checked: Conditioner,
    store: CheckpointStore,
    features: Mapping[str, Tensor],
    *,
    training: TrainingRows | None = None,
    expected_failures: Failures | None = None,
) -> tuple[Check, ...]:
    """Return the checks of a conditioner.

    Args:
        checked: the conditioner.
        store: holds the weights it needs, best those of a tiny network.
        features: at least those it needs and two rows, float32 (batch, *shape).
        training: for one that remembers training images; drawn by default, see `example_training`.
        expected_failures: name of a check -> why the part cannot keep that promise.
    """
    given = remembering(checked, training or example_training(checked, features))
    return _bound("conditioner", conditioner.PROMISES, expected_failures, given, store, features)


def for_sampler(
    checked: Sampler, *, expected_failures: Failures | None = None
) -> tuple[Check, ...]:
    """Return the checks of a sampler of 20 steps or more; they walk latents of 256 numbers."""
    return _bound("sampler", sampler.PROMISES, expected_failures, checked)


def for_decoder(
    checked: Decoder,
    store: CheckpointStore,
    latents: Tensor,
    *,
    training: TrainingRows | None = None,
    expected_failures: Failures | None = None,
) -> tuple[Check, ...]:
    """Return the checks of a decoder.

    Args:
        checked: the decoder.
        store: holds the weights it needs, best those of a tiny network.
        latents: at least two, float32 (batch, *latent).
        training: for one that remembers training images; without features by default.
        expected_failures: name of a check -> why the part cannot keep that promise.
    """
    given = remembering(checked, training or example_training(checked, {}))
    return _bound("decoder", decoder.PROMISES, expected_failures, given, store, latents)


def for_method(
    checked: Method,
    store: CheckpointStore | None = None,
    *,
    expected_failures: Failures | None = None,
) -> tuple[Check, ...]:
    """Return the checks of a method.

    Args:
        checked: the method; give its sampler few steps, e.g. by `with_options`.
        store: holds the weights of all its parts; without one, the full run is left out.
        expected_failures: name of a check -> why the method cannot keep that promise.
    """
    return bound(method.PROMISES, expected_failures, checked, store)


def for_checkpoint(
    checked: Checkpoint,
    others: checkpoint.Owners | None = None,
    *,
    expected_failures: Failures | None = None,
) -> tuple[Check, ...]:
    """Return the checks of a checkpoint with its release and its miniature.

    Args:
        checked: the checkpoint.
        others: name -> who else declares a checkpoint of that name, and which.
        expected_failures: name of a check -> why that promise cannot be kept.
    """
    return bound(checkpoint.PROMISES, expected_failures, checked, others or {})


def check_plugin(
    checked: ModuleType, *, expected_failures: Failures | None = None
) -> tuple[Check, ...]:
    """Return the checks of an installed plugin.

    Args:
        checked: the module its entry point names.
        expected_failures: name of a check -> why the plugin cannot keep that promise.
    """
    return bound(plugin.PROMISES, expected_failures, checked)


def _bound(
    kind: str, promises: Promises, expected_failures: Failures | None, *subjects: Any
) -> tuple[Check, ...]:
    common = tuple(_of_kind(kind, promise) for promise in part.PROMISES)
    return bound((*common, *promises), expected_failures, *subjects)


def _of_kind(kind: str, promise: Callable[[str, Any], None]) -> Callable[..., None]:
    def checked(subject: Any, *others: object) -> None:
        promise(kind, whole(subject))

    return update_wrapper(checked, promise)
