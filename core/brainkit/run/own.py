"""Fit a method to data of one's own: their voxels and sessions, and what captions they have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from brainkit.console import Say
from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.method import Method
from brainkit.run.config import RunConfig

OF_NSD = ("roi", "sessions", "preparation", "by_feature")
"""What of a paper's selection speaks of NSD's regions and sessions."""
NO_CAPTIONS = "no_captions"
"""The preset of a method that needs no feature made from captions."""


def fitted(method: Method, config: RunConfig, root: Path, say: Say) -> Method:
    """Return the method as it runs on the data in a folder; on NSD as it is.

    On data of one's own all voxels and sessions are taken unless something else was asked for. If
    they have no captions, features made from captions are left out where nothing needs them.

    Raises:
        UsageError: the miniature's weights are asked for on NSD, or the method needs captions that
            are not there.
    """
    from brainkit.nsd import read_layout
    from brainkit.nsd.captions import has_captions

    if not read_layout(root).dataset:
        if config.nsd is not None and config.networks == "miniature":
            raise UsageError(
                "--weights is miniature, but networks trained on small drawings cannot serve NSD; "
                "leave it out, or leave out --nsd"
            )
        return method
    method = _all_voxels(method, config, say)
    return method if has_captions(root) else _without_captions(method, say)


def _all_voxels(method: Method, config: RunConfig, say: Say) -> Method:
    usual = Selection()
    values: dict[str, Any] = {
        name: getattr(usual, name)
        for name in OF_NSD
        if f"selection.{name}" not in config.options
        and getattr(method.selection, name) != getattr(usual, name)
    }
    if not values:
        return method
    told = ", ".join(f"selection.{name}={value}" for name, value in values.items() if value)
    say(f"data of your own: {told or 'no selection by feature'}, not what the paper has for NSD")
    return replace(method, selection=replace(method.selection, **values))


def _without_captions(method: Method, say: Say) -> Method:
    captioned = [name for name, part in method.encoders.items() if part.reads != "image"]
    needed = [name for name in captioned if name in method.conditioner.needs]
    if needed:
        preset = method.presets.get(NO_CAPTIONS, {})
        options = " ".join(f"-o {name}={str(each).lower()}" for name, each in preset.items())
        way = f"leave them out with {options}" if options else "choose a method without"
        raise UsageError(
            f"the data have no captions, from which {method.name} makes {', '.join(needed)}; "
            f"import them again with --captions, or {way}"
        )
    if captioned:
        say(f"the data have no captions: {', '.join(captioned)} left out")
    encoders = {name: part for name, part in method.encoders.items() if name not in captioned}
    regressors = {name: method.regressors[name] for name in encoders}
    return replace(method, encoders=encoders, regressors=regressors)
