"""The checkpoint that MindDiffuser's parts load, beside core's."""

from brainkit import Checkpoint

SD_UNET = Checkpoint(
    name="sd-v1-4-unet",
    source="the unet folder of CompVis/stable-diffusion-v1-4",
    miniature="brainkit_minddiffuser.miniature:unet",
    release="brainkit_minddiffuser.released:UNET",
)
