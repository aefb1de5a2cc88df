"""Weights as brainkit keeps them: the store, the record beside a checkpoint, checked files."""

from brainkit.checkpoints.store import GUIDE, WEIGHTS, CheckpointStore

__all__ = ["GUIDE", "WEIGHTS", "CheckpointStore"]
