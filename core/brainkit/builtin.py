"""Core's own plugin: the parts that come with brainkit."""

from __future__ import annotations

from collections.abc import Callable

from brainkit.decoders.autokl import AutoKLDecoder
from brainkit.decoders.pixels import Pixels
from brainkit.encoders.autokl import AutoKL
from brainkit.encoders.clip import ClipImage, ClipText
from brainkit.hookspecs import hookimpl
from brainkit.parts import Decoder, Encoder, Regressor, Sampler
from brainkit.regressors.fold_ridge import FoldRidge
from brainkit.regressors.mean import Mean, Shuffled
from brainkit.regressors.ridge import Ridge
from brainkit.regressors.voxel_selected import VoxelSelectedRidge
from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.single_pass import SinglePass


@hookimpl
def register_encoders(register: Callable[[Encoder], None]) -> None:
    """Register core's encoders."""
    register(AutoKL())
    register(ClipImage())
    register(ClipText())


@hookimpl
def register_regressors(register: Callable[[Regressor], None]) -> None:
    """Register core's regressors."""
    register(FoldRidge())
    register(Mean())
    register(Ridge())
    register(Shuffled())
    register(VoxelSelectedRidge())


@hookimpl
def register_samplers(register: Callable[[Sampler], None]) -> None:
    """Register core's samplers."""
    register(DDIM())
    register(SinglePass())


@hookimpl
def register_decoders(register: Callable[[Decoder], None]) -> None:
    """Register core's decoders."""
    register(AutoKLDecoder())
    register(Pixels())
