"""The weight store: where a checkpoint lies, whether it is whole, and how to load it.

A checkpoint is a folder `<name>/` with `model.safetensors`, the network's `config.json` and, for
text networks, tokenizer files. The miniature's small weights lie in packages in the same layout, so
both go through one code path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError, reason

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from brainkit.checkpoints.safetensors import Entry

WEIGHTS = "model.safetensors"
GUIDE = "docs/weights.md"
"""Tells people which files there are and where they go."""


@dataclass(frozen=True)
class CheckpointStore:
    """Where networks get their weights, and the device and dtype they are to run in.

    Attributes:
        root: folder with one folder per released checkpoint.
        device: "cpu", "cuda" or "cuda:n".
        dtype: "float32", "bfloat16" or "float16" for networks that allow it.
        miniature: whether the small weights shipped with the packages are used.
    """

    root: Path
    device: str = "cpu"
    dtype: str = "float32"
    miniature: bool = False

    def folder(self, checkpoint: Checkpoint) -> Path:
        """Return the folder of a checkpoint, which has to hold its weights.

        Raises:
            CheckpointError: the folder or its weights are missing.
        """
        folder = self._place(checkpoint)
        if not (folder / WEIGHTS).is_file():
            what = "miniature weights" if self.miniature else "weights"
            raise CheckpointError(
                f"checkpoint {checkpoint.name!r} has no {what} at {folder / WEIGHTS}; "
                f"{_remedy(checkpoint, self.miniature)}"
            )
        return folder

    def has(self, checkpoint: Checkpoint) -> bool:
        """Say whether the weights of a checkpoint are there; of the miniature, some never are."""
        if self.miniature and not checkpoint.miniature:
            return False
        return (self._place(checkpoint) / WEIGHTS).is_file()

    def config(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the configuration of the checkpoint's network.

        Raises:
            CheckpointError: it is missing, is no JSON object, or has a size that no network has.
        """
        from brainkit.checkpoints.limits import check_sizes, read_json

        path = self.folder(checkpoint) / "config.json"
        try:
            loaded = read_json(path)
            check_sizes(loaded)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a network configuration: {error}") from error
        if not isinstance(loaded, dict):
            kind = type(loaded).__name__
            raise CheckpointError(f"{path} is not a network configuration but a {kind}")
        return loaded

    def load(
        self, checkpoint: Checkpoint, prefix: str = "", dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Return the tensors whose names begin with a prefix, which is cut off, on the CPU.

        Tensors that the file has in the dtype asked for are mapped from it, not copied: a network
        on the meta device that takes them by `load_state_dict(..., assign=True)` is never held
        twice. Changing such a tensor in place leaves the file as it is.

        Args:
            checkpoint: whose weights.
            prefix: of the names that are wanted.
            dtype: of all floating-point tensors; None means float32.

        Raises:
            CheckpointError: the weights are missing or damaged.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        path = self.folder(checkpoint) / WEIGHTS
        wanted = torch.float32 if dtype is None else dtype
        tensors: dict[str, Tensor] = {}
        _checked(path, checkpoint)
        try:
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (safe_open is no mapping)
                    if name.startswith(prefix):
                        tensor = opened.get_tensor(name)
                        found = tensor.to(wanted) if tensor.is_floating_point() else tensor
                        tensors[name[len(prefix) :]] = found
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}); {_again(checkpoint)}"
            ) from error
        return tensors

    def shapes(self, checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor, read from the file's header.

        Raises:
            CheckpointError: the weights are missing or damaged.
        """
        path = self.folder(checkpoint) / WEIGHTS
        return {name: entry.shape for name, entry in _checked(path, checkpoint).items()}

    def fingerprint(self, checkpoint: Checkpoint) -> str:
        """Return a SHA-256 (hex) of the weights and of all files beside them, for stamps.

        Of files that `brainkit fetch` wrote and nobody changed, the recorded hashes are taken.
        """
        from brainkit.checkpoints.record import hashes

        found = hashes(self.folder(checkpoint))
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(found.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def lacking(self, who: str, missing: Sequence[Checkpoint]) -> CheckpointError:
        """Return the error for a method that lacks several checkpoints."""
        names = ", ".join(each.name for each in missing)
        return CheckpointError(
            f"{who} lacks the weights of {names} in {self.root}; run `brainkit fetch {who}`, place "
            f"them by hand ({GUIDE}), or run on the miniature (no --nsd)"
        )

    def torch_dtype(self) -> torch.dtype:
        """Return the torch dtype of the store's dtype name."""
        import torch

        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def _place(self, checkpoint: Checkpoint) -> Path:
        if not self.miniature:
            return self.root / checkpoint.name
        package, _, folder = checkpoint.miniature.partition(":")
        if not package:
            raise CheckpointError(
                f"checkpoint {checkpoint.name!r} has no miniature; "
                "give --nsd and the released weights"
            )
        try:
            return Path(str(files(package).joinpath(folder)))
        except ModuleNotFoundError:
            # The package that would ship it is not there: neither are the weights.
            return self.root / f"{package}:{folder}"
        except Exception as error:  # importing the package runs what its author wrote
            raise CheckpointError(
                f"the miniature {checkpoint.miniature!r} of checkpoint {checkpoint.name!r} cannot "
                f"be found ({reason(error)}); it is named as package:folder"
            ) from error


def _checked(path: Path, checkpoint: Checkpoint) -> Mapping[str, Entry]:
    """Return what a file holds, after checking its header before any library trusts it."""
    from brainkit.checkpoints.limits import check_holes
    from brainkit.checkpoints.safetensors import check_header

    check_holes(path)
    try:
        return check_header(path)
    except CheckpointError as error:
        what = str(error).rpartition("; ")[0]
        raise CheckpointError(f"{what}; {_again(checkpoint)}") from error


def _remedy(checkpoint: Checkpoint, miniature: bool) -> str:
    if miniature:
        return "the package that ships them is damaged, install it again"
    source = f" (source: {checkpoint.source or 'unknown'})"
    if checkpoint.release:
        return f"run `brainkit fetch {checkpoint.name}`, or place them by hand, see {GUIDE}{source}"
    return f"place {WEIGHTS} and config.json there by hand, see {GUIDE}{source}"


def _again(checkpoint: Checkpoint) -> str:
    if checkpoint.release:
        return f"delete it and run `brainkit fetch {checkpoint.name}`, or copy it again"
    return "copy it again"
