"""VoxelSelectedRidge against recorded numbers and a loop over units written out here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brainkit.errors import DataError, UsageError
from brainkit.options import replaced
from brainkit.regressors import Mappable, VoxelSelectedRidge
from brainkit.regressors.scaling import standardised, statistics
from brainkit.regressors.selection import Products
from brainkit.regressors.units import best_units, contiguous, mean_correlation
from brainkit.testing import checks

GOLDEN = Path(__file__).parent / "golden" / "minddiffuser_decoders" / "decoders.safetensors"
PARTS = (
    VoxelSelectedRidge(voxels=9),
    VoxelSelectedRidge(),
    VoxelSelectedRidge(voxels="cv"),
    VoxelSelectedRidge(voxels=9, units=0.5),
    VoxelSelectedRidge(voxels=9, standardise="transductive"),
)


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


def draw(trials=60, voxels=25, shape=(3, 4), seed=0, new=8):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *sizes: torch.randn(*sizes, generator=generator, dtype=torch.float64)  # noqa: E731
    betas = 2 * make(trials + new, voxels) + make(voxels)
    units = int(np.prod(shape))
    feature = betas @ make(voxels, units) + 4 * make(trials + new, units) + 5 * make(units)
    feature = feature.reshape(-1, *shape)
    return betas[:trials], feature[:trials], betas[trials:], feature[trials:]


def looped(x, y, count, alpha):
    """Choose and solve unit by unit; give dense weights (voxels, units) and constants (units,)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    weight, constant = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    varies = x.var(0) >= 1e-8
    for unit in range(y.shape[1]):
        r = np.zeros(x.shape[1])
        for voxel in np.flatnonzero(varies):
            r[voxel] = abs(np.corrcoef(x[:, voxel], y[:, unit])[0, 1])
        best = np.argsort(-r, kind="stable")[:count]
        a = np.c_[x[:, best], np.ones(len(x))]
        found = np.linalg.solve(a.T @ a + alpha * np.eye(count + 1), a.T @ y[:, unit])
        weight[best, unit], constant[unit] = found[:-1], found[-1]
    return weight, constant


def standardised_loop(betas, feature, new, count, alpha, by=None):
    betas, new, flat = betas.numpy(), new.numpy(), feature.flatten(1).numpy()
    by = betas if by is None else by.numpy()
    weight, constant = looped((betas - betas.mean(0)) / betas.std(0), _z(flat), count, alpha)
    scaled = (new - by.mean(0)) / by.std(0)
    predicted = (scaled @ weight + constant) * flat.std(0) + flat.mean(0)
    return torch.from_numpy(predicted).reshape(-1, *feature.shape[1:])


def _z(values):
    return (values - values.mean(0)) / values.std(0)


def dense(products, targets, count, alpha):
    crossed = products.crossed(targets)
    chosen = products.chosen(crossed, count)
    solved = products.solved(crossed, chosen, alpha)
    weight = crossed.new_zeros(len(crossed), crossed.shape[1] - 1)
    return weight.scatter_(1, chosen, solved[:, :-1]).T, solved[:, -1], chosen


def test_raw_betas_give_the_recorded_weights_voxels_and_predictions(golden):
    x, y = golden["fastl2.X"], golden["fastl2.Y"]
    plain = torch.zeros(20, dtype=torch.float64), torch.ones(20, dtype=torch.float64)
    weight, constant, chosen = dense(Products.of(x, *plain), y, 7, 0.15)
    selected = torch.zeros(6, 20).scatter_(1, chosen, 1).T
    assert torch.equal(selected, golden["fastl2.selected"].float())
    torch.testing.assert_close(weight, golden["fastl2.W"], atol=1e-9, rtol=0)
    torch.testing.assert_close(constant[None], golden["fastl2.b"], atol=1e-9, rtol=0)
    predicted = golden["fastl2.X_test"] @ weight + constant
    torch.testing.assert_close(predicted, golden["fastl2.pred"], atol=1e-9, rtol=0)


