"""Promises of conditioners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Condition
from brainkit.parts import Conditioner
from brainkit.testing.encoder import checkpoints_are_declared, require_close
from brainkit.testing.promise import require

if TYPE_CHECKING:
    from torch import Tensor

    Features = Mapping[str, Tensor]


def gives_what_it_says(part: Conditioner, store: CheckpointStore, features: Features) -> None:
    """One `Condition` for each of `gives`, which names "image", "caption" or both."""
    known = set(part.gives) <= {"image", "caption"} and bool(part.gives)
    require(known, f"gives is {part.gives!r}, expected image, caption or both")
    found = _conditions(part, store, features)
    require(set(found) == set(part.gives), f"conditions for {sorted(found)}, says {part.gives}")
    wrong = [type(each).__name__ for each in found.values() if not isinstance(each, Condition)]
    require(not wrong, f"got {wrong}, expected brainkit.Condition")


def reads_only_what_it_needs(part: Conditioner, store: CheckpointStore, features: Features) -> None:
    """The features in `needs` are enough."""
    lacking = [name for name in part.needs if name not in features]
    require(not lacking, f"the check was given no feature {lacking}; add it to `features`")
    try:
        _conditions(part, store, {name: features[name] for name in part.needs})
    except KeyError as error:
        raise AssertionError(f"reads {error}, which `needs` does not name") from error


def starts_have_one_row_an_image(
    part: Conditioner, store: CheckpointStore, features: Features
) -> None:
    """Starts are finite float32 (batch, *latent)."""
    import torch

    batch = len(next(iter(features.values())))
    for output, condition in _conditions(part, store, features).items():
        start = condition.start
        require(
            start.dtype == torch.float32 and start.ndim >= 2 and len(start) == batch,
            f"the {output} start is {start.dtype} {tuple(start.shape)}, "
            f"expected torch.float32 ({batch}, *latent)",
        )
        require(bool(torch.isfinite(start).all()), f"the {output} start is not finite")


def sigmas_ascend(part: Conditioner, store: CheckpointStore, features: Features) -> None:
    """Noise levels are float32 (steps,), positive and ascending."""
    import torch

    for output, condition in _conditions(part, store, features).items():
        sigmas = condition.sigmas
        flat = sigmas.dtype == torch.float32 and sigmas.ndim == 1 and len(sigmas) > 0
        require(flat, f"{output} sigmas are {sigmas.dtype} {tuple(sigmas.shape)}, not (steps,)")
        rising = bool((sigmas > 0).all()) and bool((sigmas.diff() > 0).all())
        require(rising, f"{output} sigmas are not positive and ascending")


def strength_is_a_fraction(part: Conditioner, store: CheckpointStore, features: Features) -> None:
    """`strength` lies in (0, 1]."""
    for output, condition in _conditions(part, store, features).items():
        strength = condition.strength
        require(0 < strength <= 1, f"{output} strength is {strength}, expected in (0, 1]")


def denoise_keeps_the_shape(part: Conditioner, store: CheckpointStore, features: Features) -> None:
    """`denoise` gives float32 of the latent's shape, or with a single sigma of any other a row."""
    import torch

    for output, condition in _conditions(part, store, features).items():
        clean, start = next(_denoised(condition)), condition.start
        same = len(clean) == len(start) if _in_one_pass(condition) else clean.shape == start.shape
        require(
            same and clean.dtype == torch.float32,
            f"{output} denoise gives {clean.dtype} {tuple(clean.shape)} for a latent of "
            f"{tuple(start.shape)}, expected torch.float32 of the same shape",
        )


def denoise_is_finite_at_both_ends(
    part: Conditioner, store: CheckpointStore, features: Features
) -> None:
    """`denoise` is finite at the largest and at the smallest sigma."""
    import torch

    for output, condition in _conditions(part, store, features).items():
        ends = ("largest", "smallest")
        for end, clean in zip(ends, _denoised(condition), strict=True):
            finite = bool(torch.isfinite(clean).all())
            require(finite, f"{output} denoise is not finite at the {end} sigma")


def an_image_is_denoised_alone(
    part: Conditioner, store: CheckpointStore, features: Features
) -> None:
    """An image's start and denoised latent do not depend on the rest of its batch."""
    whole = _conditions(part, store, features)
    first = _conditions(part, store, {name: each[:1] for name, each in features.items()})
    for output, condition in whole.items():
        require_close(condition.start[:1], first[output].start, f"in {output} starts of one row")
        pairs = zip(_denoised(condition), _denoised(first[output]), strict=True)
        for together, alone in pairs:
            require_close(together[:1], alone, f"in {output} latents denoised in batch and alone")


def misfit_is_one_number_an_image(
    part: Conditioner, store: CheckpointStore, features: Features
) -> None:
    """A misfit, where there is one, is finite (batch,) and can be descended in the latent."""
    import torch

    for output, condition in _conditions(part, store, features).items():
        if condition.misfit is None:
            continue
        with torch.enable_grad():
            made = next(_denoised(condition)) if _in_one_pass(condition) else condition.start
            latent = made.clone().requires_grad_()
            loss = condition.misfit(latent)
            good = tuple(loss.shape) == (len(latent),) and bool(torch.isfinite(loss).all())
            require(good, f"{output} misfit is {tuple(loss.shape)}, expected ({len(latent)},)")
            require(loss.requires_grad, f"{output} misfit has no gradient; take out no_grad")
            loss.sum().backward()  # type: ignore[no-untyped-call]
        require(latent.grad is not None, f"{output} misfit does not depend on the latent")


def features_stay_untouched(part: Conditioner, store: CheckpointStore, features: Features) -> None:
    """Conditioning and denoising do not change the features."""
    import torch

    mine = {name: each.clone() for name, each in features.items()}
    with torch.no_grad():
        for condition in part.load(store)(mine).values():
            list(_denoised(condition))
    changed = [name for name in features if not torch.equal(features[name], mine[name])]
    require(not changed, f"the features {changed} were changed in place; work on copies")


def _conditions(
    part: Conditioner, store: CheckpointStore, features: Features
) -> dict[str, Condition]:
    import torch

    function = part.load(store)
    with torch.no_grad():
        return function({name: each.clone() for name, each in features.items()})


def _in_one_pass(condition: Condition) -> bool:
    """Say whether there is nothing to walk: a generator turns noise into something else at once."""
    return len(condition.sigmas) == 1


def _denoised(condition: Condition) -> Iterator[Tensor]:
    import torch

    generator = torch.Generator().manual_seed(0)
    # Row i gets the same noise in a batch of any size.
    noise = torch.stack(
        [torch.randn(condition.start.shape[1:], generator=generator) for _ in condition.start]
    ).to(condition.start.device)
    for sigma in (condition.sigmas[-1], condition.sigmas[0]):
        with torch.no_grad():
            clean = condition.denoise(condition.start + sigma * noise, sigma)
        # Not inside the block: two of these generators side by side would leave gradients off.
        yield clean


PROMISES = (
    checkpoints_are_declared,
    gives_what_it_says,
    reads_only_what_it_needs,
    starts_have_one_row_an_image,
    sigmas_ascend,
    strength_is_a_fraction,
    denoise_keeps_the_shape,
    denoise_is_finite_at_both_ends,
    an_image_is_denoised_alone,
    misfit_is_one_number_an_image,
    features_stay_untouched,
)
