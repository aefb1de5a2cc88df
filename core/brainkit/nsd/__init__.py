"""Load the Natural Scenes Dataset: responses, pictures, captions, regions, noise ceilings."""

from brainkit.nsd.boxes import Boxes, load_boxes
from brainkit.nsd.captions import load_captions
from brainkit.nsd.check import Report, check_data
from brainkit.nsd.design import Design, load_design
from brainkit.nsd.layout import Layout, SubjectLayout, read_layout, write_layout
from brainkit.nsd.noise import noise_ceiling
from brainkit.nsd.roi import Region, require_same_voxels, roi_indices, voxel_fingerprint
from brainkit.nsd.stimuli import load_stimuli, require_stimuli
from brainkit.nsd.trials import Plan, load_trials, plan_trials

__all__ = [
    "Boxes",
    "Design",
    "Layout",
    "Plan",
    "Region",
    "Report",
    "SubjectLayout",
    "check_data",
    "load_boxes",
    "load_captions",
    "load_design",
    "load_stimuli",
    "load_trials",
    "noise_ceiling",
    "plan_trials",
    "read_layout",
    "require_same_voxels",
    "require_stimuli",
    "roi_indices",
    "voxel_fingerprint",
    "write_layout",
]
