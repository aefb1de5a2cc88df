"""Decoders: parts that turn a finished latent into an image or a caption."""
