import brainkit_heun
import pytest
import torch
from brainkit_heun import Heun

from brainkit.testing import checks
from brainkit.testing.examples import gaussian_denoiser, toy_condition


@pytest.mark.parametrize("check", checks.for_sampler(Heun(steps=20)), ids=str)
def test_it_keeps_the_promises_of_a_sampler(check):
    check()


def test_the_levels_fall_from_the_highest_to_the_lowest_that_was_trained():
    condition = toy_condition(gaussian_denoiser(0.0, 1.0), batch=1)
    levels = Heun(steps=5).levels(condition)
    assert len(levels) == 6
    assert torch.allclose(levels[[0, -1]], condition.sigmas[[-1, 0]], rtol=1e-4)
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("check", checks.check_plugin(brainkit_heun), ids=str)
def test_the_plugin_keeps_its_promises(check):
    check()
