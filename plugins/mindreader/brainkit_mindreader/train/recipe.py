"""How a generator is trained: the numbers, and what of them cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from brainkit.errors import UsageError
from brainkit_mindreader.generator.discriminator import GROUP
from brainkit_mindreader.generator.objectives import Weights


@dataclass(frozen=True)
class Recipe:
    """How a generator is trained; the defaults are the published ones.

    Attributes:
        batch: pictures a step over all processes.
        rate: learning rate of both networks.
        discriminator_rate: factor on it for the discriminator.
        betas: of Adam.
        gamma: weight of R1; None for 0.0002 * resolution^2 / batch.
        r1_every: steps between R1 penalties; 0 for none.
        path_every: steps between path length penalties; 0 for none.
        path_weight: of that penalty.
        style_mixing: chance that late style vectors come from another, random z.
        random_z: chance that a picture's first z is random; else it is 0.
        noise: "random" or "const", added to feature maps.
        condition_noise: least and most share of noise in a condition.
        ema_kimg: half-life of the running average in thousands of pictures; None for
            batch * 10 / 32.
        ema_rampup: at first the half-life is at most this share of the pictures seen; 0 for never.
        adversary_from: progress at which the discriminator joins; before, only `weights.paired` and
            terms of other networks count.
        decay_from: progress from which the learning rate falls to 0; 1 for never.
        paired_late: `weights.paired` from there on; None for no other.
        faster: factor on the learning rate of the condition branches.
        weights: of the loss terms.
        seed: of everything drawn.
    """

    batch: int = 16
    rate: float = 0.0025
    discriminator_rate: float = 1.0
    betas: tuple[float, float] = (0.0, 0.99)
    gamma: float | None = None
    r1_every: int = 16
    path_every: int = 4
    path_weight: float = 2.0
    style_mixing: float = 0.9
    random_z: float = 0.0
    noise: str = "random"
    condition_noise: tuple[float, float] = (0.1, 0.1)
    ema_kimg: float | None = None
    ema_rampup: float = 0.05
    adversary_from: float = 0.0
    decay_from: float = 1.0
    paired_late: float | None = None
    faster: float = 1.0
    weights: Weights = field(default_factory=Weights)
    seed: int = 0

    def weights_at(self, progress: float) -> Weights:
        """Return the weights of the loss terms at a progress in [0, 1]."""
        if self.paired_late is None or progress < self.decay_from:
            return self.weights
        return replace(self.weights, paired=self.paired_late)

    def gamma_at(self, resolution: int) -> float:
        """Return the weight of R1 for pictures of a side in pixels."""
        return 2e-4 * resolution**2 / self.batch if self.gamma is None else self.gamma

    @property
    def half_life(self) -> float:
        """Half-life of the running average in pictures, before any ramp-up."""
        kimg = self.batch * 10 / 32 if self.ema_kimg is None else self.ema_kimg
        return kimg * 1000

    def check(self, processes: int = 1, *, clip: bool = True, resnet: bool = True) -> None:
        """Check that a training of so many processes with these watchers can be.

        Args:
            processes: that share a batch.
            clip: whether a CLIP is given.
            resnet: whether a ResNet is given.

        Raises:
            UsageError: a number is out of range, or a term lacks its network.
        """
        share, rest = divmod(self.batch, processes)
        if share < 1 or rest:
            raise UsageError(
                f"--batch is {self.batch}, expected a multiple of the {processes} processes"
            )
        if share % min(GROUP, share):
            raise UsageError(
                f"--batch gives each process {share} pictures, expected 1 to {GROUP} or a multiple "
                f"of {GROUP}, the group in which the discriminator compares pictures"
            )
        weights = self.weights
        if (weights.clip or weights.clip_image) and not clip:
            raise UsageError("a weight of clip or clip_image needs CLIP's weights; set both to 0")
        if weights.resnet and not resnet:
            raise UsageError("a weight of resnet needs the ResNet's weights; set it to 0")
        early = weights.clip or weights.clip_image or weights.resnet or weights.paired
        if self.adversary_from > 0 and not early:
            raise UsageError(
                f"before progress {self.adversary_from} no loss term has a weight; give paired, "
                "clip, clip_image or resnet one, or let the adversary begin at 0"
            )
