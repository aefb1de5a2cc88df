"""The conditioner: a generator under two decoded embeddings, with the small weights that ship."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import BrainkitError
from brainkit.miniature.scenes import images
from brainkit.networks.clip import CLIP_B32
from brainkit.networks.clip.network import load_image_embedding
from brainkit.samplers.single_pass import SinglePass
from brainkit_mindreader.captions.targets import bounded
from brainkit_mindreader.checkpoints import GENERATOR
from brainkit_mindreader.generator.network import Generator, GeneratorShape
from brainkit_mindreader.loading import load_generator, load_picture_embedding
from brainkit_mindreader.parts import Lafite

STORE = CheckpointStore(Path("nowhere"), miniature=True)
DIM = 64


def embeddings(batch: int = 3, rows: int = 2) -> dict[str, Tensor]:
    drawn = torch.randn(2, batch, rows, DIM, generator=torch.Generator().manual_seed(0))
    return {"clip_image": drawn[0], "clip_text": drawn[1]}


def made(options: Lafite, features: dict[str, Tensor], seeds: list[int], **sampler: int) -> Tensor:
    with torch.no_grad():
        condition = options.load(STORE)(features)["image"]
        return SinglePass(**sampler).sample(condition, seeds)


def test_the_picture_is_the_generator_s_under_embeddings_of_length_one():
    features = embeddings()
    network = load_generator(STORE)
    units = [torch.nn.functional.normalize(each[:, 0], dim=1) for each in features.values()]
    with torch.no_grad():
        expected = network(torch.zeros(3, network.shape.z_dim), units)
    assert torch.equal(made(Lafite(), features, [1, 2, 3]), expected)


def test_with_z_of_zeros_the_seed_does_not_matter():
    features = embeddings()
    first, second = made(Lafite(), features, [1, 2, 3]), made(Lafite(), features, [4, 5, 6])
    assert torch.equal(first, second)


@pytest.mark.parametrize("options", [Lafite(z="random"), Lafite(z="random", noise="random")])
def test_a_random_picture_depends_on_its_own_seed_alone(options):
    features = embeddings()
    together = made(options, features, [1, 2, 3])
    second = {name: each[1:2] for name, each in features.items()}
    torch.testing.assert_close(made(options, second, [2]), together[1:2], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made(options, second, [9]), together[1:2], atol=1e-3)


def test_noise_in_feature_maps_is_drawn_anew_for_each_seed():
    features = embeddings(1)
    network = load_generator(STORE)
    if all(float(v) == 0 for n, v in network.named_parameters() if n.endswith("noise_strength")):
        pytest.skip("this generator learned to do without noise")
    drawn = [made(Lafite(noise="random"), features, [seed]) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_each_embedding_has_a_branch_of_its_own():
    features = embeddings()
    pictures = {name: made(Lafite(heads=name), features, [0] * 3) for name in ("image", "caption")}
    other = features | {"clip_text": features["clip_text"].flip(-1)}
    assert torch.equal(made(Lafite(heads="image"), other, [0] * 3), pictures["image"])
    assert not torch.allclose(made(Lafite(heads="caption"), other, [0] * 3), pictures["caption"])
    assert not torch.allclose(pictures["image"], pictures["caption"])


def test_no_truncation_is_the_default_and_full_truncation_forgets_z():
    features = embeddings(1)
    whole = made(Lafite(z="random"), features, [1])
    assert torch.equal(made(Lafite(z="random", truncation=1.0), features, [1]), whole)
    forgot = [made(Lafite(z="random", truncation=0.0), features, [seed]) for seed in (1, 2)]
    assert torch.equal(*forgot)
    assert not torch.equal(forgot[0], whole)


def test_candidates_agree_better_with_the_decoded_embeddings():
    options = Lafite(z="random")
    features = embeddings(4)
    misfit = options.load(STORE)(features)["image"].misfit
    with torch.no_grad():
        one = misfit(made(options, features, [1, 2, 3, 4]))
        many = misfit(made(options, features, [1, 2, 3, 4], candidates=5))
    assert torch.all(many <= one + 1e-6)
    assert torch.any(many < one - 1e-4)


def test_the_misfit_is_one_minus_the_cosine_of_clip_s_embeddings():
    """The float resize of pictures and CLIP's own of bytes differ by rounding."""
    pictures = images(range(3_000_000, 3_000_003))
    signed = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        found = load_picture_embedding(STORE)(signed)
        expected = bounded(load_image_embedding(STORE, CLIP_B32)(pictures))
    cosine = torch.nn.functional.cosine_similarity(found, expected)
    torch.testing.assert_close(cosine, torch.ones(3), rtol=0, atol=2e-3)
    features = {"clip_image": expected[:, None], "clip_text": -expected[:, None]}
    with torch.no_grad():
        both = Lafite().load(STORE)(features)["image"].misfit(signed)
        image = Lafite(heads="image").load(STORE)(features)["image"].misfit(signed)
    torch.testing.assert_close(both, torch.ones(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(image, 1 - cosine, rtol=0, atol=1e-5)


def a_store(folder: Path, shape: GeneratorShape) -> CheckpointStore:
    import json
    import shutil

    torch.manual_seed(0)
    place = folder / GENERATOR.name
    place.mkdir(parents=True)
    save_file(Generator(shape).state_dict(), place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(shape.config()))
    small = STORE.folder(CLIP_B32)
    shutil.copytree(small, folder / CLIP_B32.name)
    return CheckpointStore(folder)


TINY = GeneratorShape(
    resolution=16, z_dim=8, w_dim=8, f_dims=(DIM,), cond_width=16, channel_base=128, channel_max=16
)


def test_a_single_branch_serves_both_embeddings(tmp_path):
    """LAFITE's own weights under one embedding, twice, give LAFITE's own picture."""
    store = a_store(tmp_path, TINY)
    network = Generator(TINY)
    network.load_state_dict(store.load(GENERATOR))
    features = embeddings()
    features["clip_text"] = features["clip_image"]
    unit = torch.nn.functional.normalize(features["clip_image"][:, 0], dim=1)
    with torch.no_grad():
        expected = network.eval()(torch.zeros(3, 8), [unit])
        found = Lafite().load(store)(features)["image"]
        picture = SinglePass().sample(found, [0, 1, 2])
    torch.testing.assert_close(picture, expected)


def test_embeddings_of_another_clip_are_refused(tmp_path):
    store = a_store(tmp_path, replace(TINY, f_dims=(32, 32)))
    with pytest.raises(BrainkitError, match=r"clip_image has shape \(2, 64\).*32 numbers"):
        Lafite().load(store)(embeddings())


def test_a_generator_of_unequal_branches_is_refused(tmp_path):
    store = a_store(tmp_path, replace(TINY, f_dims=(DIM, 32)))
    with pytest.raises(BrainkitError, match=r"\(64, 32\).*two of one width"):
        Lafite().load(store)


def test_pictures_have_the_side_of_the_generator():
    side = load_generator(STORE).shape.resolution
    assert made(Lafite(), embeddings(), [0, 1, 2]).shape == (3, 3, side, side)
    assert np.isfinite(made(Lafite(), embeddings(), [0, 1, 2]).numpy()).all()
