"""The regressor `mapper`: promises, held-out images, alternatives, tiny data, and kills."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from brainkit.errors import DataError, UsageError
from brainkit.testing import checks
from brainkit.testing.examples import example_trials
from brainkit_mindreader.mapper.network import MapperNetwork, MapperShape
from brainkit_mindreader.mapper.part import Mapper
from brainkit_mindreader.mapper.training import MapperTraining, split

QUICK = Mapper(hidden=16, fc=32, blocks=1, epochs=20, batch=16, rate=1e-2)
TINY = replace(QUICK, hidden=4, fc=4, epochs=6)


class Diary:
    """A journal in memory that can be killed after so many entries."""

    def __init__(self, kill_at: int = -1) -> None:
        self.kept: dict[str, Tensor] = {}
        self.entries = 0
        self.kill_at = kill_at

    def state(self) -> dict[str, Tensor]:
        return dict(self.kept)

    def keep(self, state: dict[str, Tensor]) -> None:
        self.kept = {name: each.clone() for name, each in state.items()}
        self.entries += 1
        if self.entries == self.kill_at:
            raise KeyboardInterrupt


def images(count: int, repeats: int, dim: int = 6, voxels: int = 10) -> tuple[Tensor, Tensor]:
    """Return noisy betas and the targets of images shown several times, in drawn order."""
    draw = torch.Generator().manual_seed(3)
    seen = torch.randn(count, dim, generator=draw)
    order = torch.randperm(count * repeats, generator=draw) % count
    betas = seen[order] @ torch.randn(dim, voxels, generator=draw)
    return betas + 0.5 * torch.randn(betas.shape, generator=draw), seen[order]


@pytest.mark.parametrize("check", checks.for_regressor(QUICK), ids=str)
def test_the_mapper_keeps_the_promises_of_a_regressor(check):
    check()


def test_with_alternatives_shapes_stay_and_every_row_is_predicted_alike():
    given = example_trials(shape=(3, 4))
    part = replace(TINY, alternatives=True)
    weights = part.fit(given.betas, given.feature)
    found = part.predict(weights, given.new_betas, given.feature)
    assert found.shape == given.new_feature.shape
    assert torch.equal(found, found[:, :1].expand_as(found))
    flat = TINY.predict(TINY.fit(given.betas, given.feature), given.new_betas, given.feature)
    assert not torch.allclose(flat[:, 0], flat[:, 1])


def test_equal_alternatives_train_like_one_target():
    betas, targets = images(20, 2)
    rows = targets[:, None].repeat(1, 3, 1)
    part = replace(TINY, alternatives=True)
    one, many = TINY.fit(betas, targets), part.fit(betas, rows)
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_every_alternative_is_drawn_and_held_out_trials_take_the_first():
    # Each row pulls elsewhere: their mean is what a network learns, the first is what is judged.
    betas, targets = images(40, 2, dim=2)
    pulls = torch.tensor([[6.0, 0.0], [0.0, 6.0]])
    rows = targets[:, None] + pulls
    part = replace(QUICK, alternatives=True, mse=1.0, cosine=0.0, contrast=0.0, held_out=0.2)
    training = MapperTraining.begun(part, betas, rows, None)
    weights = training.run()
    found = part.predict(weights, betas, rows)[:, 0]
    middle = targets.mean(0) + 3
    assert (found.mean(0) - middle).abs().max() < 1.5
    held = training.held_out
    assert training.held[-1] > 5
    first = functional.mse_loss(found[held], rows[held, 0])
    assert min(training.held) == pytest.approx(float(first), rel=1e-4)


def test_images_are_held_out_with_all_their_trials():
    _, targets = images(20, 3)
    learned, held_out = split(targets[:, None], 0.15, seed=0)
    assert sorted([*learned.tolist(), *held_out.tolist()]) == list(range(60))
    known = {tuple(each) for each in targets[learned].tolist()}
    kept = {tuple(each) for each in targets[held_out].tolist()}
    assert len(kept) == 3
    assert not known & kept
    assert not torch.equal(split(targets[:, None], 0.15, seed=1)[1], held_out)


@pytest.mark.parametrize(
    ("count", "share", "held"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (9, 0.0, 0)]
)
def test_some_images_stay_on_both_sides_where_there_are_two(count, share, held):
    assert len(split(torch.arange(float(count))[:, None, None], share, seed=0)[1]) == held


def test_the_epoch_of_lowest_held_out_loss_gives_the_weights():
    betas, targets = images(30, 2)
    part = replace(QUICK, epochs=30, held_out=0.3)
    training = MapperTraining.begun(part, betas, targets[:, None], None)
    weights = training.run()
    best = int(weights["curve.held_out"].argmin())
    assert best < 29  # it overfits
    stopped = replace(part, epochs=best + 1).fit(betas, targets)
    for name, each in stopped.items():
        assert name.startswith("curve.") or torch.equal(each, weights[name])
    last = replace(part, held_out=0.0).fit(betas, targets)
    assert last["curve.held_out"].shape == (0,)


def test_patience_ends_training_that_many_epochs_after_the_best():
    betas, targets = images(30, 2)
    part = replace(QUICK, epochs=200, held_out=0.3, patience=3)
    held = part.fit(betas, targets)["curve.held_out"]
    assert len(held) < 200
    assert len(held) - 1 - int(held.argmin()) == 3


def test_the_rate_falls_in_steps_and_moments_stay():
    betas, targets = images(10, 1)
    part = replace(TINY, epochs=5, rate=0.1, decay=0.5, decay_every=2)
    training = MapperTraining.begun(part, betas, targets[:, None], None)
    rates = []
    while training.epoch < part.epochs:
        training.take_epoch(training.epoch / part.epochs)
        rates.append(training.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    steps = {int(each["step"]) for each in training.optimiser.state_dict()["state"].values()}
    assert steps == {5}  # nine trials make one batch


def test_one_step_is_adam_with_an_l2_penalty():
    """By hand: Adam's first step is the rate along the sign of gradient plus penalty."""
    betas, targets = images(6, 1)
    part = replace(TINY, epochs=1, batch=6, held_out=0.0, weight_decay=10.0, rate=1e-3)
    training = MapperTraining.begun(part, betas, targets[:, None], None)
    before = {name: each.clone() for name, each in training.network.named_parameters()}
    loss = training._loss(torch.arange(6), torch.zeros(6, dtype=torch.int64))
    loss.backward()
    slopes = {n: each.grad + 10 * before[n] for n, each in training.network.named_parameters()}
    training.run()
    for name, after in training.network.named_parameters():
        clear = slopes[name].abs() > 1e-3
        moved = (after - before[name])[clear]
        torch.testing.assert_close(moved, -1e-3 * slopes[name][clear].sign(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("kill_at", [1, 3, 6])
def test_a_killed_fit_goes_on_to_the_same_bits(kill_at):
    betas, targets = images(20, 3)
    rows = torch.stack([targets, targets.flip(1)], dim=1)
    part = replace(TINY, alternatives=True, decay_every=2)
    whole = part.fit(betas, rows)
    diary = Diary(kill_at)
    with pytest.raises(KeyboardInterrupt):
        part.fit(betas, rows, journal=diary)
    told: list[tuple[int, int]] = []
    resumed = part.fit(betas, rows, journal=diary, progress=lambda *said: told.append(said))
    assert diary.entries == part.epochs
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    steps = -(-51 // part.batch) * part.epochs  # 17 of 20 images are learned
    assert told[-1] == (steps, steps)
    assert len(told) == steps * (part.epochs - kill_at) // part.epochs + 1


def test_weights_load_into_the_network_of_the_paper_with_the_padding():
    given = example_trials(voxels=11)
    weights = replace(TINY, pad=20, sigmoid=True).fit(given.betas, given.feature)
    assert weights["pad"].tolist() == [4, 5]
    own = {n: each for n, each in weights.items() if n.startswith(("encoder.", "fc."))}
    network = MapperNetwork(MapperShape(20, 6, 1, 1, 4, 4, sigmoid=True))
    network.load_state_dict(own)
    with torch.no_grad():
        expected = network(functional.pad(given.new_betas, (4, 5)))
    found = replace(TINY, sigmoid=True, batch=2).predict(weights, given.new_betas, given.feature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert 0 < float(found.min()) < float(found.max()) < 1


@pytest.mark.parametrize("trials", [2, 3, 17])
def test_fewer_trials_than_a_batch_and_a_last_batch_of_one_are_trained_on(trials):
    betas, targets = images(trials, 1)
    weights = replace(TINY, held_out=0.0).fit(betas, targets)
    assert weights["curve.training"].isfinite().all()
    empty = TINY.predict(weights, betas[:0], targets)
    assert empty.shape == (0, 6)


def test_one_image_is_learned_without_held_out_trials():
    betas, _ = images(4, 2)
    weights = TINY.fit(betas, torch.ones(8, 6))
    assert weights["curve.held_out"].shape == (0,)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (replace(TINY, pad=11), r"mapper\.pad is 11, but 12 voxels"),
        (replace(TINY, mse=0.0, cosine=0.0, contrast=0.0), "nothing to train for"),
        (replace(TINY, rate=-1.0), r"mapper\.rate is -1\.0"),
    ],
)
def test_options_that_do_not_fit_are_refused(part, said):
    given = example_trials()
    with pytest.raises(UsageError, match=said):
        part.fit(given.betas, given.feature)


def test_data_that_cannot_be_learned_are_refused():
    given = example_trials()
    with pytest.raises(DataError, match=r"\(40, 90, 100\), 9000 units .* 1 to 8192"):
        TINY.fit(given.betas, torch.zeros(40, 90, 100))
    broken = given.feature.clone()
    broken[3, 2] = float("nan")
    with pytest.raises(DataError, match="not finite in 1 of its 6 targets"):
        TINY.fit(given.betas, broken)
    with pytest.raises(DataError, match=r"loss is (nan|inf) in epoch 1; lower mapper\.rate"):
        replace(TINY, rate=1e30).fit(given.betas, given.feature)


def test_gradients_may_be_switched_off_around_the_fit():
    given = example_trials()
    whole = TINY.fit(given.betas, given.feature)
    with torch.no_grad():
        again = TINY.fit(given.betas, given.feature)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
