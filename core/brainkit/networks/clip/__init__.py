"""CLIP: its network, the names its tensors have elsewhere, and where it is published."""
