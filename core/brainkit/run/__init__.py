"""One run, from NSD files to the report: what other modules and plugins may use of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainkit.disk import written_aside
    from brainkit.run import regress
    from brainkit.run.artefact import (
        RECIPE_KEY,
        UNCHANGED,
        Artefact,
        Recipe,
        read_recipe,
        write_tensors,
        write_text,
    )
    from brainkit.run.config import RunConfig, configured
    from brainkit.run.folder import held
    from brainkit.run.line import default_home, predictions, prepare, run
    from brainkit.run.machine import quick_device
    from brainkit.run.outputs import reader
    from brainkit.run.shared import Predictions, Run
    from brainkit.run.step import each, one

__all__ = [
    "RECIPE_KEY",
    "UNCHANGED",
    "Artefact",
    "Predictions",
    "Recipe",
    "Run",
    "RunConfig",
    "configured",
    "default_home",
    "each",
    "held",
    "one",
    "predictions",
    "prepare",
    "quick_device",
    "read_recipe",
    "reader",
    "regress",
    "run",
    "write_tensors",
    "write_text",
    "written_aside",
]
_MODULES = {
    "artefact": (
        *("RECIPE_KEY", "UNCHANGED", "Artefact", "Recipe", "read_recipe"),
        *("write_tensors", "write_text", "written_aside"),
    ),
    "config": ("RunConfig", "configured"),
    "folder": ("held",),
    "line": ("default_home", "predictions", "prepare", "run"),
    "machine": ("quick_device",),
    "outputs": ("reader",),
    "shared": ("Predictions", "Run"),
    "step": ("each", "one"),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Imported when asked for: the help of the command line needs the settings alone.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
