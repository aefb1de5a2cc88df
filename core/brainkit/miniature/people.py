"""Who looks at the pictures: the miniature's subjects, numbered and sized as four of NSD's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from brainkit.errors import UsageError
from brainkit.miniature.difficulty import SMALLEST, Difficulty

FIRST: Final = 1
VOXELS: Final = {1: 15_724, 2: 14_278, 5: 13_039, 7: 12_682}
"""Voxels in `nsdgeneral` of NSD's subjects, whose proportions the miniature's keep."""
CEILINGS: Final = {1: 1.0, 2: 0.95, 5: 0.9, 7: 0.8}
"""Median noise ceiling of each subject, as a share of `Difficulty.noise_ceiling`; invented."""
SEEDS: Final = 100
"""Seeds that a miniature may have; those of the other subjects follow them."""


@dataclass(frozen=True)
class Person:
    """One subject of the miniature.

    Attributes:
        subject: its number.
        difficulty: how hard it is to decode; voxels and noise ceiling are its own.
        seed: decides tuning, noise ceilings and noise of its voxels.
    """

    subject: int
    difficulty: Difficulty
    seed: int


def person(subject: int, difficulty: Difficulty, seed: int) -> Person:
    """Return a subject of the miniature with so difficult a first subject and this seed.

    Raises:
        UsageError: there is no such subject.
    """
    require_subjects([subject])
    voxels = round(difficulty.voxels * VOXELS[subject] / VOXELS[FIRST])
    own = replace(
        difficulty,
        voxels=max(SMALLEST, voxels),
        noise_ceiling=difficulty.noise_ceiling * CEILINGS[subject],
    )
    return Person(subject, own, seed if subject == FIRST else seed + SEEDS * subject)


def require_subjects(subjects: Sequence[int]) -> None:
    """Check that the miniature has these subjects.

    Raises:
        UsageError: there are none, or the miniature lacks one.
    """
    lacking = [subject for subject in subjects if subject not in VOXELS]
    if lacking or not subjects:
        asked = lacking[0] if lacking else "missing"
        raise UsageError(
            f"the subject is {asked}, but the miniature has the subjects 1, 2, 5 and 7; "
            "choose among these"
        )
