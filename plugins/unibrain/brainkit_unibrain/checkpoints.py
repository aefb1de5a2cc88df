"""The checkpoints that UniBrain's parts load, beside core's."""

from brainkit import Checkpoint

FOUR_FLOW = Checkpoint(
    name="vd-four-flow",
    source="vd-four-flow-v1-0.pth of shi-labs/versatile-diffusion",
    miniature="brainkit_unibrain.miniature:four_flow",
    release="brainkit_unibrain.released:FOUR_FLOW",
)
OPTIMUS = Checkpoint(
    name="optimus-vae",
    source="optimus-vae.pth of shi-labs/versatile-diffusion",
    miniature="brainkit_unibrain.miniature:optimus",
    release="brainkit_unibrain.released:OPTIMUS",
)
