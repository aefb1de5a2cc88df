"""CLIP features of stimuli, through transformers' CLIP networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Reads

CLIP_L14 = Checkpoint(
    name="clip-vit-l14",
    source="openai/clip-vit-large-patch14",
    release="brainkit.networks.clip.released:CLIP_L14",
    miniature="brainkit.miniature.checkpoints:clip",
)
CLIP_B32 = Checkpoint(
    name="clip-vit-b32",
    source="openai/clip-vit-base-patch32",
    release="brainkit.networks.clip.released:CLIP_B32",
    miniature="brainkit.miniature.checkpoints:clip_b32",
)
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipImage:
    """The projected CLIP embedding of an image.

    Feature: float32 (dim,), not normalised; (768,) for ViT-L/14.

    Source: Radford et al. 2021, arXiv 2103.00020.
    """

    name = "clip-image"
    reads: ClassVar[Reads] = "image"
    checkpoints = (CLIP_L14,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Give (dim,) from the network's configuration."""
        return (int(store.config(CLIP_L14)["projection_dim"]),)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Give a function from stimuli to float32 (batch, dim)."""
        embed = load_image_embedding(store, CLIP_L14)
        return lambda stimuli: embed(stimuli.images)


@dataclass(frozen=True)
class ClipText:
    """The mean projected CLIP embedding of an image's captions.

    Feature: float32 (dim,); each caption's embedding has length 1 before the mean.

    Source: Radford et al. 2021, arXiv 2103.00020.
    """

    name = "clip-text"
    reads: ClassVar[Reads] = "caption"
    checkpoints = (CLIP_L14,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Give (dim,) from the network's configuration."""
        return (int(store.config(CLIP_L14)["projection_dim"]),)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Give a function from stimuli to float32 (batch, dim)."""
        embed = load_text_embedding(store, CLIP_L14)

        def unit(texts: Sequence[str]) -> Tensor:
            embedded = embed(texts)
            normed: Tensor = embedded / embedded.norm(dim=-1, keepdim=True)
            return normed

        return lambda stimuli: mean_over_captions(stimuli.captions, unit)


def mean_over_captions(
    captions: Sequence[Sequence[str]], encode: Callable[[Sequence[str]], Tensor]
) -> Tensor:
    """Encode all captions of all images at once and average each image's.

    Args:
        captions: for each image its captions, at least one.
        encode: gives (texts, *shape) for a list of texts.

    Returns:
        float32 (images, *shape).
    """
    import torch

    encoded = encode([caption for each in captions for caption in each])
    parts = torch.split(encoded, [len(each) for each in captions])
    if not parts:
        return encoded
    return torch.stack([part.mean(dim=0) for part in parts])


def pixel_values(images: NDArray[np.uint8], side: int) -> Tensor:
    """Prepare uint8 (batch, height, width, 3) as CLIP's processor does.

    The shorter edge is resized to `side` (bicubic, antialiased), the centre cropped, and colours
    are standardised by CLIP's mean and spread.

    Returns:
        float32 (batch, 3, side, side).
    """
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

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
    import transformers

    config = transformers.CLIPConfig.from_dict(store.config(checkpoint))
    own = config.vision_config if half == "vision" else config.text_config
    own.projection_dim = config.projection_dim
    kind = getattr(transformers, f"CLIP{half.capitalize()}ModelWithProjection")
    prefixes = (f"{half}_model.", f"{'visual' if half == 'vision' else 'text'}_projection.")
    weights = {p + n: t for p in prefixes for n, t in store.load(checkpoint, p).items()}
    weights = {k: v for k, v in weights.items() if not k.endswith("position_ids")}
    network = assemble(lambda: kind(own), weights, checkpoint.name)
    return network.to(store.device).eval().requires_grad_(False)


def assemble(make: Callable[[], Any], weights: dict[str, Tensor], name: str) -> Any:
    """Build a network around its weights, which it takes as they are: nothing is held twice.

    Args:
        make: builds the network; called with the meta device as default, so without numbers.
        weights: exactly the network's tensors.
        name: of the checkpoint, for errors.

    Raises:
        CheckpointError: lists the missing, extra and misshapen tensors.
    """
    import torch

    with torch.device("meta"):
        network = make()
    load_strictly(network, weights, name, assign=True)
    for path, buffer in list(network.named_buffers()):
        if buffer.is_meta and path.endswith("position_ids"):  # no weights: the numbers of places
            places = torch.arange(buffer.shape[-1]).expand(buffer.shape)
            module, _, last = path.rpartition(".")
            network.get_submodule(module).register_buffer(last, places, persistent=False)
    return network


def load_strictly(
    network: Any, weights: dict[str, Tensor], name: str, *, assign: bool = False
) -> None:
    """Load weights into a network that has to have exactly these tensors.

    Args:
        network: of torch.
        weights: its tensors, by name.
        name: of the checkpoint, for errors.
        assign: whether the network takes the tensors themselves and not their numbers.

    Raises:
        CheckpointError: lists the missing, extra and misshapen tensors.
    """
    try:
        network.load_state_dict(weights, strict=True, assign=assign)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise CheckpointError(f"checkpoint {name!r} does not fit its network: {said}") from error


def load_image_embedding(
    store: CheckpointStore, checkpoint: Checkpoint
) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Give a function from uint8 images to projected embeddings, float32 (batch, dim)."""
    import torch

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
    """Give a function from texts to projected embeddings, float32 (batch, dim)."""
    import torch

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
    """Give a function from texts to token ids int64 (batch, tokens).

    Texts are truncated and padded with the end token, as the released networks were trained.

    Args:
        store: where the tokenizer's file is.
        checkpoint: a folder with `tokenizer.json`.
        length: tokens of every text, begin and end included; None for all the text tower has.

    Raises:
        UsageError: the length is beyond the text tower's, or leaves no room for a word.
    """
    import torch
    from tokenizers import Tokenizer

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


def text_length(store: CheckpointStore, checkpoint: Checkpoint, length: int | None) -> int:
    """Give the tokens a text has: so many, or with None all that the text tower has places for.

    Raises:
        UsageError: the length does not fit the text tower.
    """
    full = int(store.config(checkpoint)["text_config"]["max_position_embeddings"])
    if length is None:
        return full
    if not 3 <= length <= full:
        raise UsageError(
            f"texts of {length} tokens were asked for, but {checkpoint.name} reads 3 to {full}, "
            "begin and end included; choose a length in between"
        )
    return length


def _end_token(tokenizer: dict[str, Any]) -> str:
    known = [str(added["content"]) for added in tokenizer.get("added_tokens", [])]
    ends = [token for token in known if "end" in token or "eos" in token.lower()]
    if len(ends) != 1:
        raise CheckpointError(
            f"the CLIP tokenizer has {known} added tokens, expected one end token"
        )
    return ends[0]
