"""CLIP: its two towers, what they read, and the embeddings they project to.

Networks are transformers'.

Source: Radford et al. 2021, arXiv 2103.00020.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from brainkit.errors import CheckpointError
from brainkit.networks.assemble import assemble, frozen
from brainkit.networks.clip import text_length

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Checkpoint

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, for red, green and blue in [0, 1]."""


def pixel_values(images: NDArray[np.uint8], side: int) -> Tensor:
    """Prepare uint8 (batch, height, width, 3) as CLIP's processor does.

    The shorter edge is resized to `side` (bicubic, antialiased), the centre cropped, and colours
    are standardised by CLIP's mean and spread.

    Returns:
        float32 (batch, 3, side, side).
    """
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    if min(pixels.shape[-2:]) != side and len(pixels):
        cubic = InterpolationMode.BICUBIC
        pixels = transforms.resize(pixels, [side], interpolation=cubic, antialias=True)
    pixels = transforms.center_crop(pixels, [side, side]) if len(pixels) else pixels
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    return (pixels.to(torch.float32) / 255 - mean) / std


def load_network(store: CheckpointStore, checkpoint: Checkpoint, half: str) -> Any:
    """Build one half of a CLIP network with its projection, frozen, on the store's device.

    Args:
        store: where the weights are.
        checkpoint: a folder in transformers' CLIPModel layout.
        half: "vision" or "text".

    Raises:
        CheckpointError: the weights do not fit the configuration.
    """
    config = transformers.CLIPConfig.from_dict(store.config(checkpoint))
    own = config.vision_config if half == "vision" else config.text_config
    own.projection_dim = config.projection_dim
    kind = getattr(transformers, f"CLIP{half.capitalize()}ModelWithProjection")
    prefixes = (f"{half}_model.", f"{'visual' if half == 'vision' else 'text'}_projection.")
    weights = {p + n: t for p in prefixes for n, t in store.load(checkpoint, p).items()}
    weights = {k: v for k, v in weights.items() if not k.endswith("position_ids")}
    network = assemble(lambda: kind(own), weights, checkpoint.name)
    return frozen(network, store.device)


def load_image_embedding(
    store: CheckpointStore, checkpoint: Checkpoint
) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Return a function from uint8 images to projected embeddings, float32 (batch, dim)."""
    network = load_network(store, checkpoint, "vision")
    side, dim = int(network.config.image_size), int(network.config.projection_dim)

    def embed(images: NDArray[np.uint8]) -> Tensor:
        if not len(images):  # transformers' attention cannot
            return torch.zeros(0, dim, device=store.device)
        embedded: Tensor = network(pixel_values(images, side).to(store.device)).image_embeds
        return embedded.float()

    return embed


def load_text_embedding(
    store: CheckpointStore, checkpoint: Checkpoint
) -> Callable[[Sequence[str]], Tensor]:
    """Return a function from texts to projected embeddings, float32 (batch, dim)."""
    network = load_network(store, checkpoint, "text")
    tokens, dim = load_tokenizer(store, checkpoint), int(network.config.projection_dim)

    def embed(texts: Sequence[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, dim, device=store.device)
        embedded: Tensor = network(tokens(texts).to(store.device)).text_embeds
        return embedded.float()

    return embed


def load_tokenizer(
    store: CheckpointStore, checkpoint: Checkpoint, length: int | None = None
) -> Callable[[Sequence[str]], Tensor]:
    """Return a function from texts to token ids int64 (batch, tokens).

    Texts are truncated and padded with the end token, as the released networks were trained.

    Args:
        store: where the tokenizer's file is.
        checkpoint: a folder with `tokenizer.json`.
        length: tokens of every text, begin and end included; None for all the text tower has.

    Raises:
        UsageError: the length is beyond the text tower's, or leaves no room for a word.
    """
    folder = store.folder(checkpoint)
    length = text_length(store, checkpoint, length)
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"checkpoint {checkpoint.name!r} lacks {path}; copy the file there")
    tokenizer = Tokenizer.from_file(str(path))
    end = _end_token(json.loads(path.read_text(encoding="utf-8")))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id(end), pad_token=end)

    def ids(texts: Sequence[str]) -> Tensor:
        encoded = tokenizer.encode_batch(list(texts))
        return torch.tensor([each.ids for each in encoded], dtype=torch.int64).view(-1, length)

    return ids


def _end_token(tokenizer: dict[str, Any]) -> str:
    known = [str(added["content"]) for added in tokenizer.get("added_tokens", [])]
    ends = [token for token in known if "end" in token or "eos" in token.lower()]
    if len(ends) != 1:
        raise CheckpointError(
            f"the CLIP tokenizer has {known} added tokens, expected one end token"
        )
    return ends[0]
