"""What other networks see of pictures, against golden numbers and properties."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_gan import close, golden
from torch.nn import functional

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.networks.clip import CLIP_B32
from brainkit.networks.clip.network import MEAN, STD, load_network
from brainkit_mindreader.checkpoints import RESNET50
from brainkit_mindreader.generator.views import (
    Window,
    draw_window,
    load_clip_view,
    load_resnet_view,
    random_view,
    resnet_vector,
    view,
)

SMALL = CheckpointStore(Path("nowhere"), miniature=True)
WHITE = (1 - torch.tensor(MEAN)) / torch.tensor(STD)


@pytest.fixture(scope="module")
def numbers():
    return golden("gan_units")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch, side, seed=0):
    return torch.rand(batch, 3, side, side, generator=seeded(seed)) * 2 - 1


def test_windows_show_what_golden_shows(numbers):
    image = numbers["image"]
    cut, left, top = numbers["crop_size_left_top"].tolist()
    close(view(image, 48, Window(cut, left, top)), numbers["preprocess_crop"])
    close(view(image, 48, Window(64, 0, 0)), numbers["preprocess_full"])
    left, top = numbers["pad_left_top"].tolist()
    close(view(image, 80, Window(80, left, top)), numbers["preprocess_pad"])


def test_resnet_vectors_of_a_batch_equal_golden(numbers):
    close(resnet_vector(numbers["res_feature_map"], "batch"), numbers["res_vector"])


def test_resnet_vectors_of_a_picture_do_not_depend_on_the_others(numbers):
    maps = numbers["res_feature_map"].abs()
    together = resnet_vector(torch.cat([maps, 9 * maps]))
    close(together[:2], resnet_vector(maps))
    close(together[2:], together[:2])
    assert torch.equal(resnet_vector(maps[:1]), resnet_vector(maps[:1], "batch"))
    # The strongest place has 1 of the largest and 2 of the mean at most.
    assert float(together.max()) <= 3


def test_windows_of_large_pictures_are_crops_of_at_least_half():
    drawn = [draw_window(64, 48, 0.5, seeded(seed)) for seed in range(400)]
    sides = {each.side for each in drawn}
    assert min(sides) == 32
    assert max(sides) == 63
    assert all(0 <= each.left <= 64 - each.side for each in drawn)
    assert all(0 <= each.top <= 64 - each.side for each in drawn)
    assert any(each.left == 64 - each.side for each in drawn)
    assert draw_window(64, 64, 1.0, seeded()) == Window(64, 0, 0)


def test_small_pictures_lie_anywhere_on_white():
    drawn = [draw_window(8, 10, 0.5, seeded(seed)) for seed in range(100)]
    assert {(each.left, each.top) for each in drawn} == {(a, b) for a in range(3) for b in range(3)}
    seen = view(torch.full((1, 3, 8, 8), -1.0), 10, Window(10, 1, 2))[0]
    black = (0 - torch.tensor(MEAN)) / torch.tensor(STD)
    close(seen[:, 2:, 1:9], black.view(3, 1, 1).expand(3, 8, 8))
    close(seen[:, :2], WHITE.view(3, 1, 1).expand(3, 2, 10))
    close(seen[:, :, 9], WHITE.view(3, 1).expand(3, 10))


def test_one_window_for_the_batch_or_one_for_each_picture():
    same = pictures(1, 64).expand(6, -1, -1, -1)
    shared = random_view(same, 48, 0.5, seeded(), "batch")
    close(shared, shared[:1].expand_as(shared))
    own = random_view(same, 48, 0.5, seeded(), "sample")
    assert own.shape == (6, 3, 48, 48)
    assert all((own[a] - own[b]).abs().max() > 0.1 for a in range(6) for b in range(a))


def test_views_come_again_with_the_same_seed():
    given = pictures(2, 64)
    first, again, other = (random_view(given, 32, 0.5, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_clip_sees_pictures_and_passes_gradients_to_them():
    see, network = load_clip_view(SMALL), load_network(SMALL, CLIP_B32, "vision")
    side = int(network.config.image_size)
    given = pictures(3, side - 4).requires_grad_()
    found = see(given, seeded())
    assert found.dtype == torch.float32
    close(found.norm(dim=1), torch.ones(3))
    generator = seeded()
    for row in range(3):
        window = draw_window(side - 4, side, 0.5, generator)
        expected = network(view(given[row : row + 1], side, window)).image_embeds
        close(found[row : row + 1], functional.normalize(expected, dim=1))
    found.square().cumsum(dim=1).sum().backward()
    assert float(given.grad.abs().flatten(1).max(dim=1).values.min()) > 0


def test_clips_gradient_is_the_slope_of_what_it_sees():
    see = load_clip_view(SMALL, "batch")
    given = pictures(1, 64).requires_grad_()
    goal = functional.normalize(torch.randn(1, see(given, seeded()).shape[1], generator=seeded(3)))

    def agreement(x):
        return (see(x, seeded()) * goal).sum()

    (slope,) = torch.autograd.grad(agreement(given), given)
    step = 1e-2 * slope / slope.norm()
    with torch.no_grad():
        rise = agreement(given + step) - agreement(given - step)
    # Central difference in float32: three digits.
    close(rise / 2e-2, slope.norm(), rtol=2e-2, atol=1e-5)


def resnet_store(tmp_path, changed=None):
    from torchvision.models import resnet50

    torch.manual_seed(0)
    weights = resnet50(weights=None).state_dict()
    kept = {n: t for n, t in weights.items() if n.startswith(("conv1", "bn1", "layer1", "layer2"))}
    kept |= {"fc.weight": torch.zeros(2, 2)}
    kept |= changed or {}
    folder = tmp_path / RESNET50.name
    folder.mkdir()
    save_file(kept, folder / "model.safetensors")
    return CheckpointStore(tmp_path), kept


def test_the_resnet_is_torchvisions_up_to_its_second_stage(tmp_path):
    from torchvision.models import resnet50
    from torchvision.models.feature_extraction import create_feature_extractor

    store, weights = resnet_store(tmp_path)
    whole = resnet50(weights=None)
    whole.load_state_dict(weights | {"fc.weight": whole.fc.weight}, strict=False)
    extract = create_feature_extractor(whole.eval(), ["layer2"])
    given = pictures(2, 160).requires_grad_()
    found = load_resnet_view(store, "batch")(given, seeded())
    small = functional.interpolate(given, (128, 128), mode="bicubic")
    mean, spread = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    maps = extract(((small + 1) / 2 - mean) / spread)["layer2"]
    largest, average = maps.max(dim=1).values, maps.mean(dim=1)
    expected = largest / largest.max() + 2 * average / average.max()
    close(found, expected.flatten(1), rtol=1e-4, atol=1e-4)
    found.sum().backward()
    assert float(given.grad.abs().max()) > 0


def test_a_resnet_that_does_not_fit_is_refused(tmp_path):
    store, _ = resnet_store(tmp_path, {"conv1.weight": torch.zeros(64, 3, 3, 3)})
    with pytest.raises(CheckpointError, match="resnet50-vicreg"):
        load_resnet_view(store)


def test_a_missing_resnet_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="'resnet50-vicreg' has no weights"):
        load_resnet_view(CheckpointStore(tmp_path))
