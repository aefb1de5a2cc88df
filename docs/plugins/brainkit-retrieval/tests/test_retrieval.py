from pathlib import Path

import brainkit_retrieval
import numpy as np
import pytest
import torch
from brainkit_retrieval import RETRIEVAL, Nearest, Shown

from brainkit.checkpoints import CheckpointStore
from brainkit.data import TrainingRows
from brainkit.testing import checks, example_stimuli

STORE = CheckpointStore(Path("no-weights"), miniature=True)
IDS = np.array([3, 5, 9], np.int32)


def stimuli(image_ids):
    return example_stimuli(len(image_ids))


TRAINING = TrainingRows(IDS, {"clip_image": torch.eye(3).half()}, stimuli)


@pytest.mark.parametrize("check", checks.for_method(RETRIEVAL, STORE), ids=str)
def test_it_keeps_the_promises_of_a_method_and_makes_a_run(check):
    check()


@pytest.mark.parametrize(
    "check", checks.for_conditioner(Nearest(), STORE, {"clip_image": torch.eye(4)}), ids=str
)
def test_the_conditioner_keeps_its_promises(check):
    check()


@pytest.mark.parametrize(
    "check", checks.for_decoder(Shown(), STORE, torch.tensor([[0.0], [7.0], [2.0]])), ids=str
)
def test_the_decoder_keeps_its_promises(check):
    check()


@pytest.mark.parametrize(("rank", "ids"), [(1, [5, 3]), (2, [9, 5]), (9, [3, 9])])
def test_the_nearest_is_that_of_the_largest_cosine(rank, ids):
    predicted = torch.tensor([[0.0, 5.0, 4.0], [0.3, 0.2, 0.1]])
    prepare = Nearest(rank=rank).load(STORE, TRAINING)
    condition = prepare({"clip_image": predicted})["image"]
    assert condition.denoise(condition.start, condition.sigmas[0]).flatten().tolist() == ids


@pytest.mark.parametrize("check", checks.check_plugin(brainkit_retrieval), ids=str)
def test_the_plugin_keeps_its_promises(check):
    check()
