"""The second stage: golden losses, gradients and updates; batches, kills, truncation, choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_structure import golden_targets
from tiny_networks import golden, tiny_clip, tiny_condition, tiny_decode, tiny_sigmas, tiny_unet

from brainkit import Condition
from brainkit.checkpoints import CheckpointStore
from brainkit.encoders.autokl import AutoKL
from brainkit.errors import UsageError
from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.noise import noise
from brainkit.testing import checks
from brainkit.testing.examples import example_stimuli
from brainkit_minddiffuser.aligned import Aligned
from brainkit_minddiffuser.descent import Descent
from brainkit_minddiffuser.gradients import Chain, adam, draw_seed, evaluate
from brainkit_minddiffuser.parts import SdText, StableDiffusion
from brainkit_minddiffuser.structure import LAYERS, ClipLayer, Structure, structural_misfit

SHORT = {"steps": 5, "noise_lead": 1}


class Diary:
    """A journal in memory that can be killed after so many entries."""

    def __init__(self, states=None, kill_after=None):
        self.states = dict(states or {})
        self.entries, self.kill_after = 0, kill_after

    def state(self, row):
        return self.states.get(row, {})

    def keep(self, row, state):
        if self.entries == self.kill_after:
            raise KeyboardInterrupt
        self.entries += 1
        self.states[row] = {name: each.clone() for name, each in state.items()}


@pytest.fixture(scope="module")
def numbers():
    return golden("stage2")


def golden_condition(numbers, weight):
    targets = golden_targets(golden("structural"))
    misfit = structural_misfit(tiny_decode(), tiny_clip(), Structure(final_weight=weight))
    return tiny_condition(numbers["z"], numbers["c"], numbers["uc"], misfit(targets))


def variables_of(condition):
    return {"z": condition.start, "c": condition.context}


@pytest.mark.parametrize(("case", "weight"), [("w0", 0.0), ("w03", 0.3)])
@pytest.mark.parametrize("stored", [0, 2, 5])
def test_loss_and_gradients_equal_the_golden_ones(numbers, case, weight, stored):
    condition = golden_condition(numbers, weight)
    chain = Chain(DDIM(**SHORT), stored_steps=stored)
    found = evaluate(chain, condition, variables_of(condition), numbers["noise"][0])
    torch.testing.assert_close(found.losses, numbers[f"{case}.loss"].view(1), atol=1e-10, rtol=0)
    image = tiny_decode()(found.latents)
    torch.testing.assert_close(image, numbers[f"{case}.image"], atol=1e-9, rtol=0)
    for name in "zc":
        expected = numbers[f"{case}.grad_{name}"]
        limit = 1e-9 * float(expected.abs().max())
        torch.testing.assert_close(found.gradients[name], expected, atol=limit, rtol=0)


@pytest.mark.parametrize("mode", ["adam_z", "adam_zc", "sgd_zc"])
@pytest.mark.parametrize("fresh", ["fresh", "fixed"])
def test_losses_and_variables_of_updates_equal_the_golden_ones(numbers, mode, fresh):
    optimiser, _, changed = mode.partition("_")
    options = Aligned(
        **SHORT,
        iterations=3,
        optimiser=optimiser,
        variables="z" if changed == "z" else "z+c",
        decay=0.999 if optimiser == "adam" else 1.0,
    )
    condition = golden_condition(numbers, 0.3)

    def draw(iterations):
        return numbers["noise"][iterations[0] if fresh == "fresh" else 0]

    descent = Descent.begun(options, condition, [0], draw=draw)
    descent.run()
    made = {**variables_of(condition), **descent.variables}
    last = evaluate(descent.chain, condition, descent.variables, draw([3]))
    losses = torch.tensor([*descent.traces[0].losses, float(last.losses)], dtype=torch.float64)
    expected = f"{mode}.{fresh}"
    torch.testing.assert_close(losses, numbers[f"{expected}.losses"], atol=1e-10, rtol=0)
    torch.testing.assert_close(made["z"], numbers[f"{expected}.z"], atol=1e-8, rtol=0)
    torch.testing.assert_close(made["c"], numbers[f"{expected}.c"], atol=1e-8, rtol=0)
    image = tiny_decode()(last.latents)
    torch.testing.assert_close(image, numbers[f"{expected}.image"], atol=1e-7, rtol=0)


@pytest.mark.parametrize("steps", [4, 5, 50])
def test_truncation_to_all_steps_is_no_truncation(numbers, steps):
    condition = golden_condition(numbers, 0.0)
    found = evaluate(
        Chain(DDIM(**SHORT), backprop_steps=steps),
        *(condition, variables_of(condition), numbers["noise"][0]),
    )
    for name in "zc":
        limit = 1e-9 * float(numbers[f"w0.grad_{name}"].abs().max())
        expected = numbers[f"w0.grad_{name}"]
        torch.testing.assert_close(found.gradients[name], expected, atol=limit, rtol=0)


@pytest.mark.parametrize("steps", [1, 3])
def test_truncated_gradients_take_earlier_noise_predictions_as_constants(numbers, steps):
    condition = golden_condition(numbers, 0.0)
    z, c = (each.clone().requires_grad_() for each in variables_of(condition).values())
    loss = condition.misfit(walked_by_hand(z, c, numbers, steps)).sum()
    expected = dict(zip("zc", torch.autograd.grad(loss, [z, c]), strict=True))
    found = evaluate(
        Chain(DDIM(**SHORT), backprop_steps=steps),
        *(condition, variables_of(condition), numbers["noise"][0]),
    )
    for name in "zc":
        limit = 1e-9 * float(expected[name].abs().max())
        torch.testing.assert_close(found.gradients[name], expected[name], atol=limit, rtol=0)
        whole = numbers[f"w0.grad_{name}"]
        assert float((expected[name] - whole).abs().max()) > 1e-4 * float(whole.abs().max())


def walked_by_hand(z, c, numbers, steps):
    """Walk in the variance-preserving scale, with the formulas of Stable Diffusion's code."""
    network, signal = tiny_unet(), 1 / (1 + tiny_sigmas() ** 2)
    x = signal[801].sqrt() * z + (1 - signal[801]).sqrt() * numbers["noise"][0]
    both = torch.cat([numbers["uc"], c])
    for index in (3, 2, 1, 0):
        here, below = signal[200 * index + 1], signal[max(200 * (index - 1) + 1, 0)]
        time = torch.tensor([200 * index + 1])
        without, conditional = network(torch.cat([x, x]), time, both).sample.chunk(2)
        predicted = without + 5 * (conditional - without)
        predicted = predicted if index < steps else predicted.detach()
        clean = (x - (1 - here).sqrt() * predicted) / here.sqrt()
        x = below.sqrt() * clean + (1 - below).sqrt() * predicted
    return x


