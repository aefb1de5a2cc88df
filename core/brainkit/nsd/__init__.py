"""Load the Natural Scenes Dataset: responses, pictures, captions, regions, noise ceilings."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from brainkit.nsd.dataset import (
        NSDDataset,
        RowBatch,
        TrialRow,
        collate,
        collate_by_subject,
        collate_padded,
    )

__all__ = [
    "Design",
    "Layout",
    "NSDDataset",
    "Recording",
    "Region",
    "Report",
    "RowBatch",
    "SubjectLayout",
    "TrialRow",
    "TrialsPlan",
    "add_subject",
    "check_data",
    "collate",
    "collate_by_subject",
    "collate_padded",
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
_OF_TORCH = (
    "RowBatch",
    "NSDDataset",
    "TrialRow",
    "collate",
    "collate_by_subject",
    "collate_padded",
)


def __getattr__(name: str) -> Any:
    # Imported when asked for: loading needs no torch, and listings are fast without it.
    if name not in _OF_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.dataset"), name)
