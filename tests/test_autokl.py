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
from brainkit.encoders.autokl import AutoKL
from brainkit.errors import CheckpointError
from brainkit.networks.autokl import KL_F8
from brainkit.networks.autokl.names import diffusers_name
from brainkit.networks.autokl.network import load_autokl

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


def pictures(golden: dict[str, torch.Tensor]) -> np.ndarray:
    return (golden["image01"] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_a_draw_is_the_posterior_s_and_depends_on_the_image_s_id_alone(store, golden):
    images = np.repeat(pictures(golden)[:1], 400, axis=0)
    ids = np.arange(400, dtype=np.int32)
    encode = AutoKL(posterior="sample").load(store)
    together = torch.cat([encode(Stimuli(images[cut], (), ids[cut])) for cut in np.split(ids, 20)])
    alone = encode(Stimuli(images[7:8], (), ids[7:8]))
    torch.testing.assert_close(together[7:8], alone, atol=1e-5, rtol=0)
    mean, std = golden["mean"][0], (golden["logvar"][0] / 2).exp()
    error = (together / SCALE - mean) / std
    # 400 draws: the mean of each unit errs by 0.05, its spread by 0.035.
    assert error.mean(dim=0).abs().max() < 0.3
    assert (error.std(dim=0) - 1).abs().max() < 0.25


@pytest.mark.parametrize(("scale", "side"), [(1.0, 8), (0.625, 5), (0.6, 5), (0.01, 1)])
def test_a_scale_gives_a_picture_of_whole_latents(store, golden, scale, side):
    encoder = AutoKL(scale=scale)
    latent = encoder.load(store)(Stimuli(pictures(golden), (), np.arange(2, dtype=np.int32)))
    assert tuple(latent.shape[1:]) == encoder.shape(store) == (4, side, side)


def test_lanczos_is_pillow_s(store, golden):
    from PIL import Image

    images = pictures(golden)
    small = [Image.fromarray(image).resize((40, 40), Image.Resampling.LANCZOS) for image in images]
    pixels = torch.tensor(np.stack([np.asarray(each) for each in small])).permute(0, 3, 1, 2)
    expected = SCALE * load_autokl(store).encode(pixels / 127.5 - 1).latent_dist.mean
    stimuli = Stimuli(images, (), np.arange(2, dtype=np.int32))
    close(AutoKL(scale=0.625, resize="lanczos").load(store)(stimuli), expected)
    cubic = AutoKL(scale=0.625).load(store)(stimuli)
    assert (cubic - expected).abs().max() > 1e-3


def test_an_empty_batch_is_drawn_too(store):
    none = Stimuli(np.zeros((0, 9, 9, 3), np.uint8), (), np.zeros(0, np.int32))
    for resize in ("bicubic", "lanczos"):
        encode = AutoKL(posterior="sample", resize=resize).load(store)
        assert tuple(encode(none).shape) == (0, 4, 8, 8)
