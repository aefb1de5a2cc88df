"""Structure: what the blocks of CLIP ViT-B/32 add to an image's tokens, and a loss on it.

MindDiffuser's structural features are the outputs of the second linear layer of each block's MLP,
before they are added to the residual stream. Images are resized without antialiasing and
standardised by ImageNet's colours, not CLIP's.

Source: Lu et al. 2023, arXiv 2303.14139, and the code published with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from brainkit import option
from brainkit.errors import DataError, UsageError
from brainkit.networks.autokl import KL_F8
from brainkit.networks.clip import CLIP_B32

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Reads

    Misfit = Callable[[Tensor], Tensor]

Layer = int | Literal["final"]
Resize = Literal["bilinear", "bicubic"]
CHECKPOINTS = (CLIP_B32, KL_F8)
LAYERS = (1, 2, 3, 4, 5, 6)
EMPHASIS = {1: 1.5, 2: 1.2}
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ClipLayer:
    """What the MLP of one block of CLIP ViT-B/32 adds to an image's tokens.

    Feature: float32 (tokens, dim), (50, 768) released; token 0 is the class token. The layer
    "final" is the projected class token instead, float32 (dim,), (512,) released.

    Source: Lu et al. 2023, arXiv 2303.14139; preprocessing as the code published with it.
    """

    name = "clip-layer"
    reads: ClassVar[Reads] = "image"
    layer: int | Literal["final"] = option(
        1, "block of the network, counted from 1, or the final embedding", ge=1, le=12
    )
    resize: Literal["bilinear", "bicubic"] = option(
        "bilinear", "how images are resized; generated ones always bicubic"
    )
    checkpoints = (CLIP_B32,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (tokens, dim), or (dim,) of the final layer, from the network's configuration.

        Raises:
            UsageError: the network has no such layer.
        """
        config = store.config(CLIP_B32)
        vision = config["vision_config"]
        if self.layer == "final":
            return (int(config["projection_dim"]),)
        n_blocks = int(vision["num_hidden_layers"])
        if self.layer > n_blocks:
            raise UsageError(
                f"clip-layer's layer is {self.layer}, but {CLIP_B32.name} has {n_blocks} blocks; "
                f'choose 1 to {n_blocks} or "final"'
            )
        patches = int(vision["image_size"]) // int(vision["patch_size"])
        return (patches**2 + 1, int(vision["hidden_size"]))

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, *shape)."""
        import torch

        from brainkit.networks.clip.network import load_network

        shape = self.shape(store)
        network = load_network(store, CLIP_B32, "vision")

        def encode(stimuli: Stimuli) -> Tensor:
            if not len(stimuli.images):
                return torch.zeros(0, *shape, device=store.device)
            pixels = torch.as_tensor(stimuli.images).to(store.device).permute(0, 3, 1, 2)
            prepared = prepare(pixels.float() / 255, side_of(network), self.resize)
            return layer_features(network, prepared, [self.layer])[self.layer].float()

        return encode


@dataclass(frozen=True)
class Structure:
    """What the structural loss is made of.

    Attributes:
        layers: the blocks compared, counted from 1; feature `layer_K` holds block K's target.
        final_weight: weight w of the final embedding, feature `layer_final`, in [0, 1]; the
            blocks have the rest. The published runs use 0 and then need no such feature.
    """

    layers: tuple[int, ...] = LAYERS
    final_weight: float = 0.0

    @property
    def needs(self) -> tuple[str, ...]:
        """The features whose predictions the loss compares with."""
        return tuple(feature_name(layer) for layer in self.wanted)

    @property
    def wanted(self) -> tuple[Layer, ...]:
        """The layers of the network that have to be computed."""
        return (*self.layers, "final") if self.final_weight else self.layers


PUBLISHED = Structure()


def feature_name(layer: Layer) -> str:
    """Return the feature that holds a layer.

    >>> feature_name(3)
    'layer_3'
    """
    return f"layer_{layer}"


def load_misfit(
    store: CheckpointStore, structure: Structure = PUBLISHED
) -> Callable[[Mapping[str, Tensor]], Misfit]:
    """Load the networks of the structural loss, frozen, in float32.

    Returns:
        a function from predicted features, float32 (batch, *shape) with NaN for units that are not
        predicted, to `misfit(latent)`, which gives float32 (batch,) for scaled latents
        float32 (batch, *latent); row i depends on latent i alone. See `structural_misfit`.
    """
    from brainkit.networks.clip.network import load_network

    return structural_misfit(
        load_unit_decoder(store), load_network(store, CLIP_B32, "vision"), structure
    )


def load_unit_decoder(store: CheckpointStore) -> Callable[[Tensor], Tensor]:
    """Return a function from latents (batch, *latent) to images in [0, 1].

    Images are (batch, 3, height, width). Gradients pass; they are
    computed block by block again, so that only one block's are kept.
    """
    from brainkit.networks.autokl.network import decoded, load_autokl

    network = load_autokl(store)
    network.enable_gradient_checkpointing()
    return lambda latent: ((decoded(network, latent) + 1) / 2).clamp(0, 1)


def structural_misfit(
    decode: Callable[[Tensor], Tensor], network: Any, structure: Structure = PUBLISHED
) -> Callable[[Mapping[str, Tensor]], Misfit]:
    """Return the structural loss for a decoder of latents and a CLIP vision network.

    For each image, with f_l the features of what its latent decodes to, t_l the predicted ones and
    m_l = 1 where a unit is predicted (t_l = 0 elsewhere), both flattened,

        loss = 0.1 w (1 - cos(f_final, t_final)) + (1 - w) sum_l a_l mean_u (t_lu - m_lu f_lu)^2

    The mean runs over all units u of the layer, also those that are not predicted. The weights a_l
    are those of `layer_weights`.

    Args:
        decode: from latents to images (batch, 3, height, width) in [0, 1].
        network: transformers' CLIPVisionModelWithProjection.
        structure: which layers count.

    Source: Lu et al. 2023, arXiv 2303.14139, and the first code published with it.
    """
    side, w = side_of(network), structure.final_weight

    def bind(features: Mapping[str, Tensor]) -> Misfit:
        given = _targets(features, structure)
        kept = {layer: (~target.isnan()).to(target.dtype) for layer, target in given.items()}
        targets = {layer: target.nan_to_num() for layer, target in given.items()}
        weights = layer_weights(targets, structure.layers)

        def misfit(latent: Tensor) -> Tensor:
            pixels = prepare(decode(latent), side, "bicubic")
            features = layer_features(network, pixels, structure.wanted)
            loss = weights.new_zeros(len(latent))
            for layer, weight in zip(structure.layers, weights.unbind(1), strict=True):
                error = _error(targets[layer], kept[layer], features[layer], layer)
                loss = loss + (1 - w) * weight * error
            if w:
                loss = loss + 0.1 * w * _turned(features["final"], targets["final"])
            return loss

        return misfit

    return bind


def layer_weights(targets: Mapping[Layer, Tensor], layers: Sequence[int]) -> Tensor:
    """Return each image's weight a_l of each block's squared error, (batch, layers).

    a_l = e_l (1 / |t_l|) / sum_j (1 / |t_j|), with e = 1.5 for block 1, 1.2 for block 2, else 1;
    not normalised again.

    Raises:
        DataError: a target is zero everywhere.
    """
    import torch

    norms = torch.stack([targets[layer].flatten(1).norm(dim=1) for layer in layers], dim=1)
    if not bool((norms > 0).all()):
        layer = layers[int((norms > 0).all(dim=0).logical_not().nonzero()[0])]
        raise DataError(
            f"{feature_name(layer)} is predicted to be 0 or NaN in every unit of an image, "
            "expected a prediction of some; check how its regressor selects units"
        )
    emphasis = norms.new_tensor([EMPHASIS.get(layer, 1.0) for layer in layers])
    inverse = 1 / norms
    return inverse / inverse.sum(dim=1, keepdim=True) * emphasis


def side_of(network: Any) -> int:
    """Return the height and width in pixels that a CLIP vision network reads."""
    return int(network.config.image_size)


def prepare(images: Tensor, side: int, resize: Resize) -> Tensor:
    """Resize images and standardise their colours by ImageNet's mean and spread.

    Without antialiasing; the aspect ratio is not kept. Bicubic values may leave [0, 1] slightly.

    Args:
        images: float (batch, 3, height, width) in [0, 1].
        side: height and width wanted, in pixels.
        resize: "bilinear" or "bicubic".

    Returns:
        float (batch, 3, side, side).
    """
    from torch.nn.functional import interpolate

    resized = interpolate(
        images, size=(side, side), mode=resize, align_corners=False, antialias=False
    )
    mean = resized.new_tensor(MEAN).view(1, 3, 1, 1)
    std = resized.new_tensor(STD).view(1, 3, 1, 1)
    return (resized - mean) / std


def layer_features(network: Any, pixels: Tensor, wanted: Sequence[Layer]) -> dict[Layer, Tensor]:
    """Run a CLIP vision network as far as needed and give what the wanted layers make.

    Args:
        network: transformers' CLIPVisionModelWithProjection.
        pixels: float (batch, 3, side, side), from `prepare`.
        wanted: blocks counted from 1, or "final".

    Returns:
        layer -> (batch, tokens, dim), what the block's MLP adds to the tokens; "final" ->
        (batch, dim), the projected class token.
    """
    tower = network.vision_model
    blocks = tower.encoder.layers
    n_run = len(blocks) if "final" in wanted else max(each for each in wanted if each != "final")
    tokens: Tensor = tower.pre_layrnorm(tower.embeddings(pixels))
    features: dict[Layer, Tensor] = {}
    for number, block in enumerate(blocks[:n_run], start=1):
        attended = tokens + block.self_attn(block.layer_norm1(tokens))[0]
        added: Tensor = block.mlp(block.layer_norm2(attended))
        tokens = attended + added
        if number in wanted:
            features[number] = added
    if "final" in wanted:
        features["final"] = network.visual_projection(tower.post_layernorm(tokens[:, 0]))
    return features


def _targets(features: Mapping[str, Tensor], structure: Structure) -> dict[Layer, Tensor]:
    missing = [name for name in structure.needs if name not in features]
    if missing:
        raise UsageError(
            f"the structural loss lacks {', '.join(missing)}; it needs {list(structure.needs)}, "
            f"but is given {sorted(features)}"
        )
    return {layer: features[feature_name(layer)] for layer in structure.wanted}


def _error(target: Tensor, kept: Tensor, features: Tensor, layer: int) -> Tensor:
    if target.shape != features.shape:
        raise DataError(
            f"{feature_name(layer)} was predicted as {tuple(target.shape)}, but {CLIP_B32.name} "
            f"gives {tuple(features.shape)}; encode with the same network"
        )
    return (target - kept * features).square().flatten(1).mean(dim=1)


def _turned(features: Tensor, target: Tensor) -> Tensor:
    from torch.nn.functional import cosine_similarity

    return 1 - cosine_similarity(features, target, dim=1)