@pytest.mark.parametrize("by", ["train", "test"])
def test_betas_are_standardised_as_recorded(golden, by):
    new = golden["fastl2.X_test"]
    mean, std = statistics(golden["fastl2.X"] if by == "train" else new)
    found = standardised(new, mean, std)
    # The recording divides a constant voxel by 1; here such a voxel is 0.
    constant = std == 0
    assert constant.sum() == (by == "train")
    assert (found[:, constant] == 0).all()
    expected = golden[f"zscore.test_by_{by}"]
    torch.testing.assert_close(found[:, ~constant], expected[:, ~constant], atol=1e-9, rtol=0)


@pytest.mark.parametrize(("feature", "first"), [("c", 24), ("z", 0)])
def test_predictions_are_brought_back_as_recorded(golden, feature, first):
    # Weights that pass voxels on as they are: voxel u is unit u's prediction, z-scored.
    pred, mean, std = (golden[f"{feature}.{each}"] for each in ("pred_z", "mean", "std"))
    std = torch.cat([torch.zeros(first, dtype=std.dtype), std[first:]])
    voxels = pred.shape[1]
    units = len(mean)
    read = torch.cat([torch.zeros(first, dtype=torch.int64), torch.arange(voxels)])
    weights = {
        "unit": torch.arange(units).int(),
        "voxel": read[:, None].int(),
        "weight": torch.ones(units, 1, dtype=torch.float64),
        "target_mean": mean,
        "target_std": std,
        "voxel_mean": torch.zeros(voxels, dtype=torch.float64),
        "voxel_std": torch.ones(voxels, dtype=torch.float64),
    }
    rebuilt = golden[f"{feature}.rebuilt"]
    like = torch.zeros(1, *rebuilt.shape[1:])
    found = VoxelSelectedRidge(voxels=1, block=50).predict(weights, pred, like)
    torch.testing.assert_close(found, rebuilt, atol=1e-9, rtol=0)


def test_units_are_selected_as_recorded(golden):
    folds = contiguous(50)
    guessed = [golden["select.pred"][fold] for fold in folds]
    scores = mean_correlation(golden["select.Y"], guessed, folds)
    torch.testing.assert_close(scores, golden["select.mean_abs_r"], atol=1e-9, rtol=0)
    torch.testing.assert_close(
        scores.quantile(0.75, keepdim=True), golden["select.threshold"], atol=1e-9, rtol=0
    )
    assert torch.equal(best_units(scores, 0.25), golden["select.index"])


@pytest.mark.parametrize(("trials", "voxels", "count"), [(60, 25, 7), (30, 50, 12), (20, 50, 40)])
def test_predictions_match_a_loop_over_units(trials, voxels, count):
    betas, feature, new, _ = draw(trials, voxels)
    part = VoxelSelectedRidge(voxels=count, block=5)
    found = part.predict(part.fit(betas, feature), new, feature)
    expected = standardised_loop(betas, feature, new, count, 0.15)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def test_float32_betas_predict_what_float64_betas_predict():
    betas, feature, new, _ = draw()
    part = VoxelSelectedRidge(voxels=7)
    half = feature.half()
    weights = part.fit(betas.float(), half)
    assert weights["weight"].dtype == torch.float32
    assert weights["voxel"].dtype == torch.int32
    expected = standardised_loop(betas, half.double(), new, 7, 0.15)
    found = part.predict(weights, new.float(), half)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)


def test_more_voxels_than_there_are_read_every_voxel():
    betas, feature, new, _ = draw(voxels=25)
    every, more = VoxelSelectedRidge(voxels=25), VoxelSelectedRidge(voxels=500)
    found = more.predict(more.fit(betas, feature), new, feature)
    expected = standardised_loop(betas, feature, new, 25, 0.15)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    assert more.fit(betas, feature)["voxel"].shape == every.fit(betas, feature)["voxel"].shape


