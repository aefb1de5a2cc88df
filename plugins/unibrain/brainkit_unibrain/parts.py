"""UniBrain's parts: Versatile Diffusion's CLIP contexts, Optimus and the four-flow network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from brainkit import Condition, option
from brainkit.encoders.clip import CLIP_L14, mean_over_captions
from brainkit_unibrain.checkpoints import FOUR_FLOW, OPTIMUS

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Gives, Reads

OWN_CONTEXT = {"image": "clip_image", "text": "clip_text"}


@dataclass(frozen=True)
class VdClipImage:
    """CLIP's image tokens as Versatile Diffusion uses them.

    All tokens are normalised by the last layer norm and projected; the matrix is divided by the
    length of the projected class token. Feature: float32 (tokens, dim), (257, 768) released.

    Source: Xu et al. 2022, arXiv 2211.08332; checked against the published context encoder.
    """

    name = "vd-clip-image"
    reads: ClassVar[Reads] = "image"
    checkpoints = (CLIP_L14,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (tokens, dim) from the network's configuration."""
        config = store.config(CLIP_L14)
        vision = config["vision_config"]
        patches = int(vision["image_size"]) // int(vision["patch_size"])
        return (patches**2 + 1, int(config["projection_dim"]))

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, tokens, dim)."""
        from brainkit_unibrain.contexts import load_image_context

        context = load_image_context(store)
        return _with_empty(lambda stimuli: context(stimuli.images), self.shape(store))


@dataclass(frozen=True)
class VdClipText:
    """CLIP's text tokens as Versatile Diffusion uses them, averaged over an image's captions.

    All tokens, padding included, are projected; the matrix is divided by the length of the
    projected end token. Feature: float32 (tokens, dim), (77, 768) released.

    Source: Xu et al. 2022, arXiv 2211.08332; the mean over captions: Brain-Diffuser's code.
    """

    name = "vd-clip-text"
    reads: ClassVar[Reads] = "caption"
    captions: Literal["mean", "first"] = option("mean", "which of an image's captions count")
    checkpoints = (CLIP_L14,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (tokens, dim) from the network's configuration."""
        config = store.config(CLIP_L14)
        return (
            int(config["text_config"]["max_position_embeddings"]),
            int(config["projection_dim"]),
        )

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, tokens, dim)."""
        from brainkit_unibrain.contexts import load_text_context

        context = load_text_context(store)
        return _with_empty(
            lambda stimuli: mean_over_captions(_taken(stimuli, self.captions), context),
            self.shape(store),
        )


@dataclass(frozen=True)
class OptimusEncoder:
    """The posterior mean of the text autoencoder Optimus for an image's caption.

    Feature: float32 (latent,), (768,) released, not scaled. The default takes the first caption:
    the mean over paraphrases lies between sentences and is decoded to garbled ones.

    Source: Li et al. 2020, arXiv 2004.04092.
    """

    name = "optimus"
    reads: ClassVar[Reads] = "caption"
    captions: Literal["first", "mean"] = option("first", "which of an image's captions count")
    checkpoints = (OPTIMUS,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (latent,) from the network's configuration."""
        return (int(store.config(OPTIMUS)["latent"]),)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, latent)."""
        from brainkit_unibrain.loading import load_reader

        read = load_reader(store)
        return _with_empty(
            lambda stimuli: mean_over_captions(_taken(stimuli, self.captions), read),
            self.shape(store),
        )


@dataclass(frozen=True)
class OptimusDecoder:
    """Write the caption of an Optimus latent with its GPT-2, batched and cached.

    Source: Li et al. 2020, arXiv 2004.04092; limits and repeat removal as Versatile Diffusion's
    published demo.
    """

    name = "optimus"
    gives: ClassVar[Gives] = "caption"
    decode: Literal["sampled", "greedy"] = option(
        "sampled", "draw each token from the whole distribution, or take the likeliest"
    )
    remove_repeats: bool = option(True, "drop text that repeats the words right before it")
    length: int = option(30, "most tokens, begin and end included", ge=3)
    checkpoints = (OPTIMUS,)

    def load(self, store: CheckpointStore) -> Callable[[Tensor, Sequence[int]], list[str]]:
        """Return a function from latents (batch, latent) and one seed each to captions."""
        from brainkit_unibrain.loading import load_writer

        return load_writer(store, self)


@dataclass(frozen=True)
class FourFlow:
    """Versatile Diffusion's four-flow network, guided by both CLIP contexts.

    From image latent Z_I, text latent Z_T and the CLIP contexts C_I and C_T it prepares the image
    flow and the text flow, each starting from its latent. Switching a latent off starts from noise
    alone with all steps; switching a context off gives the other one weight 1.

    Source: Mai & Zhang 2023, arXiv 2308.07428; Xu et al. 2022, arXiv 2211.08332.
    """

    name = "four-flow"
    gives: ClassVar[tuple[Gives, ...]] = ("image", "caption")
    strength: float = option(0.75, "share of the schedule that is run from the latents", gt=0, le=1)
    guidance: float = option(7.5, "scale of classifier-free guidance", ge=0)
    image_weight: float = option(0.6, "weight of C_I for images; C_T has the rest", ge=0, le=1)
    caption_image_weight: float = option(
        0.9, "weight of C_I for captions; C_T has the rest", ge=0, le=1
    )
    uncond_image: Literal["grey", "black", "zeros"] = option(
        "grey", "the image of the unconditional context: mid-grey, black, or tokens of zeros"
    )
    use_zi: bool = option(True, "start images from the predicted Z_I")
    use_zt: bool = option(True, "start captions from the predicted Z_T")
    use_ci: bool = option(True, "condition on C_I")
    use_ct: bool = option(True, "condition on C_T")
    checkpoints = (FOUR_FLOW, CLIP_L14)

    @property
    def needs(self) -> tuple[str, ...]:
        """The features it reads: without Z_T and C_T none that are made from captions."""
        unused = {"text_latent": not self.use_zt, "clip_text": not self.use_ct}
        features = ("image_latent", "text_latent", "clip_image", "clip_text")
        return tuple(name for name in features if not unused.get(name))

    def recipe(self, output: str) -> str:
        """Describe the options that bear on one output, for stamps."""
        other = {"image": ("caption_image_weight", "use_zt"), "caption": ("image_weight", "use_zi")}
        values = {k: v for k, v in vars(self).items() if k not in other[output]}
        return f"FourFlow({', '.join(f'{k}={v!r}' for k, v in values.items())})"

    def weights(self, output: str) -> dict[str, float]:
        """Return the weights of the image and the text context for one output; they sum to 1."""
        share = self.image_weight if output == "image" else self.caption_image_weight
        weights = {"image": share * self.use_ci, "text": (1 - share) * self.use_ct}
        if self.use_ci != self.use_ct:
            weights = {"image": float(self.use_ci), "text": float(self.use_ct)}
        return weights

    def load(
        self, store: CheckpointStore
    ) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
        """Return a function from the four features to the conditions "image" and "caption"."""
        from brainkit_unibrain.loading import load_flows

        return load_flows(store, self)


def _with_empty(
    encode: Callable[[Stimuli], Tensor], shape: tuple[int, ...]
) -> Callable[[Stimuli], Tensor]:
    """Answer an empty batch without asking networks that need at least one row."""

    def encoded(stimuli: Stimuli) -> Tensor:
        if len(stimuli.image_ids):
            return encode(stimuli)
        import torch

        return torch.zeros(0, *shape)

    return encoded


def _taken(stimuli: Stimuli, which: str) -> Sequence[Sequence[str]]:
    return [each[:1] for each in stimuli.captions] if which == "first" else stimuli.captions
