"""The eight scores of papers on NSD: preparation by profile, blocks, names, and in a run."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms
from torchvision.transforms import v2

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError, DataError
from brainkit.metrics import (
    correlation_distance,
    correlation_matrix,
    standard_scores,
    two_way_identification,
)
from brainkit.metrics.networks.released import checkpoint, headless
from brainkit.metrics.networks.torchvision import load_clip, load_nodes
from brainkit.metrics.profiles import CLIP, IMAGENET, PROFILES
from brainkit.metrics.standard import at_nodes, compared, low_level_scores, similarities
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig

FIRST, SECOND = PROFILES["brain-diffuser"], PROFILES["mindeye2"]
DRAWN = np.random.default_rng(0)
NAMES = [
    "pixel correlation",
    "SSIM",
    "two-way identification, AlexNet(2)",
    "two-way identification, AlexNet(5)",
    "two-way identification, Inception",
    "two-way identification, CLIP ViT-L/14",
    "EffNet-B correlation distance",
    "SwAV correlation distance",
]


def pictures(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Draw smooth pictures, in which resizing by different rules shows but does not dominate."""
    rough = np.random.default_rng(seed).integers(0, 256, (n, 7, 7, 3), dtype=np.uint8)
    big = [Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in rough]
    return np.stack([np.asarray(each) for each in big])


SHOWN, DECODED = pictures(6, 425), pictures(6, 512, seed=1)


