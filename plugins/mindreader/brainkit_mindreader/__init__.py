"""Mind Reader: CNN mappers from voxels to CLIP, and a LAFITE generator under two conditions."""
