"""brainkit: turn human brain activity into pictures and captions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from brainkit.data import Checkpoint, Condition, Selection, Stimuli, Trials
from brainkit.errors import BrainkitError
from brainkit.hookspecs import hookimpl
from brainkit.options import option

if TYPE_CHECKING:
    from brainkit.method import Method
    from brainkit.methods import load_method, load_part, run_method
    from brainkit.nsd import load_captions, load_stimuli, load_trials
    from brainkit.results import Result, ScoreTable, load_result

__version__ = "0.1.0"

__all__ = [
    "BrainkitError",
    "Checkpoint",
    "Condition",
    "Method",
    "Result",
    "ScoreTable",
    "Selection",
    "Stimuli",
    "Trials",
    "__version__",
    "hookimpl",
    "load_captions",
    "load_method",
    "load_part",
    "load_result",
    "load_stimuli",
    "load_trials",
    "option",
    "run_method",
]
_PLACES = {
    "Method": "method",
    **dict.fromkeys(("load_method", "load_part", "run_method"), "methods"),
    **dict.fromkeys(("load_captions", "load_stimuli", "load_trials"), "nsd"),
    **dict.fromkeys(("Result", "ScoreTable", "load_result"), "results"),
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: plugins and the command line import this package for less.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
