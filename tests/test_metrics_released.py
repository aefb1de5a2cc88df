"""Files in the layouts of the published evaluation networks, converted, loaded and read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.metrics.networks import released
from brainkit.metrics.networks.released import CHECKPOINTS, checkpoint, release_of
from brainkit.metrics.networks.torchvision import load_classifier, load_inception, load_nodes
from brainkit.weights import RemoteFile
from brainkit.weights.conversion import conversions
from brainkit.weights.convert import ReleasedFiles, convert
from brainkit.weights.writing import write

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)


def pixels(side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return a network weights with which no layer dies out, and batch norms that do something."""
    drawn = torch.Generator().manual_seed(seed)
    for name, each in [*network.named_parameters(), *network.named_buffers()]:
        with torch.no_grad():
            if name.endswith(("running_mean", "bias")):
                each.normal_(0, 0.1, generator=drawn)
            elif each.ndim > 1:
                each.normal_(0, (2 / each[0].numel()) ** 0.5, generator=drawn)
            elif each.is_floating_point():
                each.uniform_(0.7, 1.3, generator=drawn)
    return network.eval()


def convert_here(name: str, file: Path, store: Path, config: dict | None = None):
    """Convert without a record."""
    with ExitStack() as stack:
        (found,) = conversions([release_of(checkpoint(name))], [file], config, stack)
        (store / name).mkdir(parents=True)
        write(found, store / name)
    return found


def loaded(name: str, network: nn.Module, tmp_path: Path, **saving):
    """Publish a network under its usual name, convert it and load it at its nodes."""
    (file,) = release_of(checkpoint(name)).origins[0].files
    path = tmp_path / file.path
    torch.save(saving.pop("state", network.state_dict()), path, **saving)
    found = convert_here(name, path, tmp_path / "store")
    assert found.differences == ()
    path.unlink()
    read = load_nodes(CheckpointStore(tmp_path / "store"), checkpoint(name))
    return found, read


def compare(read, network: nn.Module, nodes: list[str], side: int) -> None:
    x = pixels(side)
    with torch.no_grad():
        truth = list(create_feature_extractor(network, nodes)(x).values())
    found = read(x)
    for ours, theirs in zip(found, truth, strict=True):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs.flatten(1), atol=1e-5, rtol=1e-5)
        assert ours.dtype == torch.float32


@pytest.mark.parametrize("side", [224, 256])
def test_alexnet_gives_torchvisions_second_and_fifth_rectified_convolution(tmp_path, side):
    network = lively(models.alexnet(weights=None))
    found, read = loaded("alexnet", network, tmp_path, _use_new_zipfile_serialization=side > 224)
    assert found.size < 11e6  # its classifier, 234 MB, is read by nobody
    compare(read, network, ["features.4", "features.11"], side)
    assert [each.shape[1] for each in read(pixels(side))] == {
        224: [139968, 43264],
        256: [184512, 57600],
    }[side]


def test_inception_exchanges_colour_scales_as_with_published_weights(tmp_path):
    made = {"weights": None, "aux_logits": True, "init_weights": False}
    network = lively(models.inception_v3(transform_input=True, **made))
    found, read = loaded("inception-v3", network, tmp_path)
    assert not any(name.startswith(("fc", "AuxLogits")) for name in found.entries)
    compare(read, network, ["avgpool"], 342)
    untransformed = models.inception_v3(transform_input=False, **made).eval()
    untransformed.load_state_dict(network.state_dict())
    with torch.no_grad():
        other = create_feature_extractor(untransformed, ["avgpool"])(pixels(342))["avgpool"]
    assert (other.flatten(1) - read(pixels(342))[0]).abs().max() > 1e-2


@pytest.mark.parametrize(("variant", "side"), [("v1", 224), ("v2", 255)])
def test_efficientnet_gives_torchvisions_pooled_features(tmp_path, variant, side):
    network = lively(models.efficientnet_b1(weights=None))
    _, read = loaded(f"efficientnet-b1-{variant}", network, tmp_path)
    compare(read, network, ["avgpool"], side)


def published_swav(network: nn.Module) -> dict[str, torch.Tensor]:
    """Name tensors as SwAV's training saved them: wrapped, with a head and without `fc`."""
    above = {"projection_head.0.weight": (2048, 2048), "projection_head.1.running_mean": (2048,),
             "projection_head.3.weight": (128, 2048), "prototypes.weight": (3000, 128)}  # fmt: skip
    state = {n: t for n, t in network.state_dict().items() if not n.startswith("fc.")}
    state |= {name: torch.zeros(shape) for name, shape in above.items()}
    return {f"module.{name}": each for name, each in state.items()}


