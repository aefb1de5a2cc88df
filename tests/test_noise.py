"""The noise ceiling of features against simulated brains whose signal is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from brainkit import metrics
from brainkit.run.noise import noise_of_one, noise_spread

N_TRAIN, N_TEST, N_VOXELS, N_DIMS = 1500, 400, 120, 8


def simulated(n_train_repeats: int, n_test_repeats: int, seed: int = 0):
    """Draw features, betas, their signal, ncsnr, spread of the noise, and presentations a row."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(N_TRAIN + N_TEST, N_DIMS, generator=draw)
    signal = features @ torch.randn(N_DIMS, N_VOXELS, generator=draw)
    deviation = signal[:N_TRAIN].std(dim=0)
    ncsnr = torch.rand(N_VOXELS, generator=draw) * 0.6 + 0.05
    repeats = torch.tensor([n_train_repeats, n_test_repeats]).repeat_interleave(
        torch.tensor([N_TRAIN, N_TEST])
    )
    noise = torch.randn(signal.shape, generator=draw) * deviation / ncsnr
    betas = signal + noise / repeats[:, None].sqrt()
    return features, betas, signal, ncsnr, deviation / ncsnr, repeats


def ridge(betas, features, alpha: float):
    """Return weights and offset of ridge regression in closed form."""
    centred = betas - betas.mean(dim=0)
    inner = centred.T @ centred + alpha * torch.eye(betas.shape[1])
    weights = torch.linalg.solve(inner, centred.T @ (features - features.mean(dim=0)))
    return weights, features.mean(dim=0) - betas.mean(dim=0) @ weights


@pytest.mark.parametrize(("train", "test"), [(1, 1), (3, 3), (1, 3), (3, 1)])
@pytest.mark.parametrize("alpha", [1.0, 5e4])
def test_it_is_what_the_same_weights_explain_from_responses_without_noise(train, test, alpha):
    features, betas, signal, ncsnr, spread, repeats = simulated(train, test)
    weights, offset = ridge(betas[:N_TRAIN], features[:N_TRAIN], alpha)
    true = features[N_TRAIN:].numpy()

    def predict(rows):
        return rows @ weights + offset

    found = noise_spread(betas[:N_TRAIN], repeats[:N_TRAIN], ncsnr)
    np.testing.assert_allclose(found, spread, rtol=0.15)
    of_one = noise_of_one(predict, betas[N_TRAIN:][:100], found, seed=1)
    exact = float((weights.square() * spread[:, None].square()).sum())
    assert of_one == pytest.approx(exact, rel=0.1)

    noisy = metrics.variance_explained(true, predict(betas[N_TRAIN:]).numpy(), feature="x")
    score = metrics.without_noise(noisy, true, of_one / test)
    clean = metrics.variance_explained(true, predict(signal[N_TRAIN:]).numpy(), feature="x")
    assert score.noise_ceiling == pytest.approx(clean.mean, abs=0.02)
    assert score.mean == noisy.mean
    assert f"noise ceiling {score.noise_ceiling:.3f}" in score.notes[-1]


def test_noise_matters_in_that_simulation():
    features, betas, signal, *_ = simulated(1, 1)
    weights, offset = ridge(betas[:N_TRAIN], features[:N_TRAIN], 1.0)
    true = features[N_TRAIN:].numpy()
    both = [
        metrics.variance_explained(true, (rows[N_TRAIN:] @ weights + offset).numpy(), feature="x")
        for rows in (betas, signal)
    ]
    assert both[1].mean - both[0].mean > 0.05


def test_units_that_are_left_out_have_no_noise():
    betas, spread = torch.randn(6, 4), torch.ones(4)

    def predict(rows):
        return torch.cat([rows, rows.new_full((len(rows), 2), torch.nan)], dim=1)

    without = noise_of_one(lambda rows: rows, betas, spread, seed=0)
    assert noise_of_one(predict, betas, spread, seed=0) == pytest.approx(without)


def test_of_what_is_not_linear_nothing_is_estimated():
    betas, spread = torch.randn(6, 4), torch.ones(4)
    assert noise_of_one(torch.relu, betas, spread, seed=0) is None
    assert noise_of_one(torch.zeros_like, betas, spread, seed=0) == 0


def test_a_run_tells_it_beside_the_true_features(finished):
    folder = finished("unibrain").folder
    scores = json.loads((folder / "metrics.json").read_text())["scores"]
    told = [each for each in scores if each["name"].endswith("variance explained")]
    assert len(told) == 4
    for each in told:
        assert each["value"] < each["noise_ceiling"] < 1
        assert f"noise ceiling {each['noise_ceiling']:.3f}" in " ".join(each["notes"])
    others = [each for each in scores if each not in told]
    assert all(each["noise_ceiling"] is None for each in others)
