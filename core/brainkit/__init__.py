"""brainkit: turn human brain activity into pictures and captions."""

from brainkit.data import Checkpoint, Condition, Selection, Stimuli, Trials
from brainkit.errors import BrainkitError
from brainkit.hookspecs import hookimpl
from brainkit.options import option

__version__ = "0.1.0"

__all__ = [
    "BrainkitError",
    "Checkpoint",
    "Condition",
    "Selection",
    "Stimuli",
    "Trials",
    "__version__",
    "hookimpl",
    "option",
]