def toy_read(images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Two nodes of different widths."""
    small = images[:, ::13, ::13].reshape(len(images), -1).astype(np.float32)[:, :400]
    return small, np.sin(small[:, :97] / 40)


@pytest.mark.parametrize("network", FIRST.sides)
def test_brain_diffuser_prepares_pictures_as_torchvision_does_from_pillow(network):
    mean, spread = CLIP if network == "clip" else IMAGENET
    usual = transforms.Compose(
        [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(mean, spread)]
    )
    for images in (SHOWN[:2], DECODED[:2], pictures(1, 64)):
        truth = torch.stack([usual(Image.fromarray(each)) for each in images])
        torch.testing.assert_close(FIRST.prepared(images, network), truth, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("network", "side"),
    [("alexnet", 256), ("inception", 342), ("clip", 224), ("efficientnet", 255), ("swav", 224)],
)
def test_mindeye2_prepares_pictures_as_torchvision_does_tensors(network, side):
    mean, spread = CLIP if network == "clip" else IMAGENET
    bilinear = {"interpolation": v2.InterpolationMode.BILINEAR, "antialias": False}
    usual = v2.Compose(
        [v2.Resize((256, 256), **bilinear), v2.Resize((side, side), **bilinear),
         v2.Normalize(mean, spread)]
    )  # fmt: skip
    for images in (SHOWN[:2], DECODED[:2], pictures(1, 64)):
        truth = usual(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(SECOND.prepared(images, network), truth, atol=1e-5, rtol=0)


def test_pixels_are_compared_as_brain_diffusers_script_compares_them():
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity

    correlation, ssim = low_level_scores(SHOWN, DECODED, FIRST)
    for item, (shown, decoded) in enumerate(zip(SHOWN, DECODED, strict=True)):
        small = np.asarray(Image.fromarray(decoded).resize((425, 425))) / 255
        truth = np.corrcoef(shown.ravel() / 255, small.ravel())[0, 1]
        assert correlation.per_item[item] == pytest.approx(truth, abs=1e-9)
        usual = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        truth = structural_similarity(rgb2gray(small), rgb2gray(shown), data_range=1, **usual)
        assert ssim.per_item[item] == pytest.approx(truth, abs=1e-6)
    assert "profile brain-diffuser" in ssim.notes[-1]


def test_pixels_are_compared_as_mindeye2_compares_them():
    correlation, _ = low_level_scores(SHOWN, DECODED, SECOND)
    assert correlation.name == "pixel correlation (mindeye2)"
    pairs = []
    for images in (SHOWN, DECODED):
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        for side in (256, 425):
            tensor = v2.functional.resize(tensor, [side, side], antialias=False)
        pairs.append(tensor.flatten(1).numpy())
    truth = [np.corrcoef(a, b)[0, 1] for a, b in zip(*pairs, strict=True)]
    np.testing.assert_allclose(correlation.per_item, truth, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 2, 4, 5, 6, 100])
def test_blocks_give_the_correlations_of_the_whole(at_once):
    most = 0

    def read(images):
        nonlocal most
        most = max(most, len(images))
        return toy_read(images)

    samples = [SHOWN[::-1], pictures(6, 425, seed=2)]
    found = similarities(read, SHOWN, samples, budget=at_once * 4 * (400 + 97))
    assert most == min(at_once, 6)
    for recons, nodes in zip(samples, found, strict=True):
        for node, (shown, decoded) in enumerate(
            zip(toy_read(SHOWN), toy_read(recons), strict=True)
        ):
            np.testing.assert_allclose(nodes[node], correlation_matrix(shown, decoded), atol=1e-12)


def test_features_of_many_pictures_are_never_in_memory_together():
    import tracemalloc

    width = 60_000

    def read(images):
        return (np.random.default_rng(int(images[0, 0, 0, 0])).standard_normal(
            (len(images), width), dtype=np.float32),)  # fmt: skip

    many = np.zeros((60, 1, 1, 3), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None, None]
    tracemalloc.start()
    similarities(read, many, [many], budget=10 * width * 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * 10 * width * 4 < 60 * width * 4


def test_numbers_of_pictures_have_to_agree():
    with pytest.raises(DataError, match=r"6 stimuli cannot be compared with \[5\]"):
        similarities(toy_read, SHOWN, [SHOWN[:5]])


def all_read(name):
    return toy_read


def test_stimuli_are_told_from_themselves_and_shuffled_ones_by_chance():
    many = DRAWN.integers(0, 256, (60, 160, 160, 3), dtype=np.uint8)
    standard = compared(many, [many], all_read)
    itself = standard.scores(0)
    assert [each.name for each in itself] == NAMES
    np.testing.assert_allclose([each.mean for each in itself], [1] * 6 + [0] * 2, atol=1e-9)
    assert [each.higher_is_better for each in itself] == [True] * 6 + [False] * 2
    other = compared(many, [DRAWN.integers(0, 256, many.shape, dtype=np.uint8)], all_read)
    means = [each.mean for each in other.scores(0)]
    assert means[2:6] == pytest.approx([0.5] * 4, abs=0.06)
    assert means[6:] == pytest.approx([1, 1], abs=0.05)


def test_another_order_gives_the_scores_of_reordered_pictures():
    recons, order = pictures(6, 425, seed=2), np.array([2, 0, 1, 5, 3, 4])
    found = compared(SHOWN, [recons], all_read).scores(0, order)
    truth = compared(SHOWN, [recons[order]], all_read).scores(0)
    for ours, theirs in zip(found, truth, strict=True):
        np.testing.assert_allclose(ours.per_item, theirs.per_item, atol=1e-12)
    shown, decoded = toy_read(SHOWN)[0], toy_read(recons[order])[0]
    direct = two_way_identification(shown, decoded, network="AlexNet(2)")
    assert (found[2].name, found[2].mean) == (direct.name, direct.mean)
    direct = correlation_distance(shown, decoded, network="EffNet-B")
    assert found[6].name == direct.name
    assert found[6].mean == pytest.approx(direct.mean, abs=1e-12)


def test_what_is_not_there_is_said_and_the_rest_is_scored():
    def load(name):
        if name in ("swav", "inception"):
            raise CheckpointError(f"no {name} here")
        return toy_read

    standard = compared(SHOWN, [SHOWN], load, profile="mindeye2")
    found = standard.scores(0)
    assert [each.name for each in found][4:] == [
        "two-way identification, Inception (mindeye2)",
        "two-way identification, CLIP ViT-L/14 (mindeye2)",
        "EffNet-B correlation distance (mindeye2)",
        "SwAV correlation distance (mindeye2)",
    ]
    assert [each.name for each in found if np.isnan(each.mean)] == [found[4].name, found[7].name]
    assert found[7].notes == ("not computed (no swav here)",)
    assert not found[7].higher_is_better
    assert len(standard.scores(0, np.arange(6)[::-1])) == 6
    alone = compared(SHOWN[:1], [SHOWN[:1]], all_read).scores(0)
    assert [np.isnan(each.mean) for each in alone] == [False] * 2 + [True] * 4 + [False] * 2
    assert alone[2].notes == ("not computed (it takes 2 images or more)",)


def test_networks_are_read_in_batches_of_prepared_pictures():
    seen = []

    def nodes(pixels):
        seen.append(tuple(pixels.shape))
        return (pixels.mean(dim=(2, 3)),)

    many = pictures(40, 64)
    (found,) = at_nodes(nodes, SECOND, "efficientnet")(many)
    assert seen == [(32, 3, 255, 255), (8, 3, 255, 255)]
    truth = SECOND.prepared(many, "efficientnet").mean(dim=(2, 3))
    np.testing.assert_allclose(found, truth.numpy(), atol=1e-6)


def place(root: Path, name: str, architecture: str) -> None:
    torch.manual_seed(0)
    (root / name).mkdir(parents=True)
    save_file(headless(architecture).state_dict(), root / name / "model.safetensors")


@pytest.fixture
def do(nsd, toy, tmp_path):
    """Run the toy on a download with the released weights in a folder; give its scores."""
    registry = Registry([Source("toy", "brainkit-toy 1.0", lambda: toy)])

    def doing(scores=(), samples=1):
        method = dataclasses.replace(toy.TOY, scores=scores, samples=samples)
        config = RunConfig(method="toy", nsd=nsd, work=tmp_path, images=4, ceiling=False)
        prepared = prepare(config, registry, lambda line: None)
        store = CheckpointStore(tmp_path / "store")
        folder = run(dataclasses.replace(prepared, method=method, store=store)).parent
        text = (folder / "metrics.json").read_text()
        return json.loads(text), (folder / "report.html").read_text()

    return doing


def test_a_run_on_nsd_reports_the_eight_and_scores_again_once_weights_are_there(do, tmp_path):
    facts, page = do()
    found = {each["name"]: each for each in facts["scores"]}
    assert list(found)[:8] == NAMES
    stored = ("alexnet", "alexnet", "inception-v3", "clip-vit-l14", "efficientnet-b1-v1",
              "swav-resnet50")  # fmt: skip
    for name, folder in zip(NAMES[2:], stored, strict=True):
        assert found[name]["value"] is None
        path = tmp_path / "store" / folder / "model.safetensors"
        said = f"not computed ({path} is missing, run `brainkit fetch {folder}`)"
        assert found[name]["notes"] == [said]
    assert all(found[name]["value"] is not None for name in NAMES[:2])
    assert "brainkit fetch swav-resnet50" in page
    place(tmp_path / "store", "alexnet", "alexnet")
    place(tmp_path / "store", "efficientnet-b1-v1", "efficientnet_b1")
    facts, page = do()
    found = {each["name"]: each for each in facts["scores"]}
    there = [name for name in NAMES if found[name]["value"] is not None]
    assert there == [*NAMES[:4], NAMES[6]]
    for name in there:
        assert "profile brain-diffuser" in found[name]["notes"][-1]
        assert found[name]["exchange"] is not None
        assert len(found[name]["per_image"]) == 4
    assert "two-way identification, AlexNet(2)" in page


def test_a_second_profile_is_scored_beside_the_first_where_a_method_names_it(do, tmp_path):
    place(tmp_path / "store", "efficientnet-b1-v2", "efficientnet_b1")
    facts, _ = do(scores=("mindeye2",), samples=2)
    names = [each["name"] for each in facts["scores"]]
    start = names.index("pixel correlation (mindeye2)")
    assert names[:8] == NAMES
    assert names[start : start + 8] == [f"{name} (mindeye2)" for name in NAMES]
    found = {each["name"]: each for each in facts["scores"]}
    assert found["EffNet-B correlation distance"]["value"] is None
    score = found["EffNet-B correlation distance (mindeye2)"]
    assert score["value"] > 0
    assert not score["higher_is_better"]
    assert "because the method asks for it" in score["notes"][-1]


def test_the_example_in_the_docs_scores_pictures(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs/run.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?standard_scores\(.*?)```", page, re.DOTALL)
    place(tmp_path / "checkpoints", "alexnet", "alexnet")
    monkeypatch.chdir(tmp_path)
    names = {"stimuli": SHOWN[:3], "reconstructions": DECODED[:3]}
    exec(example, names)
    scores = names["scores"]
    assert [each.name for each in scores] == NAMES
    assert [each.name for each in scores if not np.isnan(each.mean)] == NAMES[:4]
    nodes = at_nodes(load_nodes(CheckpointStore(tmp_path / "checkpoints"), checkpoint("alexnet")),
                     FIRST, "alexnet")  # fmt: skip
    shown, decoded = nodes(SHOWN[:3])[1], nodes(DECODED[:3])[1]
    assert scores[3].mean == two_way_identification(shown, decoded, network="").mean
    lines = capsys.readouterr().out.splitlines()
    assert lines[7].endswith("run `brainkit fetch swav-resnet50`)")


def test_clip_among_the_eight_is_the_embedding_of_a_store(tmp_path):
    store = CheckpointStore(tmp_path, miniature=True)
    shown, decoded = pictures(4, 64), pictures(4, 64, seed=1)
    said = standard_scores(shown, decoded, store)[5]
    assert "reads pictures of 64 pixels, but the score is defined by CLIP" in said.notes[0]
    from brainkit.networks.clip import CLIP_L14
    from brainkit.networks.clip.network import load_image_embedding

    small = dataclasses.replace(FIRST, sides={**FIRST.sides, "clip": 64})
    read = at_nodes(load_clip(store, 64), small, "clip")
    with torch.no_grad():
        truth = load_image_embedding(store, CLIP_L14)(shown).numpy()
    np.testing.assert_allclose(read(shown)[0], truth, atol=1e-5)