def test_stored_steps_keep_what_checkpointed_steps_do_not(numbers):
    condition = golden_condition(numbers, 0.0)
    condition = replace(condition, misfit=lambda latent: latent.square().sum(dim=(1, 2, 3)))
    bytes_kept = {}
    for stored in (0, 2, 4):
        kept = []

        def pack(tensor, kept=kept):
            kept.append(tensor.numel() * tensor.element_size())
            return tensor

        z = condition.start.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            chain = Chain(DDIM(**SHORT), stored_steps=stored)
            chain.walk(condition, {"z": z, "c": condition.context}, numbers["noise"][0])
        bytes_kept[stored] = sum(kept)
    assert bytes_kept[0] * 20 < bytes_kept[2] < 0.6 * bytes_kept[4]


def test_a_batch_of_networks_updates_equals_its_images_one_by_one(numbers):
    generator = torch.Generator().manual_seed(5)
    starts = torch.cat([numbers["z"], numbers["z"].flip(-1), 2 * numbers["z"]])
    contexts = numbers["c"] * torch.tensor([1.0, -1.0, 0.5]).view(3, 1, 1)
    drawn = torch.randn(2, 3, 4, 8, 8, generator=generator, dtype=torch.float64)
    bind = structural_misfit(tiny_decode(), tiny_clip())
    options = Aligned(**SHORT, iterations=2)

    def made(cut):
        targets = golden_targets(golden("structural"), rows=3)
        targets["layer_5"] = targets["layer_5"] * torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
        misfit = bind({name: each[cut] for name, each in targets.items()})
        condition = tiny_condition(starts[cut], contexts[cut], numbers["uc"], misfit)
        seeds = range(len(starts[cut]))
        descent = Descent.begun(options, condition, seeds, draw=lambda at: drawn[at[0], cut])
        descent.run()
        return descent.variables

    together = made(slice(None))
    for row in range(3):
        alone = made(slice(row, row + 1))
        for name in "zc":
            torch.testing.assert_close(together[name][row], alone[name][0], atol=1e-7, rtol=0)