def test_swav_loads_into_torchvisions_resnet_with_only_fc_missing(tmp_path):
    network = lively(models.resnet50(weights=None))
    found, read = loaded("swav-resnet50", network, tmp_path, state=published_swav(network))
    lacks = network.load_state_dict(load_file(tmp_path / "store/swav-resnet50/model.safetensors"),
                                    strict=False)  # fmt: skip
    counters = {n for n in network.state_dict() if n.endswith("num_batches_tracked")}
    assert set(lacks.missing_keys) - counters == {"fc.weight", "fc.bias"}
    assert lacks.unexpected_keys == []
    assert len(found.entries) == 265
    compare(read, network, ["avgpool"], 224)


def test_all_differences_of_a_wrong_file_are_listed(tmp_path):
    state = models.efficientnet_b0(weights=None).state_dict()
    torch.save(state, tmp_path / "efficientnet_b1-c27df63c.pth")
    with pytest.raises(CheckpointError, match=r"efficientnet-b1-v2 has 12\d missing \(features"):
        convert_here("efficientnet-b1-v2", tmp_path / "efficientnet_b1-c27df63c.pth", tmp_path)
    assert not (tmp_path / "efficientnet-b1-v2").exists()


def test_only_the_files_hash_tells_the_variants_of_efficientnet_apart(tmp_path):
    first, second = (release_of(checkpoint(f"efficientnet-b1-v{i}")) for i in (1, 2))
    assert first.shapes(first.config) == second.shapes(second.config)
    digits = [each.origins[0].files[0].sha256 for each in (first, second)]
    assert digits == ["bac287d4", "c27df63c"]
    folder = tmp_path / "efficientnet-b1-v2"
    folder.mkdir()
    state = models.efficientnet_b1(weights=None).state_dict()
    save_file(
        {name: each.contiguous() for name, each in state.items()}, folder / "model.safetensors"
    )
    facts = {"size": 1, "sha256": "bac287d4" + "0" * 56}
    record = {"origin": "by hand", "sources": {"mine.pth": facts}, "files": {}}
    (folder / "source.json").write_text(json.dumps(record))
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match="published file of 'efficientnet-b1-v1'"):
        load_nodes(store, checkpoint("efficientnet-b1-v2"))
    (folder / "source.json").unlink()  # placed by hand: nothing is known of its origin
    load_nodes(store, checkpoint("efficientnet-b1-v2"))


def test_the_other_variants_published_file_is_refused(tmp_path, monkeypatch):
    state = models.efficientnet_b1(weights=None).state_dict()
    file = tmp_path / "mine.pth"
    torch.save(state, file)
    name = "efficientnet-b1-v2"
    convert_here(name, file, tmp_path / "store")  # neither's hash: nothing is known
    published = release_of(checkpoint("efficientnet-b1-v1"))
    digits = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    files = (RemoteFile("efficientnet_b1_rwightman-x.pth", sha256=digits),)
    origin = dataclasses.replace(published.origins[0], files=files)
    fake = dataclasses.replace(published, origins=(origin,))
    others = [each for each in released._RELEASES if each != published]
    monkeypatch.setattr(released, "_RELEASES", (fake, *others))
    with ExitStack() as stack:
        (found,) = conversions([release_of(checkpoint(name))], [file], None, stack)
        with pytest.raises(CheckpointError, match="is the published file of 'efficientnet-b1-v1'"):
            released.EFFICIENTNET_B1_V2.remarks(found, tmp_path, stack)
        assert not fake.remarks(dataclasses.replace(found, checkpoint=fake.name), tmp_path, stack)


