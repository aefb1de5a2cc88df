"""Samplers against closed forms, diffusers, and properties every walk has to have."""

import pytest
import torch
from torch import Tensor

from brainkit.data import Condition
from brainkit.errors import UsageError
from brainkit.samplers.denoisers import from_noise
from brainkit.samplers.diffusion import DDIM, ddim_step, preserved
from brainkit.samplers.guidance import guided, stacked
from brainkit.samplers.noise import noise, seeds_of
from brainkit.samplers.schedule import (
    alpha_bar,
    nearest_timestep,
    scaled_linear_sigmas,
    sigma,
    spaced_timesteps,
)
from brainkit.samplers.single_pass import SinglePass

SIGMAS = scaled_linear_sigmas()


def linear_denoise(latent: Tensor, level: Tensor) -> Tensor:
    """Clean latents that are normal with mean 2 and spread 0.5: the best guess is linear."""
    return (0.25 * latent + level**2 * 2.0) / (0.25 + level**2)


def curved_predict(latent: Tensor, timesteps: Tensor) -> Tensor:
    """Any smooth function of latent and time will do as a network."""
    return torch.sin(latent) + timesteps[:, None].float() / 1000


def condition(start: Tensor, strength: float = 0.75, **changes: object) -> Condition:
    parts: dict[str, object] = {"denoise": linear_denoise, "sigmas": SIGMAS, **changes}
    return Condition(start=start, strength=strength, **parts)  # type: ignore[arg-type]


def scheduler(n_steps: int) -> object:
    diffusers = pytest.importorskip("diffusers")
    made = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    made.set_timesteps(n_steps)
    return made


