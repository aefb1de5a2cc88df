"""The part of Takagi & Nishimoto's method: Stable Diffusion from a picture of low resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from brainkit import Condition, option
from brainkit.encoders.autokl import KL_F8
from brainkit.encoders.clip import CLIP_L14
from brainkit_minddiffuser.checkpoints import SD_UNET

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.parts import Gives


@dataclass(frozen=True)
class LowResolution:
    """Stable Diffusion from the picture that a small decoded latent z shows, guided by c.

    z is decoded to a picture of 8 bits a colour, which is resized to the network's own side and
    encoded again; that latent is noised and denoised under the decoded text context c. Without z
    pictures begin with noise alone and all steps are run; without c the resized picture is left
    as it is.

    Source: Takagi & Nishimoto 2023, CVPR, and the code published with it.
    """

    name = "takagi"
    gives: ClassVar[tuple[Gives, ...]] = ("image",)
    reads_gaps = True
    guidance: float = option(5.0, "scale of classifier-free guidance", ge=0)
    strength: float = option(0.8, "share of the schedule that is run from z", gt=0, le=1)
    posterior: Literal["mean", "sample"] = option(
        "mean", "the encoded picture's latent: the posterior's mean, or a draw seeded by z itself"
    )
    use_z: bool = option(True, "start from the decoded z")
    use_c: bool = option(True, "condition on the decoded c")
    checkpoints = (SD_UNET, CLIP_L14, KL_F8)

    @property
    def needs(self) -> tuple[str, ...]:
        """The features it reads: z, and c where it is in use."""
        return ("image_latent", "text_tokens") if self.use_c else ("image_latent",)

    def load(
        self, store: CheckpointStore
    ) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
        """Return a function from both features to the condition "image"."""
        from brainkit_minddiffuser.loading import load_low_resolution

        return load_low_resolution(store, self)