def test_solving_few_systems_at_a_time_changes_nothing(monkeypatch):
    betas, feature, new, _ = draw()
    part = VoxelSelectedRidge(voxels=7)
    before = part.predict(part.fit(betas, feature), new, feature)
    monkeypatch.setattr("brainkit.regressors.selection.TOGETHER", {"cpu": 2 * 8 * 8 * 8})
    monkeypatch.setattr("brainkit.regressors.selection.TRIALS_AT_A_TIME", 7)
    monkeypatch.setattr("brainkit.regressors.selection.PANEL", 4)
    small = replace(part, block=5)
    after = small.predict(small.fit(betas, feature), new, feature)
    torch.testing.assert_close(after, before, atol=1e-10, rtol=1e-10)


def test_transductive_betas_are_z_scored_by_themselves():
    betas, feature, new, _ = draw()
    part = VoxelSelectedRidge(voxels=7, standardise="transductive")
    assert not part.rowwise
    assert VoxelSelectedRidge().rowwise
    weights = part.fit(betas, feature)
    found = part.predict(weights, 3 * new + 1, feature)
    expected = standardised_loop(betas, feature, new, 7, 0.15, by=new)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    with pytest.raises(DataError, match="got only 1"):
        part.predict(weights, new[:1], feature)


def test_a_constant_unit_keeps_its_mean_and_reads_no_voxel():
    betas, feature, new, _ = draw()
    feature = feature.clone()
    feature[:, 0, 0] = 2.5
    part = VoxelSelectedRidge(voxels=7)
    weights = part.fit(betas, feature)
    assert (part.predict(weights, new, feature)[:, 0, 0] == 2.5).all()
    assert (weights["weight"][0] == 0).all()


def test_a_voxel_that_hardly_varies_is_never_read():
    betas, feature, *_ = draw()
    betas = betas.clone()
    betas[:, 3] = 1.0
    betas[:, 4] = 1.0 + 9e-5 * feature[:, 0, 0] / feature[:, 0, 0].std()
    part = VoxelSelectedRidge(voxels=7)
    weights = part.fit(betas, feature)
    assert not torch.isin(weights["voxel"], torch.tensor([3, 4])).any()
    with pytest.raises(DataError, match="none of the 25 voxels has a variance"):
        part.fit(betas * 1e-6, feature)


def planted(readable, voxels=40, units=12, trials=200):
    """Return betas and a feature of which only the units `readable` follow two voxels each."""
    betas, _, new, _ = draw(trials, voxels, seed=3)
    feature = torch.randn(trials, units, generator=torch.Generator().manual_seed(4)).double()
    for unit in readable:
        feature[:, unit] += betas[:, 2 * unit] + betas[:, 2 * unit + 1]
    return betas, feature, new


def test_the_units_that_can_be_predicted_are_kept_and_the_rest_is_nan():
    betas, feature, new = planted(readable=(1, 4, 11))
    part = VoxelSelectedRidge(voxels=4, units=0.25)
    weights = part.fit(betas, feature)
    assert weights["unit"].tolist() == [1, 4, 11]
    found = part.predict(weights, new, feature)
    kept = torch.zeros(12, dtype=torch.bool)
    kept[[1, 4, 11]] = True
    assert (found.isnan() == ~kept).all()
    every = replace(part, units=1.0)
    same = every.predict(every.fit(betas, feature), new, feature)
    torch.testing.assert_close(found[:, kept], same[:, kept], atol=1e-12, rtol=0)


def test_few_voxels_are_chosen_where_few_are_read_and_many_where_many_are():
    betas, feature, _ = planted(readable=range(12), voxels=64, trials=120)
    few = VoxelSelectedRidge(voxels="cv").fit(betas, feature)["voxel"].shape[1]
    wide, spread, _, _ = draw(trials=400, voxels=64, shape=(12,))
    many = VoxelSelectedRidge(voxels="cv").fit(wide, spread)["voxel"].shape[1]
    assert few <= 4
    assert many == 64


