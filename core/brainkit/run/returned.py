"""What parts return to a run, checked where it returns, so that no innocent part is blamed later.

kind         returns                          checked by
encoder      a shape, features                feature_shape, features
regressor    weights, factors, predictions    learned, predictions
conditioner  a condition an output            conditions, and `watched` its functions
sampler      latents                          latents
decoder      pictures or captions             pixels, sentences
any          a function, from `load`          loaded
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from brainkit.data import Condition, TrainingRows
from brainkit.errors import DataError, enumerated
from brainkit.run.shared import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Axes = Sequence[int | str]
"""Lengths of axes; a text stands for any length, "*latent" at the end for any number of axes."""


def loaded(
    run: Run, address: str, doing: str = "loading", training: TrainingRows | None = None
) -> Callable[..., Any]:
    """Load a part's network and return its function.

    Args:
        run: whose part.
        address: of the part.
        doing: for messages.
        training: what a part is given besides that wants the training images.

    Raises:
        DataError: what `load` returned cannot be called.
    """
    part = dict(run.method.parts())[address]
    with run.blame(address, doing):
        given = {} if training is None else {"training": training}
        function: object = part.load(run.store, **given)
    if not callable(function):
        refuse(run, address, f"{met(function)} from load", "a function")
    return function


def feature_shape(run: Run, feature: str) -> tuple[int, ...]:
    """Return the shape of one feature, as its encoder tells it.

    Raises:
        DataError: it is no tuple of lengths from 1 up.
    """
    address = f"encoder.{feature}"
    with run.blame(address, f"telling the shape of {feature}"):
        shape: object = run.method.encoders[feature].shape(run.store)
    lengths = isinstance(shape, tuple | list) and all(
        isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in shape
    )
    if not isinstance(shape, tuple | list) or not lengths:
        refuse(run, address, f"{shape!r:.60} as its shape", "a tuple of lengths from 1 up")
    return tuple(shape)


def features(
    run: Run, feature: str, value: object, shape: tuple[int, ...], images: Iterable[int]
) -> Tensor:
    """Return what an encoder gave for a batch: float32 of a shape, whose numbers float16 can hold.

    Raises:
        DataError: it is something else, or a value is not finite or beyond 65504 in size.
    """
    address = f"encoder.{feature}"
    rows = tensor(run, address, value, shape, "features")
    _require_half(run, address, rows, images)
    return rows


def predictions(run: Run, feature: str, value: object, shape: tuple[int, ...]) -> Tensor:
    """Return what a regressor predicted of the test images; units it left out are NaN in all rows.

    Raises:
        DataError: as of `features`.
    """
    import torch

    address = f"regressor.{feature}"
    rows = tensor(run, address, value, shape, "predictions")
    gaps = torch.isnan(rows).all(dim=0)
    without_gaps = rows.where(~gaps, torch.zeros((), device=rows.device))
    _require_half(run, address, without_gaps, run.image_ids[1])
    return rows


def learned(run: Run, address: str, value: object, call: str) -> dict[str, Tensor]:
    """Return what a regressor learned: a flat dictionary of tensors, on the CPU.

    Args:
        run: names the part.
        address: of the regressor.
        value: what it returned.
        call: its method, e.g. "fit".

    Raises:
        DataError: it is something else, or two tensors share memory, which a file cannot hold.
    """
    import torch

    expected = "a flat dictionary of tensors by name"
    if not isinstance(value, Mapping) or not value:
        refuse(run, address, f"{met(value)} from {call}", expected)
    for name, each in value.items():
        plain = isinstance(each, torch.Tensor) and each.layout == torch.strided
        if not isinstance(name, str) or not name or not plain or each.is_meta:
            refuse(run, address, f"{met(each)} as {name!r:.40} from {call}", expected)
    tensors = {name: each.detach().cpu().contiguous() for name, each in value.items()}
    shared = _sharing(tensors)
    if shared:
        said = f"{shared[0]!r} and {shared[1]!r}, which share memory, from {call}"
        refuse(run, address, said, "tensors of their own; clone one of them")
    return tensors


def conditions(run: Run, value: object, images: Sequence[int]) -> dict[str, Condition]:
    """Return what a conditioner prepared for the images of a batch: a condition for each output.

    Raises:
        DataError: an output that it says it gives is missing, or a field is not what it has to be.
    """
    promised = tuple(run.method.decoders)
    if not isinstance(value, Mapping):
        refuse(run, "conditioner", met(value), f"a condition for each of {list(promised)}")
    lacking = [output for output in promised if output not in value]
    if lacking:
        said = f"conditions for {[*value]!r:.60} only"
        refuse(run, "conditioner", said, f"one for each of {list(promised)}")
    return {output: _condition(run, output, value[output], images) for output in promised}


def _condition(run: Run, output: str, value: object, images: Sequence[int]) -> Condition:
    if not isinstance(value, Condition):
        refuse(run, "conditioner", f"{met(value)} for {output}", "a brainkit.Condition")
    start = tensor(run, "conditioner", value.start, (len(images), "*latent"), f"start of {output}s")
    finite(run, "conditioner", start, f"{output} starts", images)
    _require_sigmas(run, output, value.sigmas)
    strength: object = value.strength
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not 0 < value.strength <= 1:
        said = f"the strength {strength!r:.40} for {output}"
        refuse(run, "conditioner", said, "a number above 0 and up to 1")
    for name, needed in (("denoise", True), ("misfit", False), ("denoise_with", False)):
        function = getattr(value, name)
        if not callable(function) and (needed or function is not None):
            refuse(run, "conditioner", f"{met(function)} as {name} of {output}", "a function")
    return value


def _require_sigmas(run: Run, output: str, value: object) -> None:
    import torch

    sigmas = tensor(run, "conditioner", value, ("steps",), f"sigmas of {output}")
    rising = bool((sigmas[1:] > sigmas[:-1]).all())
    positive = bool((sigmas > 0).all() and torch.isfinite(sigmas).all())
    if not len(sigmas) or not rising or not positive:
        first = [round(number, 4) for number in sigmas[:3].tolist()]
        falling = len(sigmas) > 1 and bool((sigmas[1:] < sigmas[:-1]).all())
        hint = "; turn them round by .flip(0)" if falling and positive else ""
        said = f"sigmas {first}... of {output}"
        refuse(run, "conditioner", said, f"positive noise levels in ascending order{hint}")


def latents(run: Run, output: str, value: object, condition: Condition) -> Tensor:
    """Return what a sampler walked to: float32 in the shape of the starts.

    A generator in one pass, whose condition has a single sigma, may give rows of another shape.

    Raises:
        DataError: it is something else.
    """
    one_pass = len(condition.sigmas) == 1
    axes: Axes = (len(condition.start), "*latent") if one_pass else tuple(condition.start.shape)
    return tensor(run, "sampler", value, axes, f"{output} latents")


def pixels(run: Run, value: object, n_rows: int) -> NDArray[np.uint8]:
    """Return pictures as they are written, uint8 (rows, height, width, 3).

    Raises:
        DataError: the decoder gave something else.
    """
    axes = (n_rows, "height", "width", 3)
    pictures = tensor(run, "decoder.image", value, axes, "pictures", dtype="uint8")
    array: NDArray[np.uint8] = pictures.cpu().numpy()
    return array


def sentences(run: Run, value: object, n_rows: int) -> list[str]:
    """Return captions as they are written, one a latent.

    Raises:
        DataError: the decoder gave something else.
    """
    if not isinstance(value, list | tuple):
        refuse(run, "decoder.caption", met(value), f"a list of {n_rows} captions as text")
    texts = list(value)
    if len(texts) != n_rows or not all(isinstance(text, str) for text in texts):
        kinds = ", ".join(sorted({type(text).__name__ for text in texts})) or "nothing"
        refuse(run, "decoder.caption", f"{len(texts)} of {kinds}", f"{n_rows} captions as text")
    return texts


def tensor(
    run: Run, address: str, value: object, axes: Axes, what: str, *, dtype: str = "float32"
) -> Tensor:
    """Return what a part gave if it is a tensor of a dtype and shape.

    Args:
        run: names the part.
        address: of the part.
        value: what it gave.
        axes: the shape.
        what: it is, for the message.
        dtype: by the name that torch has for it.

    Raises:
        DataError: it is something else, or has no numbers.
    """
    import torch

    expected = f"{dtype} ({', '.join(map(str, axes))}{',' * (len(axes) == 1)})"
    if not isinstance(value, torch.Tensor):
        refuse(run, address, f"{met(value)} as {what}", f"a tensor, {expected}")
    fits = value.dtype == getattr(torch, dtype) and _shaped(tuple(value.shape), axes)
    here = value.device.type in ("cpu", torch.device(run.store.device).type)
    if not fits or not here or value.layout != torch.strided:
        place = "" if here else f" on {run.store.device}"
        refuse(run, address, f"{met(value)} as {what}", expected + place)
    return value


def _shaped(shape: tuple[int, ...], axes: Axes) -> bool:
    """Say whether a shape has these axes.

    >>> _shaped((2, 4, 8, 8), (2, "*latent")), _shaped((2, 0), (2, "width"))
    (True, False)
    """
    many = bool(axes) and str(axes[-1]).startswith("*")
    fixed = axes[:-1] if many else axes
    if len(shape) < len(fixed) or (len(shape) > len(fixed) and not many):
        return False
    pairs = zip(shape, fixed, strict=False)
    return all(n > 0 if isinstance(axis, str) else n == axis for n, axis in pairs)


def finite(
    run: Run, address: str, rows: Tensor, what: str, images: Iterable[int] | None = None
) -> Tensor:
    """Return a tensor of which no value is NaN or infinite.

    Args:
        run: names the part.
        address: of the part.
        rows: what it gave.
        what: it is, e.g. "image latents".
        images: whose rows they are.

    Raises:
        DataError: a value is NaN or infinite.
    """
    spoilt = not_finite(rows)
    if spoilt:
        whose = f" for {named(images, spoilt)}" if images is not None else ""
        raise DataError(
            f"{run.who(address)} gave {what} with NaN or infinity{whose}; "
            f"{way_out(run, 'its weights and its options')}"
        )
    return rows


def not_finite(rows: Sequence[Tensor] | Tensor) -> list[int]:
    """Return which rows hold NaN or infinity."""
    import torch

    return [row for row, values in enumerate(rows) if not bool(torch.isfinite(values).all())]


def named(images: Iterable[int], rows: Sequence[int]) -> str:
    """Name the images of rows for a message, at most five."""
    every = list(images)
    ids = list(dict.fromkeys(int(every[row]) for row in rows))
    return f"image{'s' if len(ids) > 1 else ''} {enumerated(list(map(str, ids)))}"


def way_out(run: Run, what: str) -> str:
    """Return what to do about numbers that overflowed; `what` is to check in float32."""
    if run.store.dtype == "float32":
        return f"check {what}"
    return f"networks ran in {run.store.dtype}: run again with --dtype float32"


def met(value: object) -> str:
    """Say what something is: of tensors dtype, shape and device, of others the type."""
    import torch

    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        place = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"{dtype} {tuple(value.shape)}{place}"
    if value is None:
        return "nothing"
    return f"an object of type {type(value).__name__}"


def _require_half(run: Run, address: str, rows: Tensor, images: Iterable[int]) -> None:
    # 65504 is the largest value of float16.
    spoilt = not_finite(rows.half())
    if spoilt:
        raise DataError(
            f"{run.who(address)} gave values that are not finite or beyond 65504 in size for "
            f"{named(images, spoilt)}; {way_out(run, 'its input and its options')}"
        )


def _sharing(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return the names of two tensors that overlap in memory."""
    spans = sorted(
        (each.data_ptr(), each.data_ptr() + each.numel() * each.element_size(), name)
        for name, each in tensors.items()
        if each.numel()
    )
    for (_, end, first), (begin, _, second) in pairwise(spans):
        if begin < end:
            return first, second
    return None


def refuse(run: Run, address: str, said: str, expected: str) -> NoReturn:
    """Raise that a part gave something else than it promised.

    Raises:
        DataError: always.
    """
    raise DataError(f"{run.who(address)} gave {said}, expected {expected}")
