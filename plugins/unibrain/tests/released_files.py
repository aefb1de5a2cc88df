"""Write networks as the files in which they are published, layout by layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from brainkit import testing
from brainkit.weights import Config, Release
from brainkit.weights.conversion import Conversion
from brainkit_unibrain.keymap import names_of
from brainkit_unibrain.walk import FourFlowConfig

Tensors = Mapping[str, Tensor]

OTHERS = {
    "autokl.decoder.conv_in.weight": torch.ones(2, 3),
    "clip.model.text_model.embeddings.position_ids": torch.arange(7)[None],
    "optimus.encoder.linear.weight": torch.ones(2),
    "betas": torch.linspace(0, 1, 5),
}
"""The kind of tensors that the first published file holds besides."""


def save(tensors: Tensors, path: Path) -> None:
    """Write a file as its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {name: tensor.clone() for name, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        save_file(own, path)
    else:
        torch.save(own, path)


def official(tensors: Tensors, config: FourFlowConfig, folder: Path, name: str) -> None:
    save(tensors, folder / name)


def deprecated(tensors: Tensors, config: FourFlowConfig, folder: Path, name: str) -> None:
    names = names_of(config)
    save({names[n].deprecated: each for n, each in tensors.items()} | OTHERS, folder / name)


def diffusers(tensors: Tensors, config: FourFlowConfig, folder: Path, name: str) -> None:
    """Write both networks; the text network has a copy of the time embedding."""
    parts: dict[str, dict[str, Tensor]] = {"image_unet": {}, "text_unet": {}}
    for own, other in names_of(config).items():
        parts[other.component][other.diffusers] = tensors[own]
    image = parts["image_unet"]
    parts["text_unet"] |= {n: each for n, each in image.items() if n.startswith("time_embedding.")}
    for component, each in parts.items():
        save(each, folder / component / name)


LAYOUTS: dict[str, Callable[[Tensors, FourFlowConfig, Path, str], None]] = {
    "official": official,
    "deprecated": deprecated,
    "diffusers": diffusers,
}


def converted(release: Release, place: Path, store: Path, config: Config | None) -> Conversion:
    """Convert without a record."""
    (found,) = testing.converted([release], place, store, config)
    return found
