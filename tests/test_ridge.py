from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn import linear_model
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from brainkit.errors import DataError, UsageError
from brainkit.options import replaced
from brainkit.parts import Regressor
from brainkit.regressors import Mappable, Ridge, Sharing
from brainkit.regressors.penalty import penalties

GOLDEN = Path(__file__).parent / "golden" / "regression" / "regression.safetensors"


def draw(trials=40, voxels=30, targets=7, seed=0, dtype=torch.float64, new=9):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    betas, weight = make(trials, voxels) + make(voxels), make(voxels, targets)
    feature = betas @ weight + 3 * make(trials, targets) + 5 * make(targets)
    return betas.to(dtype), feature.to(dtype), make(new, voxels).to(dtype)


@pytest.fixture(scope="module")
def golden():
    arrays = load_file(GOLDEN)
    scale = lambda betas: (betas / 300 - arrays["voxel_mean"]) / arrays["voxel_std_ddof1"]  # noqa: E731
    return {**arrays, "train": scale(arrays["train_fmri"]), "test": scale(arrays["test_fmri"])}


@pytest.mark.parametrize(
    ("scaling", "expected"), [("none", "pred_raw"), ("test-batch", "pred_standardised")]
)
def test_the_reference_recipe_gives_its_recorded_predictions(golden, scaling, expected):
    ridge = Ridge(alpha=float(golden["alpha"]), scaling=scaling)
    weights = ridge.fit(golden["train"], golden["train_target"])
    predicted = ridge.predict(weights, golden["test"], golden["train_target"])
    torch.testing.assert_close(predicted, golden[expected], atol=1e-9, rtol=0)


