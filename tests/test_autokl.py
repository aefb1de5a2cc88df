"""The image autoencoder against numbers of the published code, through the released names."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Stimuli
from brainkit.decoders.autokl import AutoKLDecoder
from brainkit.encoders.autokl import KL_F8, AutoKL, load_autokl
from brainkit.encoders.autokl_names import diffusers_name
from brainkit.errors import CheckpointError

GOLDEN = Path(__file__).parent / "golden" / "autokl"
SCALE = 0.18215
CONFIG = {
    "block_out_channels": [32, 32, 32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 64,
    "scaling_factor": SCALE,
}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    folder = tmp_path / KL_F8.name
    folder.mkdir()
    save_file(load_file(GOLDEN / "tiny_autokl.safetensors"), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return CheckpointStore(tmp_path)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "autokl.safetensors")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=0)


def test_encoding_matches_the_published_code(store, golden):
    posterior = load_autokl(store).encode(2 * golden["image01"] - 1).latent_dist
    close(posterior.mean, golden["mean"])
    close(posterior.logvar, golden["logvar"])
    close(SCALE * posterior.mean, golden["latent_scaled_mean"])


def test_decoding_matches_the_published_code(store, golden):
    network = load_autokl(store)
    close(network.decode(golden["z"]).sample, golden["decoder_raw"])
    decoded = network.decode(golden["z"] / SCALE).sample
    close(((decoded + 1) / 2).clamp(0, 1), golden["decoded_from_scaled"])


def test_the_encoder_part_gives_the_scaled_mean_of_a_uint8_picture(store, golden):
    images = (golden["image01"] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    stimuli = Stimuli(images, ((), ()), np.arange(2, dtype=np.int32))
    latent = AutoKL().load(store)(stimuli)
    # Rounding the picture to 8 bits moves latents of size 1 by about a hundredth.
    torch.testing.assert_close(latent, golden["latent_scaled_mean"], atol=0.02, rtol=0)
    assert AutoKL().shape(store) == tuple(latent.shape[1:])


def test_the_decoder_part_undoes_the_scale(store, golden):
    images = AutoKLDecoder().load(store)(SCALE * golden["z"], [0, 1])
    expected = ((golden["decoder_raw"] + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1) * 255
    assert (images.float() - expected).abs().max() <= 0.51


def test_every_published_name_is_translated_as_the_table_says():
    rows = json.loads(gzip.decompress((GOLDEN / "names.json.gz").read_bytes()))
    assert len(rows) == 248
    assert [diffusers_name(name, 4) for name, _ in rows] == [other for _, other in rows]
    assert len({other for _, other in rows}) == 248


def test_weights_that_do_not_fit_are_refused_by_name(store, tmp_path):
    path = tmp_path / KL_F8.name / "model.safetensors"
    weights = load_file(path)
    del weights["decoder.conv_out.bias"]
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"decoder\.conv_out\.bias"):
        load_autokl(store)
