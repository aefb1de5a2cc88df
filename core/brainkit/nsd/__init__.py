"""Load the Natural Scenes Dataset: responses, pictures, captions, regions, noise ceilings."""

from brainkit.nsd.captions import load_captions
from brainkit.nsd.check import Report, check_data
from brainkit.nsd.design import Design, load_design
from brainkit.nsd.layout import Layout, SubjectLayout, read_layout, write_layout
from brainkit.nsd.noise import noise_ceiling
from brainkit.nsd.own.recording import Recording
from brainkit.nsd.own.write import add_subject, write_dataset
from brainkit.nsd.roi import Region, roi_indices
from brainkit.nsd.stimuli import load_stimuli
from brainkit.nsd.trials import TrialsPlan, load_trials, plan_trials

__all__ = [
    "Design",
    "Layout",
    "Recording",
    "Region",
    "Report",
    "SubjectLayout",
    "TrialsPlan",
    "add_subject",
    "check_data",
    "load_captions",
    "load_design",
    "load_stimuli",
    "load_trials",
    "noise_ceiling",
    "plan_trials",
    "read_layout",
    "roi_indices",
    "write_dataset",
    "write_layout",
]
