"""Networks that scores read: FID's Inception, classifiers, and runs with and without weights."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from brainkit import metrics
from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.metrics.networks import torchvision as networks
from brainkit.metrics.networks.inception import Inception, resized_as_before
from brainkit.metrics.networks.torchvision import load_classifier, load_inception
from brainkit.miniature import referee
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, readers, run
from brainkit.run.config import RunConfig

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
FRECHET, KERNEL = "Fréchet distance, Inception 2015", "kernel distance, Inception 2015"


def varied_inception() -> Inception:
    torch.manual_seed(0)
    network = Inception().eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> CheckpointStore:
    """A store with both networks, of random weights."""
    from torchvision.models import get_model

    root = tmp_path_factory.mktemp("store")
    torch.manual_seed(1)
    small = get_model("squeezenet1_1", weights=None, num_classes=1000)
    config = {"architecture": "squeezenet1_1", "side": 64}
    for name, network, facts in (
        ("inception-2015", varied_inception(), {}),
        ("imagenet-classifier", small, config),
    ):
        (root / name).mkdir()
        save_file(network.state_dict(), root / name / "model.safetensors")
        (root / name / "config.json").write_text(json.dumps(facts))
    return CheckpointStore(root)


def test_the_inception_is_that_of_torch_fidelity(tmp_path):
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    network = varied_inception()
    above = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(network.state_dict() | above, tmp_path / "random.pth")
    theirs = fidelity.FeatureExtractorInceptionV3(
        "toy", ["2048"], feature_extractor_weights_path=str(tmp_path / "random.pth")
    )
    for side in (40, 425):
        images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
        with torch.no_grad():
            torch.testing.assert_close(
                network(images.float()), theirs(images)[0], atol=1e-5, rtol=1e-4
            )


def test_resizing_takes_pixels_where_tensorflow_1_did():
    image = torch.rand(1, 1, 5, 7)
    found = resized_as_before(image, 4)[0, 0]
    for row in range(4):
        for column in range(4):
            y, x = row * 5 / 4, column * 7 / 4
            top, left = int(y), int(x)
            low, right = min(top + 1, 4), min(left + 1, 6)
            corners = image[0, 0, [top, top, low, low], [left, right, left, right]]
            dy, dx = y - top, x - left
            weights = [(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx]
            assert found[row, column].item() == pytest.approx(
                float(corners @ torch.tensor(weights)), abs=1e-6
            )


def test_borders_are_averaged_without_their_padding():
    block = Inception().Mixed_5b
    ones = torch.ones(1, 192, 6, 6)
    assert torch.equal(block.pool(ones), ones)
    assert functional.avg_pool2d(ones, 3, 1, 1).min() < 0.5
    rising = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Inception().Mixed_7c.pool(rising)[0, 0, 0, 0] == 5


def test_the_inception_loads_from_the_store_and_reads_in_batches(store, monkeypatch):
    monkeypatch.setattr(networks, "AT_ONCE", 2)
    found = load_inception(store)(PICTURES)
    pixels = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float()
    truth = varied_inception()(pixels).detach().numpy()
    np.testing.assert_allclose(found, truth, atol=1e-5)


def test_another_networks_weights_are_refused(store, tmp_path):
    for name in ("inception-2015", "imagenet-classifier"):
        (tmp_path / name).mkdir()
        save_file({"conv.weight": torch.zeros(2)}, tmp_path / name / "model.safetensors")
    (tmp_path / "imagenet-classifier" / "config.json").write_text('{"side": 64}')
    other = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match="is not FID's Inception"):
        load_inception(other)
    with pytest.raises(CheckpointError, match=r"make a classifier \('architecture'"):
        load_classifier(other)
    facts = '{"architecture": "squeezenet1_1", "side": 64}'
    (tmp_path / "imagenet-classifier" / "config.json").write_text(facts)
    with pytest.raises(CheckpointError, match="does not make a classifier"):
        load_classifier(other)


def test_the_referees_features_are_what_its_verdicts_are_read_from():
    pictures = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    head = referee.load_referee().head
    with torch.no_grad():
        truth = head(torch.from_numpy(referee.features(pictures))).numpy()
    np.testing.assert_allclose(referee.verdicts(pictures), truth, atol=1e-5)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        whole = referee.load_referee()(pixels).numpy()
    np.testing.assert_allclose(referee.kind_verdicts(pictures), whole[:, :12], atol=1e-4)


@pytest.fixture
def do(nsd, toy, tmp_path):
    """Run the toy with both groups on a download; give its folder."""
    method = dataclasses.replace(toy.TOY, scores=("fid", "n_way"), samples=2)
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])

    def doing(store: CheckpointStore):
        settings = {"images": 4, "ceiling": False}
        config = RunConfig(method="toy", nsd=nsd, work=tmp_path, **settings)
        prepared = prepare(config, registry, lambda line: None)
        if store.miniature:
            prepared = dataclasses.replace(prepared, config=dataclasses.replace(config, nsd=None))
        return run(dataclasses.replace(prepared, method=method, store=store)).parent

    return doing


def distances(*features, network):
    """Fréchet and kernel distance of two sets of features."""
    both = metrics.frechet_distance, metrics.kernel_distance
    return [distance(*features, network=network) for distance in both]


def scores(folder):
    found = json.loads((folder / "metrics.json").read_text())["scores"]
    return {each["name"]: each for each in found}


def test_a_run_without_weights_says_what_is_missing_and_scores_the_rest(do, tmp_path):
    folder = do(CheckpointStore(tmp_path / "empty"))
    found = scores(folder)
    names = [FRECHET, KERNEL, *(f"{n}-way top-1, ImageNet classifier" for n in (2, 10, 50, 100))]
    for name in names:
        assert found[name]["value"] is None
        assert found[name]["notes"][0].startswith(f"not computed ({tmp_path / 'empty'}")
        assert "is missing, run `brainkit fetch i" in found[name]["notes"][0]
        assert found[name]["exchange"] is None
    assert found["SSIM"]["value"] is not None
    assert "not computed (" in (folder / "report.html").read_text()


def test_on_the_miniature_the_referee_judges(do, nsd, tmp_path):
    from PIL import Image

    from brainkit.nsd import load_stimuli

    small = CheckpointStore(tmp_path, miniature=True)
    folder = do(small)
    found = scores(folder)
    first = sorted((folder / "images").glob("nsd?????.png"))
    second = [path.with_stem(f"{path.stem}-2") for path in first]
    shown = load_stimuli(nsd, [int(path.stem[3:]) for path in first])
    recons = [np.stack([np.asarray(Image.open(p)) for p in each]) for each in (first, second)]
    name = "referee (miniature)"
    seen = referee.features(shown)
    truth = [distances(seen, referee.features(each), network=name) for each in recons]
    for sample in zip(*truth, strict=True):
        value = np.mean([each.mean for each in sample])
        assert found[sample[0].name]["value"] == pytest.approx(value, rel=1e-5)
    classes = referee.kind_verdicts(shown).argmax(axis=1)
    logits = [referee.kind_verdicts(each) for each in recons]
    right = [metrics.n_way_top_k(each, classes, n=5, k=1, network=name).mean for each in logits]
    assert found[f"5-way top-1, {name}"]["value"] == pytest.approx(np.mean(right))


@pytest.mark.parametrize(("name", "count"), [("fid", 2), ("n_way", 3)])
def test_pictures_that_the_referee_cannot_read_are_said_to_be(name, count):
    group, on_miniature = metrics.GROUPS[name], SimpleNamespace(networks="miniature")
    small = np.zeros((2, 32, 32, 3), np.uint8)
    absent = group.scores(readers.seen(on_miniature, group.reads, small, [small]))
    assert len(absent) == count
    for score in absent:
        assert score.name.endswith(", referee (miniature)")
        assert score.notes == (
            "not computed (the referee reads pictures of 64 pixels, these have 32 x 32)",
        )


def test_anothers_weights_do_not_keep_a_run_from_its_other_scores(do, tmp_path):
    other = tmp_path / "other"
    (other / "inception-2015").mkdir(parents=True)
    save_file({"conv.weight": torch.zeros(2)}, other / "inception-2015" / "model.safetensors")
    found = scores(do(CheckpointStore(other)))
    assert found[FRECHET]["value"] is None
    assert "is not FID's Inception (lacks" in found[FRECHET]["notes"][0]
    assert found["SSIM"]["value"] is not None


def test_a_run_scores_what_the_networks_in_the_store_see(do, nsd, store):
    from PIL import Image

    from brainkit.nsd import load_stimuli

    folder = do(CheckpointStore(store.root / "none"))
    assert scores(folder)[FRECHET]["value"] is None
    found = scores(do(store))
    first = sorted((folder / "images").glob("nsd?????.png"))
    second = [path.with_stem(f"{path.stem}-2") for path in first]
    shown = load_stimuli(nsd, [int(path.stem[3:]) for path in first])
    recons = [np.stack([np.asarray(Image.open(p)) for p in each]) for each in (first, second)]
    read = load_inception(store)
    seen = read(shown)
    truth = [[each.mean for each in distances(seen, read(each), network="")] for each in recons]
    values = [found[name]["value"] for name in (FRECHET, KERNEL)]
    assert values == pytest.approx(np.mean(truth, axis=0), rel=1e-3)
    assert found[FRECHET]["exchange"] is None
    assert "n = 4 stimuli and 4 reconstructions" in found[FRECHET]["notes"][0]
    assert "mean over 2 samples of each image" in found[KERNEL]["notes"]
    assert found["50-way top-1, squeezenet1_1"]["exchange"] is not None
