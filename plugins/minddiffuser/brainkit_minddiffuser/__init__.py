"""MindDiffuser and the Takagi & Nishimoto baseline, through Stable Diffusion."""