def test_training_noise_levels_are_those_of_diffusers() -> None:
    theirs = scheduler(50).alphas_cumprod  # type: ignore[attr-defined]
    # Theirs multiplies a thousand factors in float32.
    torch.testing.assert_close(alpha_bar(SIGMAS), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("n_steps", [7, 20, 30, 50, 1000])
def test_timesteps_are_those_of_diffusers(n_steps: int) -> None:
    theirs = sorted(scheduler(n_steps).timesteps.tolist())  # type: ignore[attr-defined]
    assert spaced_timesteps(1000, n_steps) == [min(t, 999) for t in theirs]


def test_more_steps_than_noise_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 10"):
        spaced_timesteps(10, 11)


def test_noise_level_and_signal_share_are_inverse() -> None:
    torch.testing.assert_close(sigma(alpha_bar(SIGMAS)), SIGMAS, rtol=1e-3, atol=0)


def test_each_level_finds_its_own_timestep() -> None:
    assert [int(nearest_timestep(SIGMAS, SIGMAS[t])) for t in (0, 1, 500, 999)] == [0, 1, 500, 999]


def test_ddim_equals_diffusers_from_noise() -> None:
    drawn = noise((6,), [3, 4])
    ours = DDIM(steps=20).walk(
        condition(torch.zeros(2, 6), strength=1.0, denoise=from_noise(curved_predict, SIGMAS)),
        drawn,
    )
    theirs, latent = scheduler(20), drawn
    for timestep in theirs.timesteps:  # type: ignore[attr-defined]
        predicted = curved_predict(latent, timestep.expand(2))
        latent = theirs.step(predicted, timestep, latent).prev_sample  # type: ignore[attr-defined]
    # Twenty float32 steps with sigma up to 14 in ours.
    torch.testing.assert_close(ours, latent, atol=5e-5, rtol=0)


@pytest.mark.parametrize("lead", [0, 1])
def test_ddim_equals_diffusers_from_a_start(lead: int) -> None:
    start, drawn = noise((6,), [1, 2]), noise((6,), [3, 4])
    ours = DDIM(steps=50, noise_lead=lead).walk(
        condition(start, denoise=from_noise(curved_predict, SIGMAS)), drawn
    )
    theirs = scheduler(50)
    left = theirs.timesteps[13:]  # type: ignore[attr-defined]
    assert left[0] == 721
    noised_at = left[:1] + 20 * lead
    latent = theirs.add_noise(start, drawn, noised_at.expand(2))  # type: ignore[attr-defined]
    for timestep in left:
        predicted = curved_predict(latent, timestep.expand(2))
        latent = theirs.step(predicted, timestep, latent).prev_sample  # type: ignore[attr-defined]
    torch.testing.assert_close(ours, latent, atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("strength", "steps", "run"),
    [
        (0.7, 50, 35), (0.75, 50, 37), (0.8, 50, 40),  # the three papers'
        (0.58, 50, 28), (0.29, 100, 28), (0.57, 100, 56), (0.7, 90, 62),  # products below a whole
        (0.001, 50, 1), (1.0, 50, 50),
    ],
)  # fmt: skip
def test_as_many_steps_are_run_as_the_published_code_runs(strength, steps, run) -> None:
    told: list[tuple[int, int]] = []
    start = condition(torch.zeros(1, 3), strength=strength)
    DDIM(steps=steps).sample(start, [0], lambda done, total: told.append((done, total)))
    assert told[-1] == (run, run)
    assert run == max(1, int(strength * steps))


def test_a_noise_lead_beyond_the_grid_stops_at_its_end() -> None:
    start, drawn = torch.ones(1, 3), noise((3,), [0])
    nearly_all = condition(start, strength=0.99)
    far = DDIM(steps=10, noise_lead=50).walk(nearly_all, drawn)
    near = DDIM(steps=10, noise_lead=1).walk(nearly_all, drawn)
    assert torch.equal(far, near)


def test_a_denoiser_that_knows_the_answer_is_believed() -> None:
    answer = torch.tensor([[1.0, -2.0, 3.0]])
    known = condition(torch.zeros(1, 3), denoise=lambda latent, level: answer)
    finished = DDIM(steps=20).sample(known, [5])
    # What is left is the lowest training noise level, 0.029.
    assert (finished - answer).abs().max() < 4 * SIGMAS[0]


def test_gaussian_latents_come_out_with_their_mean_and_spread() -> None:
    start = torch.zeros(4000, 1)
    finished = DDIM(steps=200).sample(condition(start, strength=1.0), range(4000))
    # Along the exact path x - 2 shrinks with sqrt(0.25 + sigma**2), and a walk from noise alone
    # begins around 0. Sampling error of 4000 draws is 0.008; the discrete walk adds about as much.
    begun_below = 2.0 * (0.5 / SIGMAS[-1].item())
    assert finished.mean().item() == pytest.approx(2.0 - begun_below, abs=0.03)
    assert finished.std().item() == pytest.approx(0.5, abs=0.03)


def test_a_batch_is_its_rows() -> None:
    start = noise((3, 4), [7, 8, 9])
    together = DDIM(steps=8).sample(condition(start), [1, 2, 3])
    alone = [DDIM(steps=8).sample(condition(start[i : i + 1]), [i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)


def test_strength_one_ignores_the_start() -> None:
    sampler = DDIM(steps=5)
    first = sampler.sample(condition(torch.zeros(1, 3), strength=1.0), [0])
    second = sampler.sample(condition(torch.ones(1, 3), strength=1.0), [0])
    assert torch.equal(first, second)


def test_gradients_reach_the_start() -> None:
    start = torch.zeros(2, 3, requires_grad=True)
    DDIM(steps=4).sample(condition(start), [0, 1]).sum().backward()
    assert start.grad is not None
    assert (start.grad.abs() > 0).all()


def test_progress_counts_the_steps_that_are_run() -> None:
    told: list[tuple[int, int]] = []
    DDIM(steps=10).sample(condition(torch.zeros(1, 2)), [0], lambda *at: told.append(at))
    assert told == [(i, 7) for i in range(1, 8)]


def test_a_step_is_an_euler_step_on_sigma() -> None:
    latent, high, low = noise((5,), [0]), torch.tensor(3.0), torch.tensor(2.0)
    slope = (latent - linear_denoise(latent, high)) / high
    stepped = ddim_step(condition(latent), latent, high, low)
    torch.testing.assert_close(stepped, latent + (low - high) * slope)


def test_a_network_that_knows_the_noise_gives_the_clean_latent() -> None:
    clean, drawn, t = noise((4,), [0]), noise((4,), [1]), 600
    denoise = from_noise(lambda latent, timesteps: drawn, SIGMAS)
    noised = clean + SIGMAS[t] * drawn
    torch.testing.assert_close(denoise(noised, SIGMAS[t]), clean, atol=1e-5, rtol=0)


def test_networks_see_preserved_latents_and_their_timestep() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def predict(latent: Tensor, timesteps: Tensor) -> Tensor:
        seen.append((latent, timesteps))
        return latent

    latent = noise((4,), [0, 1])
    from_noise(predict, SIGMAS)(latent, SIGMAS[321])
    torch.testing.assert_close(seen[0][0], preserved(latent, SIGMAS[321]))
    assert seen[0][1].tolist() == [321, 321]


def test_guidance_moves_away_from_the_unconditional_half() -> None:
    context = stacked(torch.zeros(1, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))

    def predict(latent: Tensor, timesteps: Tensor) -> Tensor:
        return latent + context + timesteps[:, None]

    predicted = guided(predict, 3.0)(torch.ones(2, 2), torch.tensor([5, 6]))
    assert torch.equal(predicted, torch.tensor([[9.0, 12.0], [16.0, 19.0]]))


def test_noise_depends_on_its_seed_alone() -> None:
    assert torch.equal(noise((2, 3), [4, 5, 6])[2], noise((2, 3), [6])[0])
    assert noise((2, 3), []).shape == (0, 2, 3)


def test_single_pass_hands_over_noise_at_the_highest_level() -> None:
    once = Condition(
        denoise=lambda latent, level: latent * 10 + level,
        start=torch.zeros(2, 3),
        sigmas=torch.tensor([1.0]),
    )
    made = SinglePass().sample(once, [8, 9])
    torch.testing.assert_close(made, noise((3,), [8, 9]) * 10 + 1)


def chosen(seeds: list[int], candidates: int) -> Tensor:
    """Latents of one number each, of which the one nearest to 0 is best."""
    far = Condition(
        denoise=lambda latent, level: latent,
        start=torch.zeros(len(seeds), 1),
        sigmas=torch.tensor([1.0]),
        misfit=lambda latent: latent.abs().sum(dim=1),
    )
    return SinglePass(candidates=candidates).sample(far, seeds)


def test_the_candidate_of_lowest_misfit_is_kept() -> None:
    few, many = chosen(list(range(50)), 1).abs(), chosen(list(range(50)), 9).abs()
    assert torch.all(many <= few)
    # The least of nine |normal| numbers has a mean of 0.13, one of them 0.8.
    assert float(few.mean()) > 0.5
    assert float(many.mean()) < 0.25


def test_candidates_depend_on_their_own_seed_alone() -> None:
    together = chosen([3, 4, 5], 6)
    assert torch.equal(together, torch.cat([chosen([seed], 6) for seed in (3, 4, 5)]))
    assert torch.equal(chosen([7], 1), noise((1,), [7]))


def test_candidates_without_a_misfit_are_refused() -> None:
    plain = Condition(lambda latent, level: latent, torch.zeros(1, 1), torch.tensor([1.0]))
    with pytest.raises(UsageError, match=r"candidates is 3.*no misfit.*candidates=1"):
        SinglePass(candidates=3).sample(plain, [0])


def test_single_pass_tells_of_every_candidate() -> None:
    told: list[tuple[int, int]] = []
    far = Condition(
        lambda latent, level: latent,
        torch.zeros(1, 1),
        torch.tensor([1.0]),
        misfit=lambda latent: latent.sum(dim=1),
    )
    SinglePass(candidates=2).sample(far, [0], lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_the_seed_of_a_latent_depends_on_its_numbers_alone() -> None:
    latents = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    latents[3] = latents[1]
    first, second, third, fourth = seeds_of(latents)
    assert second == fourth
    assert len({first, second, third}) == 3
    assert all(0 <= seed < 2**63 for seed in (first, second, third))
    assert seeds_of(latents.flip(0)) == [fourth, third, second, first]
    assert seeds_of(latents[1:2].double().transpose(1, 2).contiguous().transpose(1, 2)) == [second]
    # sha256sum of four zero bytes begins df3f619804a92fdb.
    assert seeds_of(torch.zeros(1, 1)) == [0xDB2FA90498613FDF // 2]
