"""MiniLM: the network that says how alike two sentences are, and where it is published."""

from __future__ import annotations

from brainkit.data import Checkpoint

MINILM = Checkpoint(
    name="all-minilm-l6-v2",
    source="model.safetensors and tokenizer.json of sentence-transformers/all-MiniLM-L6-v2, 91 MB",
    release="brainkit.networks.minilm.released:MINILM",
)
