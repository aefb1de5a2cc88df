"""The six hooks of a plugin. Each receives `register`, to be called any number of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from brainkit.method import Method
    from brainkit.parts import Conditioner, Decoder, Encoder, Regressor, Sampler

PROJECT = "brainkit"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_encoders(register: Callable[[Encoder], None]) -> None:
    """Register encoders: parts that turn a stimulus into a feature worth predicting."""


@hookspec
def register_regressors(register: Callable[[Regressor], None]) -> None:
    """Register regressors: parts that learn to predict a feature from voxels."""


@hookspec
def register_conditioners(register: Callable[[Conditioner], None]) -> None:
    """Register conditioners: parts that turn predicted features into denoisers and starts."""


@hookspec
def register_samplers(register: Callable[[Sampler], None]) -> None:
    """Register samplers: parts that walk from the starting point to a finished latent."""


@hookspec
def register_decoders(register: Callable[[Decoder], None]) -> None:
    """Register decoders: parts that turn a finished latent into an image or a caption."""


@hookspec
def register_methods(register: Callable[[Method], None]) -> None:
    """Register methods: named compositions of the five kinds of parts."""