def test_importance_is_what_the_planted_voxels_carry():
    betas, feature, _ = planted(readable=range(12))
    part = VoxelSelectedRidge(voxels=2)
    assert isinstance(part, Mappable)
    weights = part.fit(betas, feature)
    found = part.importance(weights, betas, feature)
    # Every unit reads its two voxels, each with a weight of std(voxel) / std(unit) or so.
    assert found["selected"].dtype == found["weight"].dtype == torch.float32
    torch.testing.assert_close(found["selected"][:24], torch.full((24,), 1 / 12))
    assert (found["selected"][24:] == 0).all()
    assert (found["weight"][24:] == 0).all()
    loop, _ = looped(_z(betas.numpy()), _z(feature.numpy()), 2, 0.15)
    expected = torch.from_numpy(np.abs(loop).mean(1)).float()
    torch.testing.assert_close(found["weight"], expected, atol=1e-6, rtol=1e-6)


def test_weights_on_disk_are_indices_and_values(tmp_path):
    betas, feature, new, _ = draw(voxels=200, shape=(50,))
    part = VoxelSelectedRidge(voxels=5)
    weights = part.fit(betas.float(), feature)
    save_file(weights, tmp_path / "weights.safetensors")
    # 50 units of 5 voxels at 8 bytes, beside the means and deviations and a header.
    assert (
        tmp_path / "weights.safetensors"
    ).stat().st_size < 50 * 5 * 8 + 200 * 16 + 50 * 12 + 1000
    again = part.predict(load_file(tmp_path / "weights.safetensors"), new, feature)
    assert torch.equal(again, part.predict(weights, new, feature))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"voxels": 0}, "voxels is 0"),
        ({"units": 0.0}, "units is 0.0"),
        ({"units": 1.5}, "units is 1.5"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"voxels": "all"}, "voxels is 'all'"),
    ],
)
def test_options_outside_their_limits_are_refused(options, said):
    betas, feature, *_ = draw()
    with pytest.raises(UsageError, match=said):
        replaced(VoxelSelectedRidge(), options, "regressor.z")
    with pytest.raises(UsageError, match=said):
        VoxelSelectedRidge(**options).fit(betas, feature)


def test_values_that_are_not_finite_are_refused():
    betas, feature, *_ = draw()
    bad = betas.clone()
    bad[3, 5] = float("nan")
    with pytest.raises(DataError, match="not finite in 1 of 25 voxels"):
        VoxelSelectedRidge().fit(bad, feature)
    bad = feature.clone()
    bad[3, 1, 1] = float("inf")
    for part in (VoxelSelectedRidge(), VoxelSelectedRidge(units=0.5)):
        with pytest.raises(DataError, match="feature has values that are not finite in 1 of"):
            part.fit(betas, bad)


def test_fewer_trials_than_folds_need_are_refused():
    betas, feature, *_ = draw(trials=9)
    for part in (VoxelSelectedRidge(units=0.5), VoxelSelectedRidge(voxels="cv")):
        with pytest.raises(DataError, match="9 training trials cannot make 5 folds"):
            part.fit(betas, feature)


def test_voxels_that_repeat_one_another_need_a_penalty():
    betas, feature, *_ = draw()
    twice = torch.cat([betas, betas], dim=1)
    with pytest.raises(DataError, match="raise alpha"):
        VoxelSelectedRidge(voxels=8, alpha=0.0).fit(twice, feature)


@pytest.mark.parametrize(
    "check", [each for part in PARTS for each in checks.for_regressor(part)], ids=str
)
def test_the_part_keeps_every_promise_of_a_regressor(check):
    check()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_gives_the_same():
    betas, feature, new, _ = draw(trials=200, voxels=150)
    part = VoxelSelectedRidge(voxels=40, units=0.5)
    here = part.predict(part.fit(betas, feature), new, feature)
    there = part.predict(part.fit(betas.cuda(), feature), new.cuda(), feature).cpu()
    torch.testing.assert_close(there, here, atol=1e-9, rtol=1e-9, equal_nan=True)
