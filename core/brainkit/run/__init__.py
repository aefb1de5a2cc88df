"""One run, from NSD files to the report: what other modules and plugins may use of it."""

from brainkit.run.config import RunConfig
from brainkit.run.line import default_home, prepare, run
from brainkit.run.shared import Run

__all__ = ["Run", "RunConfig", "default_home", "prepare", "run"]