def test_with_the_miniatures_networks_true_layers_are_approached():
    store = CheckpointStore(Path("nowhere"), miniature=True)
    stimuli = example_stimuli(batch=2)
    features = {f"layer_{layer}": ClipLayer(layer=layer).load(store)(stimuli) for layer in LAYERS}
    features["image_latent"] = AutoKL().load(store)(stimuli) * 0.5
    features["text_tokens"] = SdText().load(store)(stimuli)
    with torch.no_grad():
        condition = StableDiffusion().load(store)(features)["image"]
        short = Aligned(steps=4, noise_lead=1, iterations=2, rate=0.03, noise="fixed", every=3)
        diary = Diary()
        latent = short.sample(condition, [3, 4], journal=diary)
        after = condition.misfit(latent)
    before = torch.stack([diary.states[row]["path.losses"][0] for row in range(2)])
    assert bool((after < before).all())
    alone = {name: each[1:] for name, each in features.items()}
    chain, drawn = Chain(DDIM(steps=4, noise_lead=1)), noise(latent.shape[1:], [3, 4])
    both = evaluate(chain, condition, variables_of(condition), drawn)
    single = StableDiffusion().load(store)(alone)["image"]
    one = evaluate(chain, single, variables_of(single), drawn[1:])
    torch.testing.assert_close(both.losses[1:], one.losses, atol=0, rtol=1e-5)
    for name in "zc":
        limit = 1e-4 * float(one.gradients[name].abs().max())  # float32 through the walk
        torch.testing.assert_close(
            both.gradients[name][1:], one.gradients[name], atol=limit, rtol=0
        )


# From here on a denoiser that depends on z, c and the noise level takes the networks' place.


def toy_condition(rows=slice(None), sharpness=1.0):
    generator = torch.Generator().manual_seed(3)
    start, target = (torch.randn(3, 4, 8, 8, generator=generator)[rows] for _ in range(2))
    context = torch.randn(3, 5, 4, generator=generator)[rows]

    def denoise_with(context):
        pull = context.mean(dim=1)[:, :, None, None]

        def denoise(latent, sigma):
            return torch.tanh(latent / (1 + sigma)) + 0.3 * pull / (1 + sigma)

        return denoise

    return Condition(
        denoise=denoise_with(context),
        start=start,
        sigmas=tiny_sigmas().float(),
        strength=0.7,
        misfit=lambda latent: sharpness * (latent - target).square().flatten(1).mean(dim=1),
        context=context,
        denoise_with=denoise_with,
    )


TOY = Aligned(steps=10, noise_lead=1, iterations=25, rate=0.05, every=5)
SEEDS = (7, 1, 12)
VARIANTS = {
    "paper": TOY,
    "z alone": replace(TOY, variables="z"),
    "plain descent": replace(TOY, optimiser="sgd", rate=20.0),
    "fixed noise": replace(TOY, noise="fixed"),
    "truncated": replace(TOY, backprop_steps=3),
    "lowest": replace(TOY, keep="lowest", judge_noises=2),
}
each_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


@each_variant
def test_a_batch_equals_its_images_one_by_one(options):
    together = options.sample(toy_condition(), SEEDS)
    for row in range(3):
        cut = slice(row, row + 1)
        alone = options.sample(toy_condition(cut), SEEDS[cut])
        torch.testing.assert_close(together[cut], alone, atol=1e-5, rtol=0)


