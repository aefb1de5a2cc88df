"""A network around its weights: exact, frozen, and with an error that stays readable."""

import pytest
import torch
from torch import nn

from brainkit.errors import CheckpointError
from brainkit.networks.assemble import assemble, frozen, load_strictly, manifest


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 3) for _ in range(8))
        self.register_buffer("position_ids", torch.arange(4)[None], persistent=False)


def weights() -> dict[str, torch.Tensor]:
    return {name: torch.rand(shape) for name, shape in manifest(Net).items()}


def test_a_manifest_is_the_state_without_numbers():
    assert manifest(Net) == {n: tuple(t.shape) for n, t in Net().state_dict().items()}


def test_an_assembled_network_holds_the_tensors_themselves_and_knows_its_places():
    given = weights()
    network = assemble(Net, given, "net")
    held = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert held == {tensor.data_ptr() for tensor in given.values()}
    assert network.position_ids.tolist() == [[0, 1, 2, 3]]


def test_a_frozen_network_predicts_and_lets_gradients_through():
    network = frozen(nn.Sequential(nn.Linear(2, 1), nn.Dropout()))
    x = torch.ones(1, 2, requires_grad=True)
    network(x).sum().backward()
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    torch.testing.assert_close(x.grad, network[0].weight.data)


def test_differences_are_named_five_of_a_kind_and_counted():
    given = {name.replace("layers", "blocks"): tensor for name, tensor in weights().items()}
    with pytest.raises(CheckpointError) as caught:
        load_strictly(Net(), given, "net")
    assert str(caught.value) == (
        "checkpoint 'net' does not fit its network: it lacks layers.0.bias, layers.0.weight, "
        "layers.1.bias, layers.1.weight, layers.2.bias and 11 more, it has besides blocks.0.bias, "
        "blocks.0.weight, blocks.1.bias, blocks.1.weight, blocks.2.bias and 11 more; delete its "
        "folder and run `brainkit fetch net`"
    )


def test_a_misshapen_tensor_is_told_with_both_shapes():
    given = weights() | {"layers.3.bias": torch.rand(5)}
    with pytest.raises(CheckpointError, match=r"layers\.3\.bias \(5,\) instead of \(3,\)"):
        assemble(Net, given, "net")