def test_weights_placed_by_hand_may_have_their_head_but_not_anothers_layers(tmp_path):
    folder = tmp_path / "efficientnet-b1-v1"
    folder.mkdir()
    network = lively(models.efficientnet_b1(weights=None))
    state = {n: t for n, t in network.state_dict().items() if not n.endswith("batches_tracked")}
    save_file(state, folder / "model.safetensors")
    store = CheckpointStore(tmp_path)
    compare(load_nodes(store, checkpoint("efficientnet-b1-v1")), network, ["avgpool"], 224)
    other = {n: t for n, t in state.items() if n != "features.0.0.weight"}
    save_file(other | {"conv.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks features\.0\.0\.weight, it has besides conv"):
        load_nodes(store, checkpoint("efficientnet-b1-v1"))
    save_file(state | {"features.0.0.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"in another shape features\.0\.0"):
        load_nodes(store, checkpoint("efficientnet-b1-v1"))


def test_fids_inception_is_read_from_its_published_layout(tmp_path):
    from brainkit.metrics.networks.inception import Inception

    network = lively(Inception())
    above = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    file = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict() | above, file, _use_new_zipfile_serialization=False)
    found = convert_here("inception-2015", file, tmp_path / "store")
    assert len(found.entries) == 94 * 5  # 94 convolutions, each with a batch norm of four
    given = load_inception(CheckpointStore(tmp_path / "store"))(PICTURES)
    with torch.no_grad():
        truth = network(torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(given, truth.numpy(), atol=1e-5)


def test_a_classifier_of_the_users_choice_comes_with_its_configuration(tmp_path):
    network = lively(models.mobilenet_v2(weights=None))
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    config = {"architecture": "mobilenet_v2", "side": 64}
    convert_here("imagenet-classifier", tmp_path / "mine.pth", tmp_path / "store", config)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = load_classifier(CheckpointStore(tmp_path / "store"))(pictures)
    usual = models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=64)
    with torch.no_grad():
        truth = network(usual(torch.from_numpy(pictures).permute(0, 3, 1, 2)))
    np.testing.assert_allclose(found, truth.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architecture": "resnet"}, "expected 'architecture', torchvision's name, 'side'"),
        ({"architecture": "resnet1", "side": 9}, "torchvision makes no network 'resnet1'"),
        ({"architecture": "alexnet", "side": 9, "options": {"x": 1}}, "unexpected keyword"),
    ],
)
def test_a_wrong_classifiers_configuration_is_named(tmp_path, config, said):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=said):
        convert_here("imagenet-classifier", tmp_path / "mine.pth", tmp_path, config)


def test_the_published_classifiers_old_names_are_understood():
    """Its file is older than torchvision's names for the two halves of a transformer's block."""
    release = released.CLASSIFIER
    shapes = release.shapes(release.config)
    assert sum(np.prod(shape) for shape in shapes.values()) == 633_470_440
    old = {n.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")
           for n in shapes}  # fmt: skip
    assert len(old & set(shapes)) == len(shapes) - 32 * 4
    for published in (old, set(shapes)):
        pieces = release.layouts[0].pieces(release.config, (published,))
        assert {piece.name for piece in pieces.values()} == published
        assert set(pieces) == set(shapes)


def test_file_names_and_addresses_are_those_torchvision_has():
    weights = {
        "alexnet": models.AlexNet_Weights.IMAGENET1K_V1,
        "inception-v3": models.Inception_V3_Weights.IMAGENET1K_V1,
        "efficientnet-b1-v1": models.EfficientNet_B1_Weights.IMAGENET1K_V1,
        "efficientnet-b1-v2": models.EfficientNet_B1_Weights.IMAGENET1K_V2,
        "imagenet-classifier": models.ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1,
    }
    for name, entry in weights.items():
        origin = release_of(checkpoint(name)).origins[0]
        (file,) = origin.files
        assert f"{origin.url}/{file.path}" == entry.url
        assert file.path.endswith(f"-{file.sha256[:8]}.pth")


def test_every_checkpoint_names_its_release_and_licences_are_told():
    for each in CHECKPOINTS:
        module, _, constant = each.release.partition(":")
        assert module == released.__name__
        assert getattr(released, constant).name == each.name
    forbidding = {e.name for e in CHECKPOINTS if "BY-NC" in release_of(e).origins[0].licence}
    assert forbidding == {"swav-resnet50", "imagenet-classifier"}


def test_they_come_into_the_store_too(tmp_path):
    network = lively(models.efficientnet_b1(weights=None))
    file = tmp_path / "efficientnet_b1-c27df63c.pth"
    torch.save(network.state_dict(), file)
    reference = checkpoint("efficientnet-b1-v2").release
    (done,) = convert([reference], ReleasedFiles((file,)), tmp_path / "store")
    assert done.checkpoint == "efficientnet-b1-v2"
    read = load_nodes(CheckpointStore(tmp_path / "store"), checkpoint(done.checkpoint))
    compare(read, network, ["avgpool"], 224)
