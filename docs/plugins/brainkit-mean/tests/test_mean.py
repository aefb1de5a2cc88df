import brainkit_mean
import pytest
import torch
from brainkit_mean import Mean

from brainkit.testing import checks

CANNOT = {"a_planted_linear_map_is_found": "it predicts the mean, whatever the betas"}


@pytest.mark.parametrize(
    "check", checks.for_regressor(Mean(shrink=0.1), expected_failures=CANNOT), ids=str
)
def test_mean_keeps_the_promises_of_a_regressor(check):
    check()


@pytest.mark.parametrize("check", checks.check_plugin(brainkit_mean), ids=str)
def test_the_plugin_keeps_its_promises(check):
    check()


def test_every_trial_gets_the_mean_of_the_training_trials():
    betas, feature = torch.zeros(3, 2), torch.tensor([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]])
    weights = Mean().fit(betas, feature)
    predicted = Mean().predict(weights, torch.ones(2, 2), feature)
    assert predicted.tolist() == [[3.0, 1.0], [3.0, 1.0]]


def test_shrinking_pulls_the_mean_towards_zero():
    feature = torch.tensor([[2.0], [6.0]])
    assert Mean(shrink=0.25).fit(torch.zeros(2, 1), feature)["mean"].tolist() == [3.0]
