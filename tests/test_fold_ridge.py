"""FoldRidge against recorded numbers of himalaya and against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn import linear_model
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from brainkit.errors import DataError, UsageError
from brainkit.regressors import FoldRidge, Mappable
from brainkit.testing import checks

GOLDEN = Path(__file__).parent / "golden" / "minddiffuser_decoders" / "decoders.safetensors"
ALPHAS = (0.1, 3.0, 30.0, 300.0)


@pytest.fixture(scope="module")
def golden():
    arrays = load_file(GOLDEN)
    begun = "takagi_ridge."
    return {name[len(begun) :]: each for name, each in arrays.items() if name.startswith(begun)}


def draw(trials=43, voxels=20, shape=(2, 3), seed=0, new=6):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *sizes: torch.randn(*sizes, generator=generator, dtype=torch.float64)  # noqa: E731
    betas = 3 * make(trials + new, voxels) + make(voxels)
    units = int(np.prod(shape))
    noise = torch.logspace(0, 2, units, dtype=torch.float64)
    feature = betas @ make(voxels, units) + noise * make(trials + new, units) + 5 * make(units)
    feature = feature.reshape(-1, *shape)
    return betas[:trials], feature[:trials], betas[trials:]


def chosen_by_scikit_learn(betas, feature, new, intercept):
    """Return predictions and penalties by a scikit-learn model for every unit, fold and penalty."""
    scaler = StandardScaler().fit(betas.numpy())
    x, flat = scaler.transform(betas.numpy()), feature.flatten(1).numpy()
    folds = KFold(5)
    errors = []
    for alpha in ALPHAS:
        model = linear_model.Ridge(alpha, fit_intercept=intercept)
        squared = (cross_val_predict(model, x, flat, cv=folds) - flat) ** 2
        errors.append(np.mean([squared[held].mean(0) for _, held in folds.split(x)], axis=0))
    best = np.array(ALPHAS)[np.argmin(errors, axis=0)]
    fitted = linear_model.Ridge(best, fit_intercept=intercept).fit(x, flat)
    predicted = fitted.predict(scaler.transform(new.numpy()))
    return torch.from_numpy(predicted).reshape(-1, *feature.shape[1:]), best, np.array(errors)


def test_without_intercept_the_recorded_penalties_weights_and_predictions_come_out(golden):
    part = FoldRidge(alphas=tuple(golden["alphas"].tolist()), intercept=False)
    weights = part.fit(golden["X"], golden["Y"])
    assert torch.equal(weights["alpha"], golden["best_alpha"])
    for found, expected in (
        (weights["weight"], golden["coef"]),
        (-weights["fold_error"], golden["cv_score"]),
        (part.predict(weights, golden["X_test"], golden["Y"]), golden["pred"]),
    ):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def test_without_intercept_the_mean_of_a_feature_is_lost_and_with_it_kept(golden):
    x, y = golden["X"], golden["Y"]
    for intercept, expected in ((False, 0 * y.mean(0)), (True, y.mean(0))):
        part = FoldRidge(intercept=intercept)
        found = part.predict(part.fit(x, y), x, y).mean(0)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("trials", "voxels"), [(43, 20), (43, 90), (30, 30), (40, 34)])
def test_each_unit_takes_the_penalty_scikit_learn_finds(trials, voxels, intercept):
    betas, feature, new = draw(trials, voxels)
    part = FoldRidge(alphas=ALPHAS, intercept=intercept, block=4)
    weights = part.fit(betas, feature)
    expected, best, errors = chosen_by_scikit_learn(betas, feature, new, intercept)
    np.testing.assert_allclose(weights["fold_error"], errors, rtol=1e-8)
    assert weights["alpha"].tolist() == best.tolist()
    found = part.predict(weights, new, feature)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8)


def test_noisier_units_take_larger_penalties():
    betas, feature, _ = draw()
    alpha = FoldRidge(alphas=ALPHAS).fit(betas, feature)["alpha"]
    assert alpha[0] < alpha[-1]


def test_tiny_penalties_survive_betas_that_repeat_one_another():
    betas, feature, new = draw(trials=60, voxels=10)
    part = FoldRidge(alphas=(1e-6,))
    once = part.predict(part.fit(betas, feature), new, feature)
    twice = torch.cat([betas, betas], 1)
    # Two equal voxels share a weight, so the penalty on it halves; at 1e-6 neither is seen.
    found = part.predict(part.fit(twice, feature), torch.cat([new, new], 1), feature)
    torch.testing.assert_close(found, once, atol=1e-4, rtol=1e-6)


def test_constant_voxels_and_units_are_harmless():
    betas, feature, new = draw()
    betas, feature = betas.clone(), feature.clone()
    betas[:, 2], feature[:, 1, 1] = 4.0, 0.25
    part = FoldRidge(alphas=ALPHAS)
    weights = part.fit(betas, feature)
    found = part.predict(weights, new, feature)
    torch.testing.assert_close(found[:, 1, 1], torch.full((6,), 0.25).double(), atol=1e-12, rtol=0)
    expected, *_ = chosen_by_scikit_learn(betas, feature, torch.where(_at(2), 4.0, new), True)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8)


def _at(voxel, voxels=20):
    return torch.arange(voxels) == voxel


def test_float32_betas_and_float16_features_predict_nearly_the_same():
    betas, feature, new = draw()
    half = feature.half()
    part = FoldRidge(alphas=ALPHAS)
    found = part.predict(part.fit(betas.float(), half), new.float(), half)
    assert found.dtype == torch.float32
    expected = part.predict(part.fit(betas, half.double()), new, half.double())
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("intercept", [True, False])
def test_importance_is_the_mean_weight_of_standardised_betas_and_units(intercept):
    betas, feature, _ = draw()
    part = FoldRidge(alphas=(3.0,), intercept=intercept, block=4)
    assert isinstance(part, Mappable)
    weights = part.fit(betas, feature)
    flat = feature.flatten(1).numpy()
    x = StandardScaler().fit_transform(betas.numpy())
    model = linear_model.Ridge(3.0, fit_intercept=intercept).fit(x, flat)
    expected = np.abs(model.coef_ / flat.std(0)[:, None]).mean(0)
    found = part.importance(weights, betas, feature)
    assert set(found) == {"weight"}
    torch.testing.assert_close(found["weight"], torch.from_numpy(expected).float())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alphas": ()}, "give one or more penalties above 0"),
        ({"alphas": (1.0, 0.0)}, "give one or more penalties above 0"),
        ({"folds": 1}, "folds is 1"),
    ],
)
def test_options_outside_their_limits_are_refused(options, said):
    betas, feature, _ = draw()
    with pytest.raises(UsageError, match=said):
        FoldRidge(**options).fit(betas, feature)


def test_trials_that_cannot_be_learned_from_are_refused():
    betas, feature, _ = draw()
    with pytest.raises(DataError, match="4 training trials cannot make 5 folds"):
        FoldRidge().fit(betas[:4], feature[:4])
    bad = betas.clone()
    bad[0, 7] = float("nan")
    with pytest.raises(DataError, match="not finite in 1 of 20 voxels"):
        FoldRidge().fit(bad, feature)
    bad = feature.clone()
    bad[0, 1, 1] = float("nan")
    with pytest.raises(DataError, match="not finite in 1 of its 6 targets"):
        FoldRidge().fit(betas, bad)


@pytest.mark.parametrize("check", checks.for_regressor(FoldRidge()), ids=str)
def test_the_part_keeps_every_promise_of_a_regressor(check):
    check()
