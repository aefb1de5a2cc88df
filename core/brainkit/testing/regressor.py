"""Promises of regressors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from brainkit.errors import DataError
from brainkit.parts import Mappable, Regressor, Sharing, resuming_fit, rowwise
from brainkit.testing.examples import ExampleTrials, example_trials
from brainkit.testing.promise import require

if TYPE_CHECKING:
    from torch import Tensor

FOUND = 0.8


def weights_are_finite_tensors(part: Regressor) -> None:
    """`fit` gives a flat dictionary of finite tensors."""
    import torch

    given = example_trials()
    weights = part.fit(given.betas.clone(), given.feature.clone())
    for name, tensor in weights.items():
        flat = isinstance(name, str) and isinstance(tensor, torch.Tensor)
        require(flat, f"weights[{name!r}] is a {type(tensor).__name__}, expected a tensor")
        require(bool(torch.isfinite(tensor).all()), f"weights[{name!r}] has values not finite")


def weights_survive_a_file(part: Regressor) -> None:
    """Weights written to safetensors and read back predict the same."""
    import torch
    from safetensors.torch import load_file, save_file

    given = example_trials()
    weights = part.fit(given.betas.clone(), given.feature.clone())
    before = part.predict(weights, given.new_betas.clone(), given.feature.clone())
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({name: each.contiguous() for name, each in weights.items()}, path)
        after = part.predict(load_file(path), given.new_betas.clone(), given.feature.clone())
    # Memory layout may change on the way, and with it the last bit of a product.
    same = torch.allclose(before, after, rtol=1e-4, atol=1e-5, equal_nan=True)
    require(same, "predictions differ after the weights went through a file")


def predictions_have_the_shape_of_the_feature(part: Regressor) -> None:
    """A feature (trials, 2, 3) is predicted as float32 (new trials, 2, 3), finite but for gaps.

    A gap is a unit that is left out: NaN in every row, whichever trials are predicted.
    """
    import torch

    given = example_trials(shape=(2, 3))
    predicted = _predicted(part, given)
    expected = tuple(given.new_feature.shape)
    require(
        tuple(predicted.shape) == expected and predicted.dtype == torch.float32,
        f"predicted {predicted.dtype} {tuple(predicted.shape)} for a feature of shape (2, 3), "
        f"expected torch.float32 {expected}",
    )
    gaps = predicted.isnan().all(0)
    rest = int((~torch.isfinite(predicted[:, ~gaps])).sum())
    require(
        not rest,
        f"{rest} predictions are not finite; a unit that is left out has to be NaN in every row",
    )
    require(not bool(gaps.all()), "every unit is left out")


def inputs_stay_untouched(part: Regressor) -> None:
    """Neither `fit` nor `predict` changes what it is given."""
    import torch

    given = example_trials()
    mine = ExampleTrials(*(tensor.clone() for tensor in given))
    weights = part.fit(mine.betas, mine.feature)
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    part.predict(weights, mine.new_betas, mine.feature)
    for name, before, after in zip(given._fields, given, mine, strict=True):
        require(torch.equal(before, after), f"{name} was changed in place; work on a copy")
    for name, before in kept.items():
        same = torch.equal(before.nan_to_num(), weights[name].nan_to_num())
        require(same, f"weights[{name!r}] was changed by predict; work on a copy")


def same_trials_give_same_weights(part: Regressor) -> None:
    """Fitting twice gives equal weights, whatever the global random state."""
    import torch

    given = example_trials()
    fitted = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            fitted.append(part.fit(given.betas.clone(), given.feature.clone()))
    first, second = fitted
    differing = [
        name
        for name in sorted({*first, *second})
        if name not in first
        or name not in second
        or not torch.equal(first[name].nan_to_num(), second[name].nan_to_num())
    ]
    require(not differing, f"fitting the same trials twice gives other {differing}; fix the seeds")


def a_planted_linear_map_is_found(part: Regressor) -> None:
    """Predictions of a noiseless linear feature of five voxels correlate with the truth."""
    import torch

    given = example_trials(trials=300, voxels=5, shape=(4,), noise=0.0)
    predicted, true = _predicted(part, given), given.new_feature
    correlations = [
        float(
            torch.corrcoef(torch.stack([predicted[:, each].double(), true[:, each].double()]))[0, 1]
        )
        for each in range(true.shape[1])
        if not bool(predicted[:, each].isnan().all())
    ]
    require(bool(correlations), "every unit is left out")
    worst = min(correlations, key=lambda value: value if value == value else -1.0)
    require(
        worst > FOUND,
        f"a noiseless linear map is predicted with correlation {worst:.2f}, expected over {FOUND}",
    )


def a_prediction_depends_on_its_trial_alone(part: Regressor) -> None:
    """Trials predicted together or one by one are the same, or `rowwise = False` is declared."""
    import torch

    if not rowwise(part):
        return
    given = example_trials()
    weights = part.fit(given.betas.clone(), given.feature.clone())

    def predict(betas: Tensor) -> Tensor:
        return part.predict(weights, betas.clone(), given.feature.clone())

    together = predict(given.new_betas)
    alone = torch.cat([predict(given.new_betas[row : row + 1]) for row in range(len(together))])
    require(
        together.shape == alone.shape
        and torch.allclose(together, alone, rtol=1e-3, atol=1e-4, equal_nan=True),
        "a trial's prediction changes with the trials predicted beside it; "
        "declare rowwise = False if that is meant",
    )


def float16_features_are_read(part: Regressor) -> None:
    """A float16 feature, as features lie on disk, predicts what its float32 copy predicts."""
    import torch

    given = example_trials()
    half = given.feature.half()
    from_half = _predicted(part, given._replace(feature=half))
    from_float = _predicted(part, given._replace(feature=half.float()))
    require(
        torch.allclose(from_half.float(), from_float, rtol=1e-2, atol=1e-2, equal_nan=True),
        "a float16 feature is predicted differently from its float32 copy; convert it first",
    )


def fit_refuses_other_trials(part: Regressor) -> None:
    """Betas and a feature of different trials raise a DataError that names both counts."""
    given = example_trials()
    _refuses(lambda: part.fit(given.betas, given.feature[:33]), "40", "33")


def predict_refuses_other_voxels(part: Regressor) -> None:
    """New betas with other voxels than the training betas raise a DataError naming both counts."""
    given = example_trials()
    weights = part.fit(given.betas.clone(), given.feature.clone())
    fewer = given.new_betas[:, :9]
    _refuses(lambda: part.predict(weights, fewer, given.feature), "12", "9")


def sharing_changes_nothing(part: Regressor) -> None:
    """A regressor that offers `Sharing` predicts the same with the shared factor."""
    import torch

    if not isinstance(part, Sharing):
        return
    given = example_trials()
    factor = part.factorise(given.betas)
    weights = part.fit_shared(given.betas, given.feature, factor)
    shared = part.predict_shared(weights, given.new_betas, given.feature, factor, given.betas)
    plain = _predicted(part, given)
    require(
        torch.allclose(shared, plain, rtol=1e-3, atol=1e-4, equal_nan=True),
        "predict_shared differs from predict by up to "
        f"{float((shared - plain).abs().max()):.3g}; both have to be the same regression",
    )


def importance_is_one_number_a_voxel(part: Regressor) -> None:
    """A regressor that offers `Mappable` gives finite float32 (voxels,), from 0 up.

    There is "weight", maybe "selected", in [0, 1], and nothing else. Voxels that the feature
    depends on have a weight above 0, and, of a regressor that offers `Sharing` too, the weights of
    `fit` and of `fit_shared` give the same.
    """
    import torch

    if not isinstance(part, Mappable):
        return
    given = example_trials(trials=300, voxels=5, shape=(4,), noise=0.0)
    weights = part.fit(given.betas.clone(), given.feature.clone())
    found = part.importance(weights, given.betas, given.feature)
    names = sorted(found)
    require(
        names in (["weight"], ["selected", "weight"]),
        f"importance has {names}, expected weight and maybe selected",
    )
    for name, each in found.items():
        require(
            tuple(each.shape) == (5,) and each.dtype == torch.float32,
            f"importance[{name!r}] is {each.dtype} {tuple(each.shape)} for 5 voxels, "
            "expected torch.float32 (5,)",
        )
        low, high = float(each.min()), float(each.max())
        top = 1.0 if name == "selected" else float("inf")
        require(
            0 <= low <= high <= top and high < float("inf"),
            f"importance[{name!r}] runs from {low:g} to {high:g}, expected finite from 0 up to "
            f"{top:g}",
        )
    require(
        bool((found["weight"] > 0).all()),
        "importance['weight'] is 0 for a voxel that the feature depends on",
    )
    if isinstance(part, Sharing):
        factor = part.factorise(given.betas)
        weights = part.fit_shared(given.betas, given.feature, factor)
        shared = part.importance(weights, given.betas, given.feature, factor)["weight"]
        require(
            torch.allclose(shared, found["weight"], rtol=1e-3, atol=1e-6),
            "importance differs with the shared factor; both have to be the same regression",
        )


def a_killed_fit_goes_on_to_the_same_weights(part: Regressor) -> None:
    """A regressor with `journalled = True`, killed after its first state, ends with equal weights.

    It neither begins again nor depends on having a journal, and `progress` ends at its total.
    """
    import torch

    if not resuming_fit(part):
        return
    given = example_trials()
    told: list[tuple[int, int]] = []

    def fitted(journal: MemoryJournal) -> dict[str, Tensor]:
        told.clear()
        betas, feature = given.betas.clone(), given.feature.clone()
        return part.fit(betas, feature, journal=journal, progress=lambda *at: told.append(at))

    whole, killed = MemoryJournal(), MemoryJournal(kill_at=1)
    expected = [part.fit(given.betas.clone(), given.feature.clone()), fitted(whole)]
    with suppress(Killed):
        fitted(killed)
    require(killed.entries == 1, "fit keeps no state in its journal, or goes on when it is killed")
    expected.append(fitted(killed))
    require(
        killed.entries <= whole.entries,
        f"a killed fit kept {killed.entries - 1} states after the first one, a whole fit "
        f"{whole.entries} in all; begin with the state of the journal",
    )
    at = told[-1] if told else (0, -1)
    require(at[0] == at[1], f"progress was last told {at}, expected the total to be done")
    names = ("without a journal", "with one", "after a kill")
    for name, found in zip(names[1:], expected[1:], strict=True):
        same = found.keys() == expected[0].keys() and all(
            torch.equal(found[key], each) for key, each in expected[0].items()
        )
        require(same, f"the weights {name} differ from those {names[0]}")


class Killed(BaseException):
    """Stands for the end of the process."""


class MemoryJournal:
    """A journal in memory that kills the fit once it has kept so many states."""

    def __init__(self, kill_at: int = 0) -> None:
        """Begin empty; 0 never kills."""
        self.kill_at = kill_at
        self.entries = 0
        self._kept: dict[str, Tensor] = {}

    def state(self) -> dict[str, Tensor]:
        """Return a copy of what was kept last."""
        return {name: each.clone() for name, each in self._kept.items()}

    def keep(self, state: Mapping[str, Tensor]) -> None:
        """Keep a copy, and kill at the number given."""
        self._kept = {name: each.clone() for name, each in state.items()}
        self.entries += 1
        if self.entries == self.kill_at:
            raise Killed


def _predicted(part: Regressor, given: ExampleTrials) -> Tensor:
    weights = part.fit(given.betas.clone(), given.feature.clone())
    return part.predict(weights, given.new_betas.clone(), given.feature.clone())


def _refuses(call: Callable[[], object], *numbers: str) -> None:
    try:
        call()
    except DataError as error:
        missing = [number for number in numbers if number not in str(error)]
        require(not missing, f"the message does not name {missing}: {error}")
        return
    except Exception as error:
        raise AssertionError(
            f"sizes {' and '.join(numbers)} raise {type(error).__name__} ({error}), "
            "expected brainkit.errors.DataError naming both"
        ) from error
    raise AssertionError(f"sizes {' and '.join(numbers)} were accepted, expected a DataError")


PROMISES = (
    weights_are_finite_tensors,
    weights_survive_a_file,
    predictions_have_the_shape_of_the_feature,
    inputs_stay_untouched,
    same_trials_give_same_weights,
    a_planted_linear_map_is_found,
    a_prediction_depends_on_its_trial_alone,
    float16_features_are_read,
    fit_refuses_other_trials,
    predict_refuses_other_voxels,
    sharing_changes_nothing,
    importance_is_one_number_a_voxel,
    a_killed_fit_goes_on_to_the_same_weights,
)
