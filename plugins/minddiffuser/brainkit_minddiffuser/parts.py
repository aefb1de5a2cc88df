"""MindDiffuser's parts that speak to Stable Diffusion: its texts and its denoiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from brainkit import Condition, option
from brainkit.encoders.autokl import KL_F8
from brainkit.encoders.clip import mean_over_captions
from brainkit.networks.clip import CLIP_B32, CLIP_L14, text_length
from brainkit_minddiffuser.checkpoints import SD_UNET

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Gives, Reads

LAYERS = tuple(f"layer_{number}" for number in range(1, 7))


@dataclass(frozen=True)
class SdText:
    """Stable Diffusion's text context, averaged over an image's captions.

    Feature: float32 (tokens, dim), the last hidden states of the text tower after its final norm,
    padding included; (15, 768) for MindDiffuser, (77, 768) for all the tower has. The tower reads
    from left to right, so token 0, the begin of text, is the same for every caption.

    Source: Rombach et al. 2022, arXiv 2112.10752; 15 tokens and five captions: the code published
    with Lu et al. 2023, arXiv 2303.14139.
    """

    name = "sd-text"
    reads: ClassVar[Reads] = "caption"
    tokens: int | Literal["all"] = option(
        15, "tokens of a text, begin and end included, or all the text tower has"
    )
    captions: Literal["five", "all", "first"] = option(
        "five", "which of an image's captions are averaged; five are the first five"
    )
    checkpoints = (CLIP_L14,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (tokens, dim) from the network's configuration.

        Raises:
            UsageError: the text tower cannot read so many tokens, or so few.
        """
        length = text_length(store, CLIP_L14, self._asked)
        return (length, int(store.config(CLIP_L14)["text_config"]["hidden_size"]))

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, tokens, dim)."""
        import torch

        from brainkit_minddiffuser.loading import load_reader

        shape, read = self.shape(store), load_reader(store, self._asked)

        def encode(stimuli: Stimuli) -> Tensor:
            if not len(stimuli.image_ids):  # transformers' attention cannot
                return torch.zeros(0, *shape, device=store.device)
            return mean_over_captions(self._taken(stimuli.captions), read)

        return encode

    @property
    def _asked(self) -> int | None:
        return None if self.tokens == "all" else self.tokens

    def _taken(self, captions: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
        most = {"five": 5, "all": None, "first": 1}[self.captions]
        return [each[:most] for each in captions]


@dataclass(frozen=True)
class StableDiffusion:
    """Stable Diffusion from the decoded latent z, guided by the decoded text context c.

    Besides the denoiser it offers what a sampler needs to improve z and c: the context with a
    function that binds another one, and the structural loss of the six decoded layers as misfit.
    Its networks are loaded when it is first asked. Without z pictures begin with noise alone and
    all steps are run; without c the latent is left as it is.

    Source: Lu et al. 2023, arXiv 2303.14139; Rombach et al. 2022, arXiv 2112.10752.
    """

    name = "stable-diffusion"
    gives: ClassVar[tuple[Gives, ...]] = ("image",)
    reads_gaps = True
    guidance: float = option(5.0, "scale of classifier-free guidance", ge=0)
    strength: float = option(0.7, "share of the schedule that is run from z", gt=0, le=1)
    use_z: bool = option(True, "start from the decoded z")
    use_c: bool = option(True, "condition on the decoded c")
    checkpoints = (SD_UNET, CLIP_L14, KL_F8, CLIP_B32)

    @property
    def needs(self) -> tuple[str, ...]:
        """The features it reads: without c neither c nor the layers of the second stage."""
        return ("image_latent", "text_tokens", *LAYERS) if self.use_c else ("image_latent",)

    def load(
        self, store: CheckpointStore
    ) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
        """Return a function from the eight features to the condition "image"."""
        from brainkit_minddiffuser.loading import load_stable_diffusion

        return load_stable_diffusion(store, self)
