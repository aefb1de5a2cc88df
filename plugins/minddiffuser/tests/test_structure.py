"""The structural features and loss, against golden numbers of an independent implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import golden, tiny_clip, tiny_decode

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import DataError, UsageError
from brainkit.networks.clip import CLIP_B32
from brainkit.networks.clip.network import load_network
from brainkit.testing import checks
from brainkit.testing.examples import example_stimuli
from brainkit_minddiffuser.structure import (
    LAYERS,
    ClipLayer,
    Structure,
    layer_features,
    layer_weights,
    load_misfit,
    load_unit_decoder,
    prepare,
    side_of,
    structural_misfit,
)

SMALL = CheckpointStore(Path("nowhere"), miniature=True)


@pytest.fixture(scope="module")
def numbers():
    return golden("structural")


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


def golden_targets(numbers, rows=1):
    """Return the golden targets as a regressor predicts them: NaN where a unit is left out."""
    features = {"layer_final": numbers["VisionTransformer-1.target"].repeat(rows, 1)}
    for layer in LAYERS:
        target = numbers[f"Linear-{2 * layer}.target"]
        missing = numbers[f"Linear-{2 * layer}.mask"] == 0
        tokens = target.masked_fill(missing, float("nan")).view(1, 10, 32)
        features[f"layer_{layer}"] = tokens.repeat(rows, 1, 1)
    return features


@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
def test_all_layers_equal_the_golden_features(numbers, clip, resize):
    pixels = prepare(numbers["target_image"], 24, resize)
    found = layer_features(clip, pixels, (*LAYERS, "final"))
    for layer in LAYERS:
        expected = numbers[f"{resize}.Linear-{2 * layer}"]
        torch.testing.assert_close(found[layer].flatten(1), expected, atol=1e-10, rtol=0)
    expected = numbers[f"{resize}.VisionTransformer-1"]
    torch.testing.assert_close(found["final"], expected, atol=1e-10, rtol=0)


def test_blocks_behind_the_last_wanted_one_are_not_run(clip):
    ran = []
    hooks = [
        block.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(clip.vision_model.encoder.layers, start=1)
    ]
    pixels = torch.zeros(1, 3, 24, 24, dtype=torch.float64)
    layer_features(clip, pixels, [3, 2])
    for hook in hooks:
        hook.remove()
    assert ran == [1, 2, 3]


def test_layer_weights_equal_the_golden_ones(numbers):
    targets = {layer: numbers[f"Linear-{2 * layer}.target"] for layer in LAYERS}
    expected = numbers["layer_weights"].view(1, 6)
    torch.testing.assert_close(layer_weights(targets, LAYERS), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("case", "weight"), [("w0", 0.0), ("w03", 0.3)])
def test_the_loss_of_a_golden_image_equals_the_golden_loss(numbers, clip, case, weight):
    expected = golden("stage2")
    misfit = structural_misfit(lambda image: image, clip, Structure(final_weight=weight))
    found = misfit(golden_targets(numbers))(expected[f"{case}.image"])
    torch.testing.assert_close(found, expected[f"{case}.loss"].view(1), atol=1e-10, rtol=0)


def test_a_layers_error_alone_equals_the_golden_mean_square(numbers, clip):
    expected = golden("stage2")
    for index, layer in enumerate(LAYERS):
        misfit = structural_misfit(lambda image: image, clip, Structure(layers=(layer,)))
        found = misfit(golden_targets(numbers))(expected["w0.image"])
        emphasis = {1: 1.5, 2: 1.2}.get(layer, 1.0)  # a layer alone has 1 / |t| / (1 / |t|)
        wanted = emphasis * expected["w0.layer_mse"][index].view(1)
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)


def test_a_row_of_the_loss_belongs_to_its_latent_alone(numbers, clip):
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    features = golden_targets(numbers, rows=3)
    features["layer_2"] = features["layer_2"] * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    misfit = structural_misfit(tiny_decode(), clip, Structure(final_weight=0.3))
    together = misfit(features)(latents)
    alone = [
        misfit({name: each[row : row + 1] for name, each in features.items()})(
            latents[row : row + 1]
        )
        for row in range(3)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-12, rtol=0)
    assert len(set(together.tolist())) == 3


def test_units_that_are_not_predicted_do_not_count_but_thin_out_the_mean(numbers, clip):
    image = numbers["target_image"]
    truth = layer_features(clip, prepare(image, 24, "bicubic"), [4])[4]
    half = torch.arange(truth[0].numel()).view(truth.shape[1:]) % 2 == 0
    target = (truth + 1).masked_fill(half, float("nan"))
    misfit = structural_misfit(lambda given: given, clip, Structure(layers=(4,)))
    found = misfit({"layer_4": target})(image)
    torch.testing.assert_close(found, torch.tensor([0.5]).double(), atol=1e-10, rtol=0)


def test_missing_and_misshapen_and_empty_targets_are_named(numbers, clip):
    features = golden_targets(numbers)
    misfit = structural_misfit(lambda image: image, clip)
    missing = {name: each for name, each in features.items() if name != "layer_3"}
    with pytest.raises(UsageError, match="lacks layer_3"):
        misfit(missing)
    cut = {**features, "layer_3": features["layer_3"][:, 1:]}
    with pytest.raises(DataError, match=r"layer_3 was predicted as \(1, 9, 32\)"):
        misfit(cut)(numbers["target_image"])
    empty = {**features, "layer_3": torch.full_like(features["layer_3"], float("nan"))}
    with pytest.raises(DataError, match="layer_3 is predicted to be 0 or NaN in every unit"):
        misfit(empty)


def test_the_final_feature_is_needed_only_when_it_weighs():
    assert "layer_final" not in Structure().needs
    assert "layer_final" in Structure(final_weight=0.1).needs


@pytest.mark.parametrize("layer", [1, "final"])
def test_the_encoder_keeps_its_promises(layer):
    for check in checks.for_encoder(ClipLayer(layer=layer), SMALL):
        check()


def test_a_layer_the_network_lacks_is_one_sentence():
    with pytest.raises(UsageError, match="layer is 12, but clip-vit-b32 has 8 blocks"):
        ClipLayer(layer=12).shape(SMALL)


def test_the_loss_vanishes_where_the_decoded_latent_shows_the_targets():
    latent = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
    network = load_network(SMALL, CLIP_B32, "vision")
    with torch.no_grad():
        image = load_unit_decoder(SMALL)(latent)
        found = layer_features(network, prepare(image, side_of(network), "bicubic"), LAYERS)
        misfit = load_misfit(SMALL)({f"layer_{layer}": found[layer] for layer in LAYERS})
        here, there = misfit(latent), misfit(latent.flip(0))
    assert 0 <= float(here.max()) < 1e-8 < 1e-3 < float(there.min())


def test_the_two_ways_to_resize_differ_without_antialiasing():
    stimuli = example_stimuli(side=96)
    features = [ClipLayer(resize=way).load(SMALL)(stimuli) for way in ("bilinear", "bicubic")]
    assert float((features[0] - features[1]).abs().max()) > 1e-3
