"""Seeds are the numbers that finished runs were made with."""

import torch

from brainkit.run.shared import image_seed
from brainkit.samplers.noise import seeds_of
from brainkit.seeds import seed_of


def test_seeds_of_uses_are_those_of_finished_runs():
    # Computed by the functions that each derived them by hand, before there was one.
    assert seed_of(0, 12, "image") == image_seed(0, 12, "image") == 1824495211915451710
    assert image_seed(7, 72999, "caption", 3) == 7774120054377830686
    assert seed_of(5, 2) == 8750623105435456515
    assert seed_of(3, "walk", 2) == 8039124108682005340
    assert seed_of("12 3") == 2580196102580467101
    assert seed_of("a.weight") == 732117591371154937
    assert seed_of(torch.zeros(2, 3).numpy().tobytes()) == 8010594611326568526
    assert seeds_of(torch.zeros(1, 1)) == [7897014127706546159]


def test_a_seed_is_what_torch_takes_and_no_two_uses_share_one():
    seeds = [seed_of(seed, use) for seed in range(50) for use in ("image", "caption")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert {torch.Generator().manual_seed(seed).initial_seed() for seed in seeds} == set(seeds)
