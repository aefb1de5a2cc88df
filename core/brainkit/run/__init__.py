"""One run, from NSD files to the report: what other modules and plugins may use of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainkit.run.config import RunConfig, configured
    from brainkit.run.line import default_home, prepare, run
    from brainkit.run.shared import Run

__all__ = ["Run", "RunConfig", "configured", "default_home", "prepare", "run"]
PLACES = {"Run": "shared", "RunConfig": "config", "configured": "config"}


def __getattr__(name: str) -> Any:
    # Imported when asked for: the help of the command line needs the settings alone.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PLACES.get(name, 'line')}"), name)
