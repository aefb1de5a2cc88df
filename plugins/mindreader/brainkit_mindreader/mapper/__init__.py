"""The mapper from voxels to CLIP: the part, its network and its training."""
