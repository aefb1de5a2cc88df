"""Train the miniature's text autoencoder and four-flow denoiser from procedural scenes."""
