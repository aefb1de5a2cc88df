"""What other networks see of generated pictures; gradients pass to the pictures.

Pictures are float (batch, 3, side, side) in [-1, 1]. A network sees a square window of each, drawn
at random: a large picture is cropped and resized, a small one laid on a white canvas.

Source: Lin et al. 2022, arXiv 2210.01769; Zhou et al. 2022, arXiv 2111.13792; Bardes et al. 2022,
arXiv 2105.04906 (the ResNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Generator as Randomness
from torch import Tensor, nn
from torch.nn import functional

from brainkit.networks.assemble import frozen, load_strictly
from brainkit.networks.clip import CLIP_B32
from brainkit.networks.clip.network import MEAN, STD, load_network
from brainkit_mindreader.checkpoints import RESNET50

if TYPE_CHECKING:
    from brainkit.checkpoints import CheckpointStore

RESNET_SIDE = 128
CROP = 0.5
PARTS = ("conv1", "bn1", "layer1", "layer2")
"""The layers of the ResNet whose features are compared; the others are not loaded."""
Per = Literal["batch", "sample"]


class View(Protocol):
    """What a network sees in pictures."""

    def __call__(self, pictures: Tensor, generator: Randomness) -> Tensor:
        """Return one vector a picture, float32 (batch, numbers), that gradients pass through."""
        ...


@dataclass(frozen=True)
class Window:
    """What of a square picture is seen, in pixels.

    Attributes:
        side: of the seen square.
        left: columns before it; of a canvas, columns before the picture.
        top: rows above it; of a canvas, rows above the picture.
    """

    side: int
    left: int
    top: int


def draw_window(side: int, seen: int, share: float, randomness: Randomness) -> Window:
    """Draw a window for a network that sees a square of its own side.

    Args:
        side: of the picture in pixels.
        seen: side the network sees. A smaller picture is laid on a canvas of it.
        share: least side of the crop of a picture not smaller, as a share of the picture's; 1 takes
            it whole.
        randomness: where the numbers come from.
    """
    if side < seen:
        left, top = _below(seen - side, randomness), _below(seen - side, randomness)
        return Window(seen, left, top)
    least = int(share * side)
    cut = least + _below(side - least - 1, randomness) if least < side else side
    return Window(cut, _below(side - cut, randomness), _below(side - cut, randomness))


def view(pictures: Tensor, seen: int, window: Window) -> Tensor:
    """Return what is seen through a window, standardised by CLIP's mean and spread of colours.

    Args:
        pictures: (batch, 3, side, side) in [-1, 1].
        seen: side of what is given. The crop is resized to it (bicubic, not antialiased); around a
            smaller picture lies white.
        window: as `draw_window` gives.
    """
    side, left, top = pictures.shape[-1], window.left, window.top
    if side < seen:
        right, below = seen - side - left, seen - side - top
        looked = functional.pad(pictures, (left, right, top, below), value=1.0)
    else:
        cropped = pictures[..., top : top + window.side, left : left + window.side]
        looked = functional.interpolate(cropped, (seen, seen), mode="bicubic")
    mean, spread = (torch.tensor(each).view(3, 1, 1).to(pictures) for each in (MEAN, STD))
    return ((looked + 1) / 2 - mean) / spread


def random_view(
    pictures: Tensor, seen: int, share: float, randomness: Randomness, per: Per = "sample"
) -> Tensor:
    """Return what is seen through random windows, (batch, 3, seen, seen).

    Args:
        pictures: (batch, 3, side, side) in [-1, 1].
        seen: side of what is given.
        share: see `draw_window`.
        randomness: where the windows come from.
        per: "sample" draws a window for each picture, "batch" one for all, as published.
    """
    parts = torch.split(pictures, 1) if per == "sample" else (pictures,)
    drawn = [draw_window(pictures.shape[-1], seen, share, randomness) for _ in parts]
    return torch.cat([view(part, seen, w) for part, w in zip(parts, drawn, strict=True)])


def load_clip_view(store: CheckpointStore, per: Per = "sample") -> View:
    """Load CLIP ViT-B/32 and give the function from pictures to what it sees in random windows.

    Returns:
        a function from pictures to embeddings (batch, dim) of length 1.

    Raises:
        CheckpointError: the weights are missing or do not fit.
    """
    network = load_network(store, CLIP_B32, "vision")
    seen = int(network.config.image_size)

    def embed(pictures: Tensor, generator: Randomness) -> Tensor:
        pixels = random_view(pictures.float(), seen, CROP, generator, per)
        return functional.normalize(network(pixels).image_embeds.float(), dim=1)

    return embed


def load_resnet_view(store: CheckpointStore, per: Per = "sample") -> View:
    """Load the ResNet-50 trained by VICReg and give the function from pictures to their vectors.

    Pictures are shrunk whole to 128 px, smaller ones laid on a canvas of that side.

    Args:
        store: has the checkpoint `resnet50-vicreg` in torchvision's names; only the layers up to
            the second stage are read.
        per: what windows and maxima belong to, see `resnet_vector`.

    Returns:
        a function from pictures to vectors (batch, 256).

    Raises:
        CheckpointError: the weights are missing or do not fit.
    """
    network = _resnet(store.load(RESNET50)).to(store.device)

    def look(pictures: Tensor, generator: Randomness) -> Tensor:
        pixels = random_view(pictures.float(), RESNET_SIDE, 1.0, generator, per)
        return resnet_vector(network(pixels).float(), per)

    return look


def resnet_vector(features: Tensor, per: Per = "sample") -> Tensor:
    """Return one vector a picture of what its places show, (batch, height * width).

    For each place, the largest of its channels over the largest of all places, and twice the mean
    of its channels over the largest such mean.

    Args:
        features: (batch, channels, height, width), not negative.
        per: whether maxima are taken over a picture's own places, or over the batch's as published,
            so that a vector depends on the other pictures.
    """
    largest, mean = (each.flatten(1) for each in (features.amax(dim=1), features.mean(dim=1)))
    return largest / _greatest(largest, per) + 2 * mean / _greatest(mean, per)


def _greatest(places: Tensor, per: Per) -> Tensor:
    return places.amax(dim=1, keepdim=True) if per == "sample" else places.amax()


def _resnet(weights: dict[str, Tensor]) -> nn.Sequential:
    """Build torchvision's ResNet-50 up to its second stage, frozen."""
    from torchvision.models import resnet50

    whole = resnet50(weights=None)
    network = nn.Sequential()
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"):
        network.add_module(name, getattr(whole, name))
    # What batch norms counted in training is not in the store; nothing reads it.
    counted = {n: t for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")}
    own = counted | {n: tensor for n, tensor in weights.items() if n.split(".")[0] in PARTS}
    load_strictly(network, own, RESNET50.name)
    return frozen(network)


def _below(largest: int, randomness: Randomness) -> int:
    """Draw a whole number from 0 to the largest, both included."""
    return int(torch.randint(largest + 1, [], generator=randomness))
