"""Train the miniature's Stable Diffusion denoiser."""
