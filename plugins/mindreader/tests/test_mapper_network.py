"""The mapper's network and losses give the numbers of the published code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from brainkit.errors import DataError, UsageError
from brainkit_mindreader.mapper import network as mapper_network
from brainkit_mindreader.mapper.losses import MapperLoss
from brainkit_mindreader.mapper.network import MapperNetwork, MapperShape, padding

GOLDEN = Path(__file__).parent / "golden" / "mapper"
FORWARD = {"rtol": 1e-5, "atol": 2e-5}


def shape_of(config: dict) -> MapperShape:
    return MapperShape(
        length=config["signal_len"],
        dim=config.get("num_tokens") or config["out_dim"],
        layers=config["num_layers"],
        blocks=config["num_resnet_blocks"],
        hidden=config["hidden_dim"],
        fc=config["fc_hdim"],
        sigmoid=config["last_activation"],
    )


def golden_network(name: str) -> MapperNetwork:
    network = MapperNetwork(shape_of(json.loads((GOLDEN / "mapper_config.json").read_text())[name]))
    network.load_state_dict(load_file(GOLDEN / f"mapper_{name}_state.safetensors"))
    return network


@pytest.mark.parametrize("name", ["a", "b"])
def test_embeddings_and_maps_are_those_of_the_published_network(name):
    network, golden = golden_network(name), load_file(GOLDEN / f"mapper_{name}_io.safetensors")
    with torch.no_grad():
        found, mapped = network(golden["fmri"]), network.mapped(golden["fmri"])
        single = network(golden["fmri"][0])
    torch.testing.assert_close(found, golden["output"], **FORWARD)
    torch.testing.assert_close(mapped, golden["encoder_out"], **FORWARD)
    torch.testing.assert_close(single, golden["output_single"], **FORWARD)


def test_making_the_map_piece_by_piece_changes_neither_embeddings_nor_gradients(monkeypatch):
    golden = load_file(GOLDEN / "mapper_a_io.safetensors")
    found = []
    for size in (2**24, 1, 2 * 4 * 16 * 48):  # all five trials, one, or two at a time
        monkeypatch.setitem(mapper_network.MAP_BYTES, "cpu", size)
        network = golden_network("a")
        embeddings = network(golden["fmri"])
        embeddings.square().sum().backward()
        gradients = {name: each.grad for name, each in network.named_parameters()}
        assert all(each is not None for each in gradients.values())
        found.append({"embeddings": embeddings.detach(), **gradients})
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("subject", ["01", "05"])
def test_full_size_networks_have_the_published_names_and_shapes(subject):
    manifest = json.loads((GOLDEN / f"manifest_subj{subject}.json").read_text())
    shape = shape_of(manifest["config"])
    with torch.device("meta"):
        state = MapperNetwork(shape).state_dict()
    assert {name: list(each.shape) for name, each in state.items()} == manifest["shapes"]
    assert sum(each.numel() for each in state.values()) == manifest["n_parameters"]
    assert MapperShape.of(state) == shape


@pytest.mark.parametrize("name", ["a", "b"])
def test_sizes_are_read_off_the_weights(name):
    shape = golden_network(name).shape
    state = load_file(GOLDEN / f"mapper_{name}_state.safetensors")
    assert MapperShape.of(state, shape.sigmoid) == shape


def test_weights_of_something_else_are_refused_in_one_sentence():
    with pytest.raises(DataError, match=r"encoder\.0\.weight.*only alpha"):
        MapperShape.of({"alpha": torch.ones(1)})


def test_zeros_are_put_on_both_sides_as_published():
    golden = load_file(GOLDEN / "fmri_padding.safetensors")
    pad = padding(13, layers=2, length=20)
    assert pad == (int(golden["left"]), int(golden["right"]))
    torch.testing.assert_close(functional.pad(golden["voxels"], pad), golden["padded"])


@pytest.mark.parametrize(
    ("voxels", "layers", "length", "expected"),
    [
        (15724, 1, 15744, (10, 10)),
        (13039, 1, 13040, (0, 1)),
        (15724, 1, 0, (0, 0)),
        (13039, 1, 0, (0, 1)),
        (13, 3, 0, (1, 2)),
        (5, 0, 0, (0, 0)),
    ],
)
def test_published_lengths_are_reached_and_the_smallest_is_the_default(
    voxels, layers, length, expected
):
    assert padding(voxels, layers, length) == expected


@pytest.mark.parametrize("length", [12, 18])
def test_lengths_that_do_not_fit_are_refused(length):
    with pytest.raises(UsageError, match=rf"mapper\.pad is {length}, but 13 .* multiple of 4"):
        padding(13, layers=2, length=length)


def test_betas_of_another_length_are_refused():
    with pytest.raises(DataError, match=r"\(2, 95\).* reads 96 numbers"):
        golden_network("a")(torch.zeros(2, 95))


def losses() -> dict[str, MapperLoss]:
    """Return the loss that each golden name stands for."""
    made = {"mse": MapperLoss(1, 0, 0), "cos": MapperLoss(0, 1, 0)}
    made["contrastive.t0"] = MapperLoss(0, 0, 1, temperature=0)
    for temperature in (0.1, 0.5):
        for lam in (0.0, 0.5, 0.6, 1.0):
            made[f"contrastive.t{temperature}.lam{lam}"] = MapperLoss(0, 0, 1, temperature, lam)
    for share in (0.5, 0.6):
        made[f"mse_cos.cw{share}"] = MapperLoss(1 - share, share, 0)
    for temperature, share, part in ((0.2, 0.3, 0.8), (0.5, 0.5, 0.5), (0.5, 0.6, 0.5)):
        near = (1 - part) * (1 - share), (1 - part) * share
        name = f"mse_cos_contrastive.t{temperature}.cw{share}.p{part}"
        made[name] = MapperLoss(*near, part, temperature)
    return made


@pytest.mark.parametrize("name", losses())
def test_losses_and_their_gradients_are_the_published_ones(name):
    golden = load_file(GOLDEN / "mapper_losses.safetensors")
    predicted = golden["pred"].requires_grad_()
    loss = losses()[name](predicted, golden["target"])
    loss.backward()
    expected = golden[f"grad.{name}"]
    torch.testing.assert_close(loss, golden[f"loss.{name}"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        predicted.grad, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max())
    )


def test_the_default_weights_are_the_papers():
    golden = load_file(GOLDEN / "mapper_losses.safetensors")
    loss = MapperLoss()(golden["pred"], golden["target"])
    expected = golden["loss.mse_cos_contrastive.t0.5.cw0.6.p0.5"]
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-7)


def test_the_contrastive_term_of_unrelated_rows_is_the_logarithm_of_the_batch():
    same = torch.ones(7, 3)
    assert float(MapperLoss(0, 0, 1)(same, same)) == pytest.approx(math.log(7), rel=1e-6)
    assert float(MapperLoss(0, 0, 1)(same[:1], same[:1])) == 0


def test_thousands_of_blocks_are_refused_before_a_network_is_made():
    names = {f"encoder.{number}.net.0.weight": torch.ones(1, 1) for number in range(60_000)}
    with pytest.raises(DataError, match="at most 256 residual blocks, but there are 60000"):
        MapperShape.of({**names, "fc.1.weight": torch.ones(1, 1)})
