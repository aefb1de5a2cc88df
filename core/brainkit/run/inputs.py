"""The NSD files that a run reads, watched for changes while it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainkit.checkpoints.contents import Identity, identity
from brainkit.errors import DataError
from brainkit.nsd import TrialsPlan, fingerprint
from brainkit.nsd.files import Subject


@dataclass(frozen=True)
class Inputs:
    """Files as they were before anything of them was read.

    Attributes:
        identities: what the system said of each; None of one that is missing.
        fingerprints: of each group of files: "betas", "images" and "captions".
    """

    identities: Mapping[Path, Identity | None]
    fingerprints: Mapping[str, str]

    @classmethod
    def of(cls, root: Path, subject: Subject, plan: TrialsPlan) -> Inputs:
        """Look at the files behind a selection."""
        groups = fingerprint.input_files(root, subject, plan).values()
        identities = {path: identity(path) for paths in groups for path in paths}
        return cls(identities, fingerprint.fingerprints(root, subject, plan))

    def require_unchanged(self) -> None:
        """Check, after a step has read files, that nobody wrote or replaced one meanwhile.

        Raises:
            DataError: somebody did.
        """
        for path, before in self.identities.items():
            if identity(path) != before:
                raise DataError(
                    f"{path} changed while this run read it, so nothing was kept of that; wait "
                    "until nobody writes to it, then run the same command again"
                )