@each_variant
def test_the_misfit_falls(options):
    condition, diary = toy_condition(), Diary()
    latent = options.sample(condition, SEEDS, journal=diary)
    before = condition.misfit(options.walker().sample(condition, SEEDS))
    assert bool((condition.misfit(latent) < 0.95 * before).all())


@each_variant
def test_a_killed_run_goes_on_with_the_same_bits(options):
    whole = Diary()
    expected = options.sample(toy_condition(), SEEDS, journal=whole)
    killed = Diary(kill_after=8)  # the third image stands one state behind the others
    with pytest.raises(KeyboardInterrupt):
        options.sample(toy_condition(), SEEDS, journal=killed)
    assert [int(killed.states[row]["iteration"]) for row in range(3)] == [15, 15, 10]
    resumed = Diary(killed.states)
    assert torch.equal(options.sample(toy_condition(), SEEDS, journal=resumed), expected)
    for row, state in whole.states.items():
        assert state.keys() == resumed.states[row].keys()
        for name, each in state.items():
            assert torch.equal(each, resumed.states[row][name]), name


def test_a_kill_before_the_end_is_told_loses_nothing():
    whole = Diary()
    expected = TOY.sample(toy_condition(), SEEDS, journal=whole)
    killed = Diary(kill_after=16)  # all updates done, one of three last frames kept
    with pytest.raises(KeyboardInterrupt):
        TOY.sample(toy_condition(), SEEDS, journal=killed)
    resumed = Diary(killed.states)
    assert torch.equal(TOY.sample(toy_condition(), SEEDS, journal=resumed), expected)
    assert resumed.entries == 2
    done = Diary(whole.states)
    assert torch.equal(TOY.sample(toy_condition(), SEEDS, journal=done), expected)
    assert done.entries == 0


@each_variant
def test_a_killed_run_goes_on_in_other_batches(options):
    expected = options.sample(toy_condition(), SEEDS)
    killed = Diary(kill_after=7)
    with pytest.raises(KeyboardInterrupt):
        options.sample(toy_condition(), SEEDS, journal=killed)
    for row in (2, 0):
        alone = Diary({0: killed.states[row]})
        cut = slice(row, row + 1)
        found = options.sample(toy_condition(cut), SEEDS[cut], journal=alone)
        torch.testing.assert_close(found, expected[cut], atol=1e-5, rtol=0)


def test_a_journal_changes_nothing_and_gradients_may_be_switched_off():
    expected = TOY.sample(toy_condition(), SEEDS, journal=Diary())
    with torch.no_grad():
        assert torch.equal(TOY.sample(toy_condition(), SEEDS), expected)


def test_the_path_begins_with_the_first_stage_and_ends_with_what_is_handed_on():
    diary, condition = Diary(), toy_condition()
    latent = TOY.sample(condition, SEEDS, journal=diary)
    stage1 = DDIM(steps=10, noise_lead=1).sample(condition, SEEDS)
    for row in range(3):
        state = diary.states[row]
        assert state["path.iterations"].tolist() == [0, 5, 10, 15, 20, 25]
        assert state["path.latents"].dtype == torch.float16
        assert state["path.latents"].shape == (6, 4, 8, 8)
        assert state["path.losses"].dtype == torch.float32
        torch.testing.assert_close(
            state["path.latents"][0].float(), stage1[row], atol=2e-3, rtol=1e-3
        )
        torch.testing.assert_close(
            state["path.latents"][-1].float(), latent[row], atol=2e-3, rtol=1e-3
        )
        first = condition.misfit(stage1)[row]
        torch.testing.assert_close(state["path.losses"][0], first, atol=1e-6, rtol=0)
        assert len(state["path.losses"]) == 25


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_updates_equal_torchs_adam_with_a_falling_rate():
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    theirs = value.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=0.999)
    ours, moments = value.clone(), {"z.first": value * 0, "z.second": value * 0}
    for iteration in range(40):
        gradient = torch.randn(2, 6, generator=generator, dtype=torch.float64)
        theirs.grad = gradient.clone()
        schedule.step()  # the published order: the rate falls at the start of each iteration
        optimiser.step()
        rates = [Aligned().rate_at(iteration)] * 2
        minus, moments = adam(moments, {"z": gradient}, rates, [iteration + 1] * 2)
        ours = ours - minus["z"]
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-12, rtol=0)


