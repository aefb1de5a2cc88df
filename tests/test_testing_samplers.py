# torch is imported inside functions: one check imports this file afresh and looks for it.
import pytest

from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.single_pass import SinglePass
from brainkit.testing import checks
from brainkit.testing import sampler as kit
from brainkit.testing.promise import failing


class Imprecise(DDIM):
    def sample(self, condition, seeds, progress=None):
        return super().sample(condition, seeds, progress).double()


class OffTarget(DDIM):
    def sample(self, condition, seeds, progress=None):
        return super().sample(condition, seeds, progress) + 0.05


class Timid(DDIM):
    def walk(self, condition, drawn, progress=None):
        return super().walk(condition, drawn * 0.25, progress)


class GoingBack(DDIM):
    def sample(self, condition, seeds, progress=None):
        latent = super().sample(condition, seeds, progress)
        condition.denoise(latent, condition.sigmas[500])
        return latent


class OutOfRange(DDIM):
    def sample(self, condition, seeds, progress=None):
        condition.denoise(condition.start, 2 * condition.sigmas[-1])
        return super().sample(condition, seeds, progress)


class OneSeedForAll(DDIM):
    def sample(self, condition, seeds, progress=None):
        return super().sample(condition, [seeds[0] + row for row in range(len(seeds))], progress)


class Unseeded(DDIM):
    def sample(self, condition, seeds, progress=None):
        import torch

        return super().sample(condition, seeds, progress) + 1e-5 * torch.randn(())


class Detached(DDIM):
    def sample(self, condition, seeds, progress=None):
        return super().sample(condition, seeds, progress).detach()


class Careless(DDIM):
    def sample(self, condition, seeds, progress=None):
        import torch

        latent = super().sample(condition, seeds, progress)
        with torch.no_grad():
            condition.start.mul_(1.5)
        return latent


class Silent(DDIM):
    def sample(self, condition, seeds, progress=None):
        latent = super().sample(condition, seeds)
        if progress:
            progress(self.steps, self.steps)
        return latent


BROKEN_SAMPLERS = [
    ("latents_are_float32_of_the_starts_shape", Imprecise),
    ("a_point_mass_is_returned", OffTarget),
    ("a_gaussian_keeps_mean_and_spread", Timid),
    ("sigma_never_increases", GoingBack),
    ("sigma_never_increases", OutOfRange),
    ("three_images_equal_three_times_one", OneSeedForAll),
    ("seeds_alone_decide_the_noise", Unseeded),
    ("gradients_reach_the_start", Detached),
    ("the_start_stays_untouched", Careless),
    ("progress_counts_to_the_end", Silent),
]


@pytest.mark.parametrize(("promise", "kind"), BROKEN_SAMPLERS)
def test_a_sampler_that_breaks_one_promise_fails_its_check_alone(promise, kind):
    assert failing(checks.for_sampler(kind(steps=40))) == {promise}


@pytest.mark.parametrize("part", [DDIM(), DDIM(steps=20), DDIM(noise_lead=1)])
def test_core_samplers_keep_their_promises(part):
    assert failing(checks.for_sampler(part)) == set()


def test_one_step_finds_a_point_but_no_spread():
    one_step = {"a_gaussian_keeps_mean_and_spread": "one step gives the mean"}
    assert failing(checks.for_sampler(SinglePass(), expected_failures=one_step)) == set()
    assert failing(checks.for_sampler(SinglePass())) == set(one_step)


def test_every_promise_is_broken_by_some_part_above():
    broken = {promise for promise, _ in BROKEN_SAMPLERS}
    assert broken == {each.__name__ for each in kit.PROMISES}
