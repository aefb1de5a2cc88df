"""Samplers: parts that walk from a starting point to a finished latent."""
