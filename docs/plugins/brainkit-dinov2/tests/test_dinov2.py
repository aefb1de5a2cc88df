import json

import brainkit_dinov2
import pytest
import torch
from brainkit_dinov2 import DINOV2, DINOV2_SMALL, Dinov2
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

from brainkit.checkpoints import CheckpointStore
from brainkit.testing import checks, converted, example_stimuli
from brainkit.weights.random import RandomStore

TINY = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 56,
    "patch_size": 14,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder like the published one, of a tiny network with random weights."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    network = Dinov2Model(Dinov2Config(**TINY))
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY))
    return folder, network.eval()


@pytest.fixture(scope="module")
def store(published, tmp_path_factory):
    """A store with the converted network, as `brainkit fetch dinov2-small --from` makes one."""
    root = tmp_path_factory.mktemp("store")
    (conversion,) = converted([DINOV2_SMALL], published[0], root, TINY)
    assert conversion.checkpoint == "dinov2-small"
    return CheckpointStore(root)


NAMES = [check.name for check in checks.for_encoder(Dinov2(), None)]


@pytest.mark.parametrize("part", [Dinov2(), Dinov2(tokens=True)], ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_promises_of_an_encoder(part, name, store):
    (check,) = [each for each in checks.for_encoder(part, store) if each.name == name]
    check()


def test_what_was_converted_gives_what_the_published_network_gives(published, store):
    stimuli = example_stimuli()
    with torch.no_grad():
        expected = published[1](brainkit_dinov2._scaled(torch.as_tensor(stimuli.images)))
        found = Dinov2(tokens=True).load(store)(stimuli)
    assert torch.allclose(found, expected.last_hidden_state, atol=1e-5)


def test_random_weights_have_the_published_sizes(tmp_path):
    store = RandomStore(tmp_path)
    assert store.has(DINOV2)
    with torch.no_grad():
        feature = Dinov2().load(store)(example_stimuli(1))
    assert feature.shape == (1, 384)
    assert torch.isfinite(feature).all()


@pytest.mark.parametrize("check", checks.for_checkpoint(DINOV2), ids=str)
def test_its_weights_are_declared_as_they_have_to_be(check):
    check()


@pytest.mark.parametrize("check", checks.check_plugin(brainkit_dinov2), ids=str)
def test_the_plugin_keeps_its_promises(check):
    check()
