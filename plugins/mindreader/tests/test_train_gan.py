"""One step of training: its phases, averages, gradients, precision, and going on after a break."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_training import RECIPE, SHAPE, SUPERVISED, draw, networks, toy_set, trained, training
from torch import nn

from brainkit.errors import DataError, UsageError
from brainkit_mindreader.generator.objectives import Weights
from brainkit_mindreader.train.draws import Batch, Draws
from brainkit_mindreader.train.joint import Joint
from brainkit_mindreader.train.state import resume, save
from brainkit_mindreader.train.steps import GROW_AFTER, Scale, apply_gradients, make_adam

BARE = replace(RECIPE, r1_every=0, path_every=0, style_mixing=0.0)


@pytest.fixture(autouse=True)
def _fresh_accelerator():
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def tensors_of(course):
    found = {"path_mean": course.path_mean}
    for name, net in course.networks().items():
        found |= {f"{name}/{key}": tensor for key, tensor in net.state_dict().items()}
    for name, adam in course.optimisers().items():
        for index, moments in adam.state_dict()["state"].items():
            found |= {f"{name}/{index}/{key}": tensor for key, tensor in moments.items()}
    return {name: tensor.clone() for name, tensor in found.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    different = [name for name in found if not torch.equal(found[name], expected[name])]
    assert not different


def test_the_paired_loss_falls_on_a_toy_set_and_every_loss_is_finite():
    course = training(replace(RECIPE, rate=0.005))
    said = [course.advance(draw, 0.5) for _ in range(30)]
    assert all(torch.isfinite(torch.tensor(list(each.values()))).all() for each in said)
    paired = [each["paired"] for each in said]
    assert sum(paired[-5:]) < 0.75 * sum(paired[:5])


def test_a_discriminator_learns_to_take_true_pictures_for_real():
    # The generator hardly moves, so the discriminator has a fixed task.
    course = training(replace(RECIPE, rate=1e-6, discriminator_rate=2500.0, gamma=0.01))
    pictures, embeddings = toy_set()
    conditions = (embeddings, embeddings.flip(1))

    def logits():
        with torch.no_grad():
            real = course.discriminator(pictures, conditions).logit.mean()
            made = course.generator(torch.zeros(4, SHAPE.z_dim), conditions)
            return float(real), float(course.discriminator(made, conditions).logit.mean())

    before = logits()
    for _ in range(20):
        course.advance(draw, 0.5)
    after = logits()
    assert after[0] > before[0]
    assert after[0] - after[1] > before[0] - before[1] + 0.5


def test_terms_of_no_weight_do_not_run_their_networks():
    def never(pictures, generator):
        raise AssertionError("a watcher without a weight was asked")

    course = training(replace(BARE, weights=Weights(heads=0, clip=0)), clip=never, resnet=never)
    judged = []
    course.discriminator.register_forward_hook(lambda net, given, out: judged.append(given[0]))
    course.advance(draw, 0.5)
    # Once for the generator, then made and true ones for the discriminator.
    assert len(judged) == 3


def test_a_watcher_with_a_weight_sees_the_generated_pictures_and_teaches():
    seen = []

    def watch(pictures, generator):
        seen.append(pictures)
        return pictures.flatten(1)[:, : SHAPE.f_dims[0]]

    course = training(replace(BARE, weights=Weights(heads=0, clip=10)), clip=watch)
    said = course.advance(draw, 0.5)
    assert "clip" in said
    assert len(seen) == 1
    assert seen[0].requires_grad


def test_the_discriminator_is_left_out_before_it_joins():
    course = training(replace(RECIPE, adversary_from=0.5))
    course.discriminator.register_forward_hook(lambda *_: pytest.fail("it was asked too early"))
    before = tensors_of(course)
    assert set(course.advance(draw, 0.4)) == {"paired"}
    after = tensors_of(course)
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("discriminator/"))
    assert not torch.equal(
        before["generator/synthesis.b4.const"], after["generator/synthesis.b4.const"]
    )


def test_the_paired_term_may_weigh_more_as_the_rate_falls():
    late = replace(RECIPE, decay_from=0.5, paired_late=3 * RECIPE.weights.paired)
    paired = [training(late).advance(draw, progress)["paired"] for progress in (0.4, 0.5)]
    assert paired[0] > 0
    assert paired[1] == pytest.approx(3 * paired[0])
    assert training(RECIPE).advance(draw, 0.5)["paired"] == pytest.approx(paired[0])


def test_every_phase_has_noise_of_its_own_in_its_conditions():
    course = training(replace(RECIPE, r1_every=1, path_every=1))
    judged, made = [], []
    course.discriminator.register_forward_hook(lambda net, given, out: judged.append(given[1]))
    course.generator.synthesis.register_forward_hook(lambda net, given, out: made.append(given))
    course.advance(draw, 0.5)
    # The generator's step judges made and true pictures, the discriminator's too, then R1.
    assert [len(each[0]) for each in judged] == [4] * 5
    assert torch.equal(judged[0][0], judged[1][0])
    assert torch.equal(judged[2][0], judged[3][0])
    phases = [judged[0][0], judged[2][0], judged[4][0]]
    assert all(not torch.equal(a, b) for a, b in pairwise(phases))
    assert [len(given[0]) for given in made] == [4, 2, 4], "path lengths are of half the batch"
    assert not torch.equal(made[1][1][0], made[0][1][0][:2])
    lengths = torch.cat([each for found in judged for each in found]).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_the_average_style_follows_what_the_mapping_gives():
    course = training(replace(BARE, random_z=1.0))
    given = []
    course.generator.mapping.register_forward_hook(lambda net, asked, out: given.append(out))
    for _ in range(3):
        course.advance(draw, 0.5)
    expected = torch.zeros(SHAPE.w_dim)
    for ws in given:
        expected = 0.995 * expected + 0.005 * ws[:, 0].mean(dim=0).detach()
    torch.testing.assert_close(course.generator.mapping.w_avg, expected)
    torch.testing.assert_close(course.averaged.mapping.w_avg, expected)


@pytest.mark.parametrize("rampup", [0.0, 0.05])
def test_the_running_average_has_the_half_life_asked_for(rampup):
    course = training(replace(BARE, ema_kimg=0.008, ema_rampup=rampup))
    expected = course.generator.synthesis.b8.conv1.weight.detach().clone()
    for step in range(4):
        course.advance(draw, 0.5)
        life = min(8.0, step * 4 * rampup) if rampup else 8.0
        keep = 0.5 ** (4 / life) if life else 0.0
        expected = (
            keep * expected + (1 - keep) * course.generator.synthesis.b8.conv1.weight.detach()
        )
    torch.testing.assert_close(course.averaged.synthesis.b8.conv1.weight, expected)


def test_optimisers_are_corrected_for_the_steps_of_regularisers():
    course = training(replace(RECIPE, r1_every=16, path_every=4, rate=0.01, faster=5.0))
    slow, fast = course.generator_adam.param_groups
    assert slow["lr"] == pytest.approx(0.01 * 4 / 5)
    assert fast["lr"] == pytest.approx(0.05 * 4 / 5)
    assert slow["betas"] == pytest.approx((0.0, 0.99 ** (4 / 5)))
    (group,) = course.discriminator_adam.param_groups
    assert group["lr"] == pytest.approx(0.01 * 16 / 17)
    assert group["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    n_fast = sum(".pre_" in name for name, _ in course.generator.named_parameters())
    assert len(fast["params"]) == n_fast > 0


def test_rates_fall_to_nothing_from_where_they_are_told_to():
    course = training(replace(BARE, decay_from=0.6))
    rates = []
    for progress in (0.0, 0.6, 0.8, 1.0):
        course.advance(draw, progress)
        rates.append(course.generator_adam.param_groups[0]["lr"] / RECIPE.rate)
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.0])


def test_gradients_that_are_not_numbers_become_none_and_infinite_ones_large():
    net = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(net.weight)
    net.weight.grad = torch.tensor([[float("nan"), float("inf"), float("-inf")]])
    sgd = torch.optim.SGD(net.parameters(), lr=1.0)
    apply_gradients(sgd, net, Scale(half=False), Accelerator(cpu=True))
    assert net.weight.tolist() == [[0.0, -1e5, 1e5]]
    assert net.weight.grad is None


def test_in_half_precision_an_overflow_leaves_a_step_out_and_halves_the_scale():
    net, scale, accelerator = nn.Linear(2, 1, bias=False), Scale(half=True), Accelerator(cpu=True)
    sgd = torch.optim.SGD(net.parameters(), lr=0.5)
    before, factor = net.weight.detach().clone(), scale.factor
    net.weight.grad = torch.tensor([[1.0, float("inf")]])
    apply_gradients(sgd, net, scale, accelerator)
    assert torch.equal(net.weight, before)
    assert scale.factor == factor / 2
    net.weight.grad = torch.tensor([[2.0, -4.0]]) * scale.factor
    apply_gradients(sgd, net, scale, accelerator)
    torch.testing.assert_close(net.weight.detach(), before - torch.tensor([[1.0, -2.0]]))
    for _ in range(GROW_AFTER):
        scale.admits(torch.ones(1))
    assert scale.factor == factor


def test_bfloat16_trains_with_finite_losses():
    course = training(replace(RECIPE, rate=0.005), precision="bf16")
    said = [course.advance(draw, 0.5) for _ in range(14)]
    assert all(torch.isfinite(torch.tensor(list(each.values()))).all() for each in said)
    assert sum(each["paired"] for each in said[-4:]) < sum(each["paired"] for each in said[:4])
    assert course.generator.synthesis.b16.conv1.weight.dtype == torch.float32


def test_a_resumed_training_is_bit_identical_to_an_uninterrupted_one(tmp_path):
    recipe = replace(RECIPE, random_z=0.5, r1_every=2, path_every=2)
    whole, first = trained(6, recipe), trained(3, recipe)
    save(first, tmp_path / "state.safetensors")
    again = training(recipe)
    resume(again, tmp_path / "state.safetensors")
    for _ in range(3):
        again.advance(draw, 0.5)
    assert_same(tensors_of(again), tensors_of(whole))
    assert (again.step, again.pictures) == (6, 24)


def test_another_seed_trains_other_networks():
    one, other = trained(1), trained(1, seed=1)
    same = [torch.equal(a, b) for a, b in zip(
        one.generator.parameters(), other.generator.parameters(), strict=True)]  # fmt: skip
    assert not all(same)


def test_a_damaged_state_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"no state")
    with pytest.raises(DataError, match="is no state of this training"):
        resume(training(), path)


def test_shares_of_processes_make_up_the_batch_and_agree_on_what_is_common():
    whole = Draws.of_step(5, 8)
    halves = [Draws.of_step(5, 8, process=process, processes=2) for process in range(2)]
    assert [each.chance(0.5) for each in halves] == [whole.chance(0.5)] * 2
    numbers, parts = whole.normal(3), [each.normal(3) for each in halves]
    assert torch.equal(numbers[0::2], parts[0])
    assert torch.equal(numbers[1::2], parts[1])


def test_draws_are_standard_normal_and_change_with_the_step():
    found = torch.stack([Draws.of_step(step, 8).normal(400) for step in range(8)])
    assert abs(float(found.mean())) < 0.03
    assert abs(float(found.std()) - 1) < 0.03
    assert len({float(each) for each in found[:, :, 0].flatten()}) == 64


@pytest.mark.parametrize(
    ("changed", "processes", "said"),
    [
        ({"batch": 6}, 4, "multiple of the 4 processes"),
        ({"batch": 12}, 2, "multiple of 4"),
        ({"weights": Weights(clip=1.0)}, 1, "CLIP's weights"),
        ({"weights": Weights(clip=0.0, resnet=1.0)}, 1, "ResNet's weights"),
        ({"weights": Weights(clip=0.0), "adversary_from": 0.2}, 1, "no loss term has a weight"),
    ],
)
def test_recipes_that_cannot_be_followed_are_refused_in_one_sentence(changed, processes, said):
    recipe = replace(RECIPE, **changed)
    with pytest.raises(UsageError, match=said):
        recipe.check(processes, clip=False, resnet=False)


def test_the_weight_of_r1_follows_side_and_batch_unless_it_is_given():
    assert replace(RECIPE, batch=16).gamma_at(256) == pytest.approx(0.8192)
    assert replace(RECIPE, gamma=10.0).gamma_at(256) == 10.0


def test_in_joint_training_each_mapper_learns_its_own_target():
    draw_betas = torch.Generator().manual_seed(4)
    betas, targets = torch.randn(4, 10, generator=draw_betas), toy_set()[1]
    targets = (targets / targets.norm(dim=1, keepdim=True), targets.flip(1))

    def joint_draw(draws):
        rows = draws.integers(4)
        both = tuple(each[rows] / each[rows].norm(dim=1, keepdim=True) for each in targets)
        return Batch(toy_set()[0][rows], (), betas=(betas[rows],) * 2, targets=both)

    recipe = replace(BARE, weights=replace(SUPERVISED, heads=1.0), rate=0.03)
    torch.manual_seed(5)
    accelerator = Accelerator(cpu=True)
    joint = Joint([nn.Linear(10, 6), nn.Linear(10, 6)], recipe, accelerator)
    course = training(recipe, joint=joint)
    agreed = [[], []]
    for _ in range(12):
        said = course.advance(joint_draw, 0.5)
        for mapper, found in enumerate(agreed):
            found.append(said[f"mapper_{mapper}_cosine"])
    assert all(sum(found[-3:]) < 0.7 * sum(found[:3]) for found in agreed)
    assert "mappers/0.weight" in tensors_of(course)


def test_a_joint_step_leaves_generator_and_discriminator_as_they_are():
    recipe = replace(BARE, rate=0.01)
    joint = Joint([nn.Linear(6, 6), nn.Linear(6, 6)], recipe, Accelerator(cpu=True))
    course = training(recipe, joint=joint)
    pictures, embeddings = toy_set()
    batch = Batch(pictures, (), betas=(embeddings,) * 2, targets=(embeddings,) * 2)
    before = tensors_of(course)
    course._joint_step(joint, 1, batch, Draws.of_step(0, 4))
    after = tensors_of(course)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"mappers/1.weight", "mappers/1.bias"}


def test_a_condition_branch_learns_faster_where_it_is_told_to():
    adam = make_adam(networks()[0], 1.0, replace(RECIPE, faster=20.0), 0)
    assert [group["own_rate"] for group in adam.param_groups] == [1.0, 20.0]