def test_images_at_different_iterations_are_updated_each_by_its_own_count():
    generator = torch.Generator().manual_seed(0)
    gradient, first = (torch.randn(2, 6, generator=generator) for _ in range(2))
    second = torch.rand(2, 6, generator=generator)
    moments = {"z.first": first, "z.second": second}
    together, _ = adam(moments, {"z": gradient}, [0.1, 0.2], [3, 40])
    for row, (rate, update) in enumerate([(0.1, 3), (0.2, 40)]):
        cut = slice(row, row + 1)
        part = {name: each[cut] for name, each in moments.items()}
        alone, _ = adam(part, {"z": gradient[cut]}, [rate], [update])
        assert torch.equal(together["z"][cut], alone["z"])


def test_the_lowest_is_the_best_of_the_judged_iterates_over_fixed_noises():
    # A rate this large overshoots, so that the last iterate is not the best one.
    options = replace(TOY, keep="lowest", judge_noises=3, rate=150.0, decay=1.0)
    options = replace(options, optimiser="sgd")
    iterates = {0: toy_condition()}
    for iteration in range(5, 30, 5):
        descent = Descent.begun(replace(options, iterations=iteration), toy_condition(), SEEDS)
        descent.run()
        made = descent.variables
        denoise = iterates[0].denoise_with(made["c"])
        iterates[iteration] = replace(iterates[0], start=made["z"], denoise=denoise)
    judged, latents = [], []
    for condition in iterates.values():
        drawn = [[draw_seed(seed, "judge", number) for seed in SEEDS] for number in range(3)]
        walked = [options.walker().walk(condition, noise((4, 8, 8), each)) for each in drawn]
        judged.append(torch.stack([condition.misfit(each) for each in walked]).mean(dim=0))
        latents.append(walked[0])
    best = torch.stack(judged).argmin(dim=0)
    expected = torch.stack([latents[int(index)][row] for row, index in enumerate(best)])
    assert 0 < int(best.min()) < 5
    found = options.sample(toy_condition(), SEEDS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_fresh_noise_differs_by_iteration_and_fixed_noise_does_not():
    seen = {}
    for kind in ("fresh", "fixed"):
        options = replace(TOY, noise=kind, iterations=4)
        draw = Descent.begun(options, toy_condition(), SEEDS).draw
        seen[kind] = [draw([iteration, 0, 9]) for iteration in range(3)]
    assert torch.equal(seen["fixed"][0], seen["fixed"][2])
    assert not torch.equal(seen["fresh"][0][0], seen["fresh"][1][0])
    assert torch.equal(seen["fresh"][0][1:], seen["fresh"][1][1:])
    assert torch.equal(seen["fresh"][0][0], noise((4, 8, 8), SEEDS)[0])


def test_progress_counts_every_iteration_to_the_end():
    called = []
    TOY.sample(toy_condition(), SEEDS, progress=lambda done, total: called.append((done, total)))
    assert called == [(done, 26) for done in range(1, 27)]


def test_what_cannot_be_changed_is_one_sentence():
    closed = replace(toy_condition(), context=None, denoise_with=None)
    with pytest.raises(UsageError, match=r"variables is 'z\+c', but the conditioner offers no"):
        TOY.sample(closed, SEEDS)
    assert replace(TOY, variables="z", iterations=1).sample(closed, SEEDS).shape == (3, 4, 8, 8)
    with pytest.raises(UsageError, match="ignores z"):
        replace(TOY, variables="z").sample(replace(closed, strength=1.0), SEEDS)


@pytest.mark.parametrize("name", ["iterations", "every", "judge_noises", "backprop_steps"])
def test_a_count_of_zero_is_refused_by_its_address(name):
    from brainkit.options import replaced

    with pytest.raises(UsageError, match=f"sampler.{name} is 0"):
        replaced(Aligned(), {name: 0}, "sampler")


@pytest.mark.parametrize("check", checks.for_sampler(Aligned()), ids=str)
def test_without_a_misfit_it_keeps_the_promises_of_samplers(check):
    check()