def test_a_region_pattern_gives_the_recorded_features_without_weights(golden):
    ridge = Ridge(alpha=float(golden["alpha"]), scaling="none")
    target = golden["train_target"]
    weights = ridge.fit(golden["train"], target)
    mask = golden["roi_mask"].double()
    bias = ridge.predict(weights, torch.zeros_like(mask), target)
    features = (ridge.predict(weights, mask, target) - bias).reshape(-1, 2, 5)
    norm = features.flatten(1).norm(dim=1)[:, None, None] + 1e-8
    features = features / norm * golden["roi_gain"] + golden["bias"].reshape(1, 2, 5)
    torch.testing.assert_close(features, golden["roi_features"], atol=1e-9, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    trials=st.integers(3, 40),
    voxels=st.integers(1, 60),
    targets=st.integers(1, 9),
    exponent=st.floats(-3, 5),
    intercept=st.booleans(),
    block=st.integers(1, 10),
    seed=st.integers(0, 1000),
)
def test_ridge_matches_scikit_learn(trials, voxels, targets, exponent, intercept, block, seed):
    betas, feature, new = draw(trials, voxels, targets, seed)
    alpha = 10.0**exponent
    truth = linear_model.Ridge(alpha, fit_intercept=intercept, solver="svd")
    expected = truth.fit(betas.numpy(), feature.numpy()).predict(new.numpy()).reshape(-1, targets)
    ridge = Ridge(alpha=alpha, scaling="none", intercept=intercept, block=block)
    predicted = ridge.predict(ridge.fit(betas, feature), new, feature)
    np.testing.assert_allclose(predicted, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("voxels", [12, 90])
def test_the_penalty_chosen_is_that_of_scikit_learn_s_exhaustive_search(voxels):
    betas, feature, _ = draw(trials=50, voxels=voxels, seed=voxels)
    grid = penalties(Ridge(alpha="cv").factorise(betas)["eigenvalues"])
    search = linear_model.RidgeCV(grid, scoring="neg_mean_squared_error")
    expected = search.fit(betas.numpy(), feature.numpy()).alpha_
    weights = Ridge(alpha="cv", block=3).fit(betas, feature)
    assert float(weights["alpha"]) == pytest.approx(expected, rel=1e-9)
    assert grid[0] < expected < grid[-1]


@pytest.mark.parametrize(("voxels", "noise"), [(150, 0.02), (600, 0.02), (600, 0.0)])
def test_the_penalty_is_found_in_float32_even_where_it_is_small(voxels, noise):
    betas, _, _ = draw(trials=200, voxels=voxels)
    generator = torch.Generator().manual_seed(1)
    few = betas[:, :20] @ torch.randn(20, 30, generator=generator, dtype=torch.float64)
    feature = few + noise * torch.randn(200, 30, generator=generator, dtype=torch.float64) + 3
    grid = penalties(Ridge(alpha="cv").factorise(betas)["eigenvalues"])
    search = linear_model.RidgeCV(grid, scoring="neg_mean_squared_error")
    expected = search.fit(betas.numpy(), feature.numpy()).alpha_
    weights = Ridge(alpha="cv").fit(betas.float(), feature.float())
    assert float(weights["alpha"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("voxels", "intercept", "alpha"),
    [
        *((12, True, 20.0), (12, False, 20.0), (90, True, 20.0), (90, False, 20.0)),
        *((90, True, 1e-7), (24, True, 1e-7)),
    ],
)
def test_train_scaling_uses_predictions_of_trials_left_out_one_by_one(voxels, intercept, alpha):
    betas, feature, new = draw(trials=25, voxels=voxels)
    model = linear_model.Ridge(alpha, fit_intercept=intercept, solver="svd")
    left_out = cross_val_predict(model, betas.numpy(), feature.numpy(), cv=LeaveOneOut())
    raw = model.fit(betas.numpy(), feature.numpy()).predict(new.numpy())
    expected = (raw - left_out.mean(0)) / left_out.std(0)
    expected = expected * feature.numpy().std(0) + feature.numpy().mean(0)
    ridge = Ridge(alpha=alpha, intercept=intercept)
    predicted = ridge.predict(ridge.fit(betas, feature), new, feature)
    np.testing.assert_allclose(predicted, expected, rtol=1e-8)


def hat_matrix(betas, alpha):
    """The fit of every training trial, from weights and an unpenalised intercept."""
    design = np.column_stack([np.ones(len(betas)), betas])
    penalty = alpha * np.diag([0.0, *np.ones(betas.shape[1])])
    return design @ np.linalg.solve(design.T @ design + penalty, design.T)


@pytest.mark.parametrize(("trials", "voxels"), [(600, 1100), (1100, 600), (1100, 1100)])
def test_sizes_beyond_one_block_of_trials_and_voxels_give_the_same(trials, voxels):
    betas, feature, new = draw(trials, voxels, targets=3)
    truth = linear_model.Ridge(500.0).fit(betas.numpy(), feature.numpy()).predict(new.numpy())
    hat = hat_matrix(betas.numpy(), 500.0)
    missed = (feature.numpy() - hat @ feature.numpy()) / (1 - np.diag(hat))[:, None]
    left_out = feature.numpy() - missed
    ridge = Ridge(alpha=500.0)
    weights = ridge.fit(betas, feature)
    np.testing.assert_allclose(weights["predicted_mean"], left_out.mean(0), rtol=1e-9)
    np.testing.assert_allclose(weights["predicted_std"], left_out.std(0), rtol=1e-9)
    plain = Ridge(alpha=500.0, scaling="none")
    np.testing.assert_allclose(plain.predict(weights, new, feature), truth, rtol=1e-8)


@pytest.mark.parametrize("scaling", ["none", "train"])
@pytest.mark.parametrize("alpha", [0.3, 30.0, 3000.0])
@pytest.mark.parametrize(("trials", "voxels"), [(300, 700), (700, 300)])
def test_float32_betas_and_float16_features_predict_like_float64(trials, voxels, alpha, scaling):
    betas, feature, new = draw(trials, voxels, targets=20, new=50)
    # Correlated voxels: the spread of the directions falls from 1 to 0.01.
    square, _, _ = draw(voxels, voxels, seed=1)
    mixing = torch.linalg.qr(square).Q * torch.logspace(0, -2, voxels)
    betas, new = ((each @ mixing).float() for each in (betas, new))
    feature = (feature / feature.std()).half()
    given = betas.double().numpy(), feature.double().numpy()
    truth = linear_model.Ridge(alpha).fit(*given).predict(new.double().numpy())
    if scaling == "train":
        hat = hat_matrix(given[0], alpha)
        left_out = given[1] - (given[1] - hat @ given[1]) / (1 - np.diag(hat))[:, None]
        truth = (truth - left_out.mean(0)) / left_out.std(0)
        truth = truth * given[1].std(0) + given[1].mean(0)
    ridge = Ridge(alpha=alpha, scaling=scaling)
    predicted = ridge.predict(ridge.fit(betas, feature), new, feature)
    assert predicted.dtype == torch.float32
    assert np.abs(predicted.numpy() - truth).max() < 1e-4 * truth.std()


@pytest.mark.parametrize("voxels", [12, 90])
def test_a_chosen_penalty_predicts_like_the_same_penalty_given(voxels):
    betas, feature, new = draw(trials=50, voxels=voxels, dtype=torch.float32)
    chosen = Ridge(alpha="cv")
    weights = chosen.fit(betas, feature)
    given = Ridge(alpha=float(weights["alpha"]))
    predicted = given.predict(given.fit(betas, feature), new, feature)
    assert torch.equal(chosen.predict(weights, new, feature), predicted)


@pytest.mark.parametrize("scaling", ["none", "train", "test-batch"])
def test_a_shared_factor_changes_no_number(scaling):
    betas, feature, new = draw(dtype=torch.float32)
    ridge = Ridge(alpha="cv", scaling=scaling)
    alone = ridge.predict(ridge.fit(betas, feature), new, feature)
    factor = ridge.factorise(betas)
    weights = ridge.fit_shared(betas, feature, factor)
    assert not set(weights) & set(factor)
    assert torch.equal(alone, ridge.predict_shared(weights, new, feature, factor, betas))


def test_half_precision_mapped_features_keep_their_shape_and_float32_accuracy(tmp_path):
    betas, feature, new = draw(targets=24)
    feature = feature.half()
    truth = linear_model.Ridge(10.0).fit(betas.numpy(), feature.double().numpy())
    mapped = torch.from_file(str(tmp_path / "f"), shared=True, size=40 * 24, dtype=torch.float16)
    mapped = mapped.reshape(40, 2, 3, 4).copy_(feature.reshape(40, 2, 3, 4))
    ridge = Ridge(alpha=10.0, scaling="none", block=5)
    weights = ridge.fit(betas.float(), mapped)
    save_file(weights, tmp_path / "weights.safetensors")
    weights = load_file(tmp_path / "weights.safetensors")
    predicted = ridge.predict(weights, new.float(), mapped)
    assert predicted.shape == (9, 2, 3, 4)
    assert predicted.dtype == torch.float32
    np.testing.assert_allclose(predicted.flatten(1), truth.predict(new.numpy()), rtol=1e-3)


def test_voxels_and_targets_that_never_vary_do_no_harm():
    betas, feature, new = draw(dtype=torch.float32)
    plain = Ridge(alpha=5.0)
    expected = plain.predict(plain.fit(betas, feature), new, feature)
    flat = torch.full((40, 1), 0.1)
    feature = torch.cat([feature, flat], 1)
    weights = plain.fit(torch.cat([betas, flat], 1), feature)
    predicted = plain.predict(weights, torch.cat([new, torch.full((9, 1), 4.0)], 1), feature)
    torch.testing.assert_close(predicted[:, :-1], expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(predicted[:, -1], torch.full((9,), 0.1))


def test_only_test_batch_scaling_lets_trials_depend_on_each_other():
    betas, feature, new = draw()
    for scaling in ("none", "train", "test-batch"):
        ridge = Ridge(alpha=5.0, scaling=scaling)
        weights = ridge.fit(betas, feature)
        together = ridge.predict(weights, new, feature)
        apart = ridge.predict(weights, new[:4], feature)
        same = torch.allclose(together[:4], apart, rtol=1e-9)
        assert same == ridge.rowwise == (scaling != "test-batch")


@pytest.mark.parametrize(("voxels", "varying"), [(8, 8), (60, 8), (39, 39)])
def test_no_penalty_gives_least_squares_when_it_is_unique(voxels, varying):
    betas, feature, new = draw(trials=40, voxels=voxels)
    betas[:, varying:] = betas[:1, varying:]
    truth = linear_model.LinearRegression().fit(betas[:, :varying].numpy(), feature.numpy())
    expected = truth.predict(new[:, :varying].numpy())
    ridge = Ridge(alpha=0.0, scaling="none")
    predicted = ridge.predict(ridge.fit(betas, feature), new, feature)
    np.testing.assert_allclose(predicted, expected, rtol=1e-7)


def test_a_penalty_too_small_to_tell_equal_trials_apart_is_refused():
    betas, feature, new = draw(trials=20, voxels=30)
    betas[1] = betas[0]
    ridge = Ridge(alpha=1e-16, scaling="none")
    with pytest.raises(DataError, match=r"^alpha 1e-16 is below the rounding.*raise alpha$"):
        ridge.predict(ridge.fit(betas, feature), new, feature)


@pytest.mark.parametrize(("trials", "voxels"), [(20, 30), (40, 8)])
def test_no_penalty_is_refused_when_voxels_are_dependent(trials, voxels):
    betas, feature, _ = draw(trials, voxels)
    betas[:, 1] = betas[:, 0]
    with pytest.raises(DataError, match=rf"^alpha 0 has no unique answer.*for {voxels} voxels"):
        Ridge(alpha=0.0).fit(betas, feature)


def test_wrong_sizes_are_refused_and_both_are_named():
    betas, feature, new = draw()
    ridge = Ridge()
    with pytest.raises(DataError, match=r"40 trials.*has 39"):
        ridge.fit(betas, feature[:-1])
    weights = ridge.fit(betas, feature)
    with pytest.raises(DataError, match=r"\(9, 29\).*\(40, 30\)"):
        ridge.predict(weights, new[:, 1:], feature)
    with pytest.raises(DataError, match=r"40 trials.*has 39"):
        ridge.predict(weights, new, feature[:-1])
    with pytest.raises(DataError, match=r"made from betas \(40, 30\) and is used with \(39, 30\)"):
        ridge.fit_shared(betas[:-1], feature[:-1], weights)
    with pytest.raises(DataError, match="at least 2 trials"):
        ridge.fit(betas[:1], feature[:1])


def test_values_that_are_not_finite_are_refused():
    betas, feature, new = draw()
    ridge = Ridge()
    weights = ridge.fit(betas, feature)
    new[0, 3] = torch.inf
    with pytest.raises(DataError, match="not finite in 1 of 30 voxels"):
        ridge.predict(weights, new, feature)
    feature[3, :2] = torch.nan
    with pytest.raises(DataError, match="not finite in 2 of its 7 targets"):
        ridge.fit(betas, feature)
    betas[2, 5] = torch.nan
    with pytest.raises(DataError, match="not finite in 1 of 30 voxels"):
        ridge.fit(betas, feature)


def test_statistics_that_do_not_exist_are_refused():
    betas, feature, new = draw()
    ridge = Ridge(alpha=5.0, scaling="test-batch")
    with pytest.raises(DataError, match="got only 1"):
        ridge.predict(ridge.fit(betas, feature), new[:1], feature)
    betas, feature, _ = draw(trials=20, voxels=19)
    with pytest.raises(DataError, match="left-out prediction is undefined"):
        Ridge(alpha=0.0).fit(betas, feature)
    betas, feature, _ = draw(trials=40, voxels=8)
    betas[1:, 3] = 0  # only the first trial tells this voxel's weight
    with pytest.raises(DataError, match="left-out prediction is undefined"):
        Ridge(alpha=0.0).fit(betas, feature)


def test_a_voxel_that_never_varies_counts_where_there_is_no_intercept():
    betas, feature, new = draw()
    betas[:, 0], new[:, 0] = 2.0, 2.0
    truth = linear_model.Ridge(5.0, fit_intercept=False).fit(betas.numpy(), feature.numpy())
    ridge = Ridge(alpha=5.0, scaling="none", intercept=False)
    predicted = ridge.predict(ridge.fit(betas, feature), new, feature)
    np.testing.assert_allclose(predicted, truth.predict(new.numpy()), rtol=1e-8)


def test_options_take_a_number_or_cv_and_no_negative_number():
    assert replaced(Ridge(), {"alpha": "cv"}, "regressor").alpha == "cv"
    assert replaced(Ridge(), {"alpha": 10}, "regressor").alpha == 10
    with pytest.raises(UsageError, match=r"regressor\.alpha"):
        replaced(Ridge(), {"alpha": -1.0}, "regressor")


def test_ridge_offers_the_plain_and_the_sharing_protocol():
    ridge: Regressor = Ridge()
    assert isinstance(ridge, Sharing)
    assert Ridge(alpha=1.0).shares == Ridge(alpha=2.0, block=7, scaling="none").shares
    assert Ridge(alpha="cv").shares == Ridge(alpha="cv", block=7).shares
    assert Ridge(alpha="cv").shares != Ridge(alpha=1.0).shares
    assert Ridge(intercept=False).shares != Ridge().shares


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("trials", "voxels"), [(40, 20), (20, 40)])
def test_importance_is_the_mean_weight_of_standardised_betas_and_targets(trials, voxels, intercept):
    betas, feature, _ = draw(trials, voxels)
    betas[:, 3], feature[:, 2] = 1.5, 0.1
    ridge = Ridge(alpha=4.0, intercept=intercept, block=3)
    assert isinstance(ridge, Mappable)
    x, y = betas.numpy(), feature.numpy()
    coefficients = linear_model.Ridge(4.0, fit_intercept=intercept).fit(x, y).coef_
    spread = np.where(y.std(0) > 1e-9, y.std(0), np.inf)
    expected = (np.abs(coefficients) / spread[:, None]).mean(0) * x.std(0)
    found = ridge.importance(ridge.fit(betas, feature), betas, feature)
    assert set(found) == {"weight"}
    torch.testing.assert_close(found["weight"], torch.from_numpy(expected).float())
    factor = ridge.factorise(betas)
    weights = ridge.fit_shared(betas, feature, factor)
    shared = ridge.importance(weights, betas, feature, factor)
    assert torch.equal(shared["weight"], found["weight"])


def test_importance_is_in_units_of_neither_betas_nor_targets():
    betas, feature, _ = draw()
    ridge = Ridge(alpha=1e-6, scaling="none")
    found = ridge.importance(ridge.fit(betas, feature), betas, feature)["weight"]
    scale = torch.linspace(0.5, 4, 30).double()
    other, target = betas * scale, 7 * feature + 1
    again = ridge.importance(ridge.fit(other, target), other, target)["weight"]
    torch.testing.assert_close(again, found, rtol=1e-4, atol=0)
