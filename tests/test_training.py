"""The one training loop: clocks, the rate, kills, states, and what denoisers learn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brainkit.miniature.train.lesson import Lesson, Options, learn
from brainkit.training.denoising import GAMMA, noised
from brainkit.training.loop import Plan, Seconds, Steps, Training, train
from brainkit.training.state import moments, read_state, take_moments, under, write_state

SIDE = 4


def network() -> nn.Module:
    """A convolution whose weights lie in memory channels last, a scale and a count of batches."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Flatten())
    net.scale = nn.Parameter(torch.tensor(0.5))
    return net.to(memory_format=torch.channels_last)


def gradients(net: nn.Module, killed_at: int = -1) -> Callable[[int], dict[str, float]]:
    def descend(step: int) -> dict[str, float]:
        if step == killed_at:
            raise KeyboardInterrupt
        draw = torch.Generator().manual_seed(step)
        loss = (net.scale * net(torch.randn(8, 3, SIDE, SIDE, generator=draw)) - 1).square().mean()
        loss.backward()
        return {"loss": loss.item()}

    return descend


def begun(steps: int = 9) -> Training:
    plan = Plan(0.05, warm_up=2, keep=0.9, faster=lambda name: 3.0 if name == "scale" else 1.0)
    return Training(network(), plan, clock=Steps(steps))


def state_of(training: Training) -> dict[str, Tensor]:
    return {
        **{f"net.{name}": each for name, each in training.net.state_dict().items()},
        **{f"averaged.{name}": each for name, each in training.averaged.items()},
        **moments(training.optimiser, "optimiser."),
    }


@pytest.mark.parametrize("killed_at", [1, 4, 8])
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path: Path, killed_at: int) -> None:
    whole = begun()
    assert whole.run(gradients(whole.net), tmp_path / "whole.safetensors")
    saved = tmp_path / "state.safetensors"
    killed = begun()
    with pytest.raises(KeyboardInterrupt):
        killed.run(gradients(killed.net, killed_at), saved, save_every=0)
    resumed = begun()
    resumed.resume(saved)
    assert resumed.step == killed_at
    assert resumed.run(gradients(resumed.net), saved)
    ends = state_of(whole), state_of(resumed)
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(each, ends[1][name]) for name, each in ends[0].items())
    tensors = read_state(tmp_path / "whole.safetensors")[0]
    assert all(torch.equal(each, read_state(saved)[0][name]) for name, each in tensors.items())


def test_restored_moments_lie_in_memory_as_their_parameters_do(tmp_path: Path) -> None:
    training = begun(2)
    training.run(gradients(training.net), tmp_path / "state.safetensors")
    training.resume(tmp_path / "state.safetensors")
    weight = training.net[0].weight
    assert not weight.is_contiguous()
    assert training.optimiser.state[weight]["exp_avg"].stride() == weight.stride()


def test_moments_have_the_names_of_their_place() -> None:
    nets = [nn.Linear(2, 1), nn.Linear(2, 1)]
    adams = [torch.optim.Adam(net.parameters()) for net in nets]
    nets[0](torch.ones(1, 2)).sum().backward()
    adams[0].step()
    named = moments(adams[0], "generator_adam/", separator="/")
    kinds = ("step", "exp_avg", "exp_avg_sq")
    assert set(named) == {f"generator_adam/{n}/{kind}" for n in (0, 1) for kind in kinds}
    take_moments(adams[1], named, "generator_adam/", separator="/")
    again = moments(adams[1], "generator_adam/", separator="/")
    assert all(torch.equal(each, again[name]) for name, each in named.items())
    # They are copies: what the first does from here on does not reach the second.
    named["generator_adam/0/exp_avg"].zero_()
    assert again["generator_adam/0/exp_avg"].abs().min() > 0


def test_a_state_is_whole_or_absent_and_knows_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.safetensors"
    write_state(path, {"net.a": torch.arange(6.0).view(2, 3).T}, {"step": "7"})
    tensors, facts = read_state(path)
    assert facts == {"step": "7"}
    assert torch.equal(under(tensors, "net.")["a"], torch.arange(6.0).view(2, 3).T)
    assert [each.name for each in path.parent.iterdir()] == ["state.safetensors"]


def test_the_rate_rises_and_falls_along_a_cosine() -> None:
    plan = Plan(0.1, warm_up=10, least=0.01)
    assert plan.pace(0, 0.0) == pytest.approx(0.1)
    assert plan.pace(9, 0.0) == pytest.approx(1.0)
    assert plan.pace(500, 0.5) == pytest.approx(0.01 + 0.99 / 2)
    assert plan.pace(999, 1.0) == pytest.approx(0.01)
    third = 0.5 * (1 + math.cos(math.pi / 3))
    assert Plan(0.1, warm_up=1).pace(5, 1 / 3) == pytest.approx(third)


