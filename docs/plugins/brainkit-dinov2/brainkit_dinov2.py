"""The encoder dinov2 and where its weights are published."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from brainkit import Checkpoint, Stimuli, hookimpl, option
from brainkit.parts import Encoder, Reads
from brainkit.weights import Config, Naming, Origin, Piece, Release, RemoteFile, Shapes

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore

DINOV2 = Checkpoint(
    name="dinov2-small",
    source="facebook/dinov2-small on the Hugging Face hub",
    release="brainkit_dinov2:DINOV2_SMALL",
)
SIDE = 224
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, by which the network was trained to have its input scaled."""


def _network(config: Config) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config(**config))


def shapes(config: Config) -> Shapes:
    """Return name and shape of every tensor of a network, without making its weights."""
    import torch

    with torch.device("meta"):
        tensors = _network(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def pieces(config: Config, names: tuple[Collection[str], ...]) -> Mapping[str, Piece]:
    """Return where each tensor lies in the published file: under its own name."""
    return {name: Piece(name) for name in shapes(config)}


DINOV2_SMALL = Release(
    name=DINOV2.name,
    origins=(
        Origin(
            files=(RemoteFile("model.safetensors"),),
            licence="Apache-2.0",
            repository="facebook/dinov2-small",
            page="https://huggingface.co/facebook/dinov2-small",
        ),
    ),
    config={
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": 518,
        "patch_size": 14,
    },
    shapes=shapes,
    layouts=(Naming("transformers", (("model.safetensors",),), pieces),),
    checked=("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size"),
)


@dataclass(frozen=True)
class Dinov2:
    """DINOv2's class token of a picture, or all of its tokens.

    Source: Oquab et al. 2023, arXiv 2304.07193.
    """

    name = "dinov2"
    reads: ClassVar[Reads] = "image"
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = (DINOV2,)
    tokens: bool = option(False, "all tokens rather than the class token")

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (dim,), or (1 + patches, dim) of all tokens."""
        config = store.config(DINOV2)
        n_patches = (SIDE // int(config["patch_size"])) ** 2
        dim = int(config["hidden_size"])
        return (1 + n_patches, dim) if self.tokens else (dim,)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, *shape) on the store's device."""
        import torch

        with torch.device("meta"):
            network = _network(store.config(DINOV2))
        weights = store.load(DINOV2, dtype=store.torch_dtype())
        network.load_state_dict(weights, assign=True)
        network.eval().to(store.device)

        def encode(stimuli: Stimuli) -> Tensor:
            if not len(stimuli.image_ids):
                return torch.zeros(0, *self.shape(store), device=store.device)
            pixels = _scaled(torch.as_tensor(stimuli.images, device=store.device))
            states = network(pixels.to(store.torch_dtype())).last_hidden_state
            return (states if self.tokens else states[:, 0]).float()

        return encode


def _scaled(images: Tensor) -> Tensor:
    """Return pictures, uint8 (batch, height, width, 3), as the network reads them."""
    import torch

    pixels = images.permute(0, 3, 1, 2).float() / 255
    resized = torch.nn.functional.interpolate(
        pixels, (SIDE, SIDE), mode="bicubic", antialias=True
    ).clamp(0, 1)
    mean, spread = (resized.new_tensor(each)[:, None, None] for each in (MEAN, SPREAD))
    return (resized - mean) / spread


@hookimpl
def register_encoders(register: Callable[[Encoder], None]) -> None:
    """Register the encoder."""
    register(Dinov2())
