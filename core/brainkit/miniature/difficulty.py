"""How hard the miniature's subjects are to decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from brainkit.errors import UsageError

REPEATS: Final = 3
SMALLEST: Final = 40
"""Fewest voxels that leave every area one."""


@dataclass(frozen=True)
class Difficulty:
    """How hard a simulated subject is to decode, and in which format its betas lie.

    Attributes:
        voxels: number of voxels in `nsdgeneral`; their noise is independent, so many are easy.
        noise_ceiling: median over voxels of the share of variance that the image explains after
            averaging three presentations, in (0, 1); 0.40 as in NSD. Over voxels it follows
            Beta(2.2, 3.2) for 0.40, and a Beta of the same concentration otherwise.
        signal_space_noise: share of the noise variance, in [0, 1], that is the response to another
            image instead of independent noise; no averaging over voxels removes it.
        train_images: images in the training set, each shown three times.
        test_images: images in the test set, each shown three times.
        format: of the betas; NSD has both, with the same numbers.
    """

    voxels: int = 2000
    noise_ceiling: float = 0.40
    signal_space_noise: float = 0.0
    train_images: int = 1000
    test_images: int = 100
    format: Literal["hdf5", "nifti"] = "hdf5"

    def __post_init__(self) -> None:
        checks = (
            ("voxels", self.voxels >= SMALLEST, f"at least {SMALLEST}"),
            ("noise_ceiling", 0 < self.noise_ceiling < 1, "a number between 0 and 1"),
            ("signal_space_noise", 0 <= self.signal_space_noise <= 1, "a number from 0 to 1"),
            ("train_images", self.train_images >= 10, "at least 10"),
            ("test_images", self.test_images >= 2, "at least 2"),
            ("format", self.format in ("hdf5", "nifti"), "hdf5 or nifti"),
        )
        for name, holds, expected in checks:
            if not holds:
                raise UsageError(f"difficulty.{name} is {getattr(self, name)}; give {expected}")

    @property
    def images(self) -> int:
        """Number of images, training and test."""
        return self.train_images + self.test_images