def test_matrices_decay_and_named_parameters_have_their_own_rate() -> None:
    net = network()
    plan = Plan(0.1, weight_decay=0.02, faster=lambda name: 3.0 if name == "scale" else 1.0)
    rates = {
        id(parameter): (group["own_rate"], group["weight_decay"])
        for group in plan.groups(net)
        for parameter in group["params"]
    }
    told = {name: rates[id(parameter)] for name, parameter in net.named_parameters()}
    assert told["0.weight"] == (0.1, 0.02)
    assert told["0.bias"] == (0.1, 0.0)
    assert told["scale"] == (pytest.approx(0.3), 0.0)


def test_the_average_is_the_mean_at_first_and_forgets_later() -> None:
    """By hand: the average keeps min(keep, (1 + n) / (10 + n)) at the n-th step."""
    training = begun()
    expected = training.averaged["scale"].item()
    descend = gradients(training.net)
    for step in range(1, 6):
        descend(step)
        training.update()
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * training.net.scale.item()
        assert training.averaged["scale"].item() == pytest.approx(expected, rel=1e-5)
    assert training.averaged["1.num_batches_tracked"] == 5


def test_clocks_count_steps_or_seconds() -> None:
    assert Steps(40).progress(10, 1e9) == 0.25
    assert Seconds(40).progress(10, 30.0) == 0.75
    assert Seconds(40).progress(10, 50.0) == 1


class Counter:
    elapsed = 0.0
    done = 0

    def advance(self, progress: float) -> dict[str, float]:
        self.done += 1
        return {"loss": progress}


def test_the_loop_tells_every_step_and_ends_when_done_or_stopped() -> None:
    counter, told = Counter(), []
    losses = train(counter, lambda: counter.done / 4, counter.advance, after=told.append)
    assert told == [{"loss": 0.0}, {"loss": 0.25}, {"loss": 0.5}, {"loss": 0.75}]
    assert losses == told[-1]
    assert counter.elapsed > 0
    counter = Counter()
    train(counter, lambda: 0.0, counter.advance, stop=lambda: counter.done == 3)
    assert counter.done == 3
    assert train(counter, lambda: 1.0, counter.advance) == {}


def test_a_lesson_ends_in_the_averaged_network_and_may_be_cut_in_two(tmp_path: Path) -> None:
    def terms(net: nn.Linear) -> Callable[[Tensor, torch.Generator], dict[str, Tensor]]:
        def loss(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            assert rows.shape == (6,)
            inputs = torch.randn(6, 2, generator=generator)
            return {"loss": (net(inputs) - 1).square().mean()}

        return loss

    def made() -> nn.Linear:
        net = nn.Linear(2, 1)
        nn.init.constant_(net.weight, 0.5)
        nn.init.constant_(net.bias, 0.0)
        return net

    lesson = Lesson("small", steps=5, batch=6, plan=Plan(0.1, least=0.01, keep=0.998))
    whole, cut = made(), made()
    assert learn(lesson, whole, terms(whole), Options(tmp_path / "whole", 60.0, "cpu"))
    options = Options(tmp_path / "cut", 60.0, "cpu")
    # The first call has no time for a step; its state is where the second begins.
    assert not learn(lesson, cut, terms(cut), Options(tmp_path / "cut", 0.0, "cpu"))
    assert (tmp_path / "cut" / "small.safetensors").exists()
    assert learn(lesson, cut, terms(cut), options)
    assert torch.equal(whole.weight, cut.weight)
    assert not whole.training
    again = made()
    assert learn(lesson, again, terms(again), options)
    assert torch.equal(again.weight, whole.weight)


def test_a_batch_is_noised_at_a_timestep_of_every_part_of_the_schedule() -> None:
    schedule = torch.linspace(0.99, 0.01, 1000)
    latent = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    batch = noised(latent, schedule, torch.Generator().manual_seed(2))
    assert sorted((batch.timesteps // 125).tolist()) == list(range(8))
    assert torch.equal(batch.signal, schedule[batch.timesteps])
    share = batch.signal.view(8, 1, 1, 1).double()
    expected = share.sqrt() * latent + (1 - share).sqrt() * batch.noise
    torch.testing.assert_close(batch.latent.double(), expected, atol=1e-6, rtol=0)


def test_errors_count_by_the_clamped_ratio_of_signal_to_noise() -> None:
    schedule = torch.tensor([0.9, 0.5])  # SNR 9, of which 5 count, and 1
    batch = noised(torch.zeros(2, 4), schedule, torch.Generator().manual_seed(0))
    error = torch.tensor([1.0, 2.0])[:, None]
    weight = {0: GAMMA / 9, 1: 1.0}
    expected = sum(
        weight[t] * e**2 for t, e in zip(batch.timesteps.tolist(), (1.0, 2.0), strict=True)
    )
    assert batch.loss(batch.noise + error).item() == pytest.approx(expected / 2, rel=1e-5)
