"""Bring Stable Diffusion v1.4 into the checkpoint store, from either layout it is published in.

    python -m brainkit_minddiffuser.convert FILE_OR_FOLDER --to STORE

A file is `sd-v1-4.ckpt` or the same as `.safetensors`; a folder is diffusers' with `unet`, `vae`
and `text_encoder`. Written are `sd-v1-4-unet` and `kl-f8`. The text tower is not: it is that of
CLIP ViT-L/14, whose folder `clip-vit-l14` other methods read whole; it is compared with that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brainkit.checkpoints import WEIGHTS
from brainkit.encoders.autokl import KL_F8
from brainkit.encoders.clip import CLIP_L14
from brainkit.errors import BrainkitError, CheckpointError
from brainkit_minddiffuser import layouts
from brainkit.weights.files import (
    SIZES,
    Entry,
    WeightFile,
    open_weights,
    write_safetensors,
)

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("diffusion_pytorch_model", "model", "pytorch_model")
SUFFIXES = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
HALF_ROUNDING = 2.0**-10
"""Tensors that differ by no more than this, relative to their largest value, are the same weights
stored in another precision."""


class Network(NamedTuple):
    """One of the three networks.

    Attributes:
        folder: its folder in diffusers' layout.
        checkpoint: its folder in the store.
        config: of diffusers' or transformers' class.
        sources: from the names in a file, gives the name in the file of every own name.
        shapes: gives the shape of every own name, from the configuration.
    """

    folder: str
    checkpoint: str
    config: Mapping[str, Any]
    sources: Callable[[Iterable[str]], dict[str, str]]
    shapes: Callable[[Mapping[str, Any]], dict[str, tuple[int, ...]]]


UNET = Network("unet", "sd-v1-4-unet", layouts.UNET, layouts.unet_sources, layouts.unet_shapes)
AUTOKL = Network("vae", KL_F8.name, layouts.AUTOKL, layouts.autokl_sources, layouts.autokl_shapes)
TEXT = Network(
    "text_encoder", CLIP_L14.name, layouts.TEXT, layouts.text_sources, layouts.text_shapes
)
V1_4 = (UNET, AUTOKL, TEXT)


@dataclass(frozen=True)
class Plan:
    """How one network is to be taken from a file.

    Attributes:
        network: which.
        file: open for reading.
        sources: own name -> name in the file.
        shapes: of the network's tensors.
    """

    network: Network
    file: WeightFile
    sources: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    def entries(self) -> dict[str, Entry]:
        """Give dtype, as in the file, and shape, as in the network, of every tensor."""
        found = self.file.entries
        return {n: Entry(found[s].dtype, self.shapes[n]) for n, s in self.sources.items()}

    def read(self, name: str) -> bytes:
        """Give a tensor's bytes by its name in the network."""
        return self.file.read(self.sources[name])


def convert(source: Path, store: Path, networks: tuple[Network, ...] = V1_4) -> list[str]:
    """Write a Stable Diffusion v1.4 file or folder into the store; say what was done, in lines.

    All is checked before anything is written; a checkpoint the store has already is kept.

    Args:
        source: a single file or diffusers' folder.
        store: the checkpoint store; made when missing.
        networks: UNet, autoencoder and text tower with other configurations, for tests.

    Raises:
        CheckpointError: a file is missing, damaged, refused, or lists how it differs from v1.4.
    """
    with ExitStack() as stack:
        plans = _plans(source, networks, stack)
        _refuse_differences(source, plans)
        try:
            said = _write_all(plans[:2], store)
        except OSError as error:
            raise CheckpointError(
                f"{store} cannot be written ({error.strerror or error}); make room or give "
                "another folder with --to"
            ) from error
        return said + [_said_of_text(plan, store) for plan in plans[2:]]


def _plans(source: Path, networks: tuple[Network, ...], stack: ExitStack) -> list[Plan]:
    """Open the files and find every network's tensors in them."""
    if source.is_dir():
        files = {net.folder: _file_in(source, net) for net in networks}
        opened = {n: stack.enter_context(open_weights(p)) for n, p in files.items() if p}
    else:
        whole = stack.enter_context(open_weights(source))
        if not layouts.is_compvis(whole.entries):
            raise CheckpointError(
                f"{source} has {len(whole.entries)} tensors but none of Stable Diffusion, whose "
                "names begin with model.diffusion_model; give sd-v1-4.ckpt or a diffusers folder"
            )
        opened = {net.folder: whole for net in networks}
    return [
        Plan(net, file, net.sources(file.entries), net.shapes(net.config))
        for net in networks
        if (file := opened.get(net.folder))
    ]


def _file_in(folder: Path, network: Network) -> Path | None:
    """Find a network's weights in diffusers' folder and check its configuration.

    The text tower may be absent, since only a comparison is made with it.
    """
    place = folder / network.folder
    found = [place / f"{name}{end}" for end in SUFFIXES for name in NAMES]
    found = [path for path in found if path.is_file()]
    if not found:
        if network.folder == TEXT.folder:
            return None
        raise CheckpointError(
            f"{folder} has no weights {network.folder}/{NAMES[0]}.safetensors; give the folder "
            "that holds unet, vae and text_encoder"
        )
    _check_config(place / "config.json", network)
    return found[0]


def _check_config(path: Path, network: Network) -> None:
    """Refuse a configuration that computes something else; sizes of pictures do not matter."""
    if not path.is_file():
        return
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is not a network configuration: {error}") from error
    keys = [key for key in network.config if key not in ("sample_size", "projection_dim")]
    other = [
        f"{key} is {stored[key]!r}, expected {network.config[key]!r}"
        for key in keys
        if key in stored and stored[key] != network.config[key]
    ]
    if other:
        raise CheckpointError(
            f"{path} is not of Stable Diffusion v1.4: {'; '.join(other)}; give the folder of v1.4"
        )


def _refuse_differences(source: Path, plans: list[Plan]) -> None:
    """Raise one error with all tensors that are missing, extra or of another shape or dtype."""
    said = [f"{plan.network.folder} has {text}" for plan in plans if (text := _differences(plan))]
    if source.is_file() and (more := layouts.strangers(plans[0].file.entries)):
        said.append(f"{_listed('unknown', more)} belong to no network")
    if said:
        raise CheckpointError(
            f"{source} is not Stable Diffusion v1.4: {'; '.join(said)}; download it again or give "
            "the file of v1.4"
        )


def _differences(plan: Plan) -> str:
    """Say how a file differs from the network, or nothing if it does not."""
    wanted, found = plan.shapes, plan.file.entries
    there = {name: source for name, source in plan.sources.items() if source in found}
    missing = sorted(wanted.keys() - there.keys())
    if len(missing) == len(wanted):
        return f"none of its {len(wanted)} tensors"
    common = sorted(wanted.keys() & there.keys())
    shapes = [
        f"{name} {_shown(found[there[name]].shape)}, expected {_shown(wanted[name])}"
        for name in common
        if not _fits(found[there[name]].shape, wanted[name])
    ]
    dtypes = [f"{n} {found[there[n]].dtype}" for n in common if found[there[n]].dtype not in SIZES]
    kinds = {
        "missing": missing,
        "extra": sorted(there[name] for name in there.keys() - wanted.keys()),
        "misshapen": shapes,
        "not floating point": dtypes,
    }
    return ", ".join(_listed(kind, names) for kind, names in kinds.items() if names)


def _listed(kind: str, names: list[str]) -> str:
    return f"{len(names)} {kind} ({', '.join(names)})"


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """A matrix may lie in the file as a 1 x 1 convolution: the bytes are the same."""
    return found == wanted or (len(wanted) == 2 and found == (*wanted, 1, 1))


def _write_all(plans: list[Plan], store: Path) -> list[str]:
    """Write what the store lacks beside its place, and move it there once all is whole."""
    store.mkdir(parents=True, exist_ok=True)
    lacking = [plan for plan in plans if not (store / plan.network.checkpoint / WEIGHTS).is_file()]
    asides = [store / f"{plan.network.checkpoint}.part" for plan in lacking]
    try:
        for plan, aside in zip(lacking, asides, strict=True):
            shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
            aside.mkdir()
            config = json.dumps(dict(plan.network.config), indent=2, sort_keys=True) + "\n"
            (aside / "config.json").write_text(config, encoding="utf-8")
            write_safetensors(aside / WEIGHTS, plan.entries(), plan.read)
        for plan, aside in zip(lacking, asides, strict=True):
            folder = store / plan.network.checkpoint
            folder.mkdir(exist_ok=True)
            for name in ("config.json", WEIGHTS):  # the weights last: with them it counts as there
                (aside / name).replace(folder / name)
    finally:
        for aside in asides:
            shutil.rmtree(aside, ignore_errors=True)
    return [_said_of(plan, plan in lacking) for plan in plans]


def _said_of(plan: Plan, written: bool) -> str:
    name = plan.network.checkpoint
    if not written:
        return f"{name}: kept, it was there; delete the folder to convert again"
    size = sum(entry.size for entry in plan.entries().values())
    averaged = any(s.startswith(layouts.AVERAGED_PREFIX) for s in plan.sources.values())
    note = ", the running averages" if averaged else ""
    return f"{name}: written, {len(plan.shapes)} tensors, {size / 1e9:.2f} GB{note}"


def _said_of_text(plan: Plan, store: Path) -> str:
    """Say whether the store's CLIP reads texts as this Stable Diffusion does."""
    name = plan.network.checkpoint
    path = store / name / WEIGHTS
    if not path.is_file():
        return (
            f"{name}: not there yet; place {CLIP_L14.source} in {path.parent}, it reads the texts"
        )
    with open_weights(path) as clip:
        other = [own for own in sorted(plan.shapes) if not _same(plan, own, clip)]
    if other:
        return (
            f"{name}: texts will be read by this folder, whose text tower differs from the file's "
            f"in {_listed('tensors', other)}"
        )
    return f"{name}: its text tower is the file's"


def _same(plan: Plan, name: str, clip: WeightFile) -> bool:
    if name not in clip.entries or not _fits(clip.entries[name].shape, plan.shapes[name]):
        return False
    one = _tensor(plan.read(name), plan.entries()[name].dtype)
    other = _tensor(clip.read(name), clip.entries[name].dtype)
    return bool((one - other).abs().max() <= HALF_ROUNDING * other.abs().max())


def _tensor(content: bytes, dtype: str) -> Tensor:
    """Give the numbers of a tensor as float32 (numbers,)."""
    import torch

    known = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}
    kept = torch.frombuffer(bytearray(content), dtype=known.get(dtype, torch.bfloat16))
    return kept.to(torch.float32)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit status 0 when done, 1 after an error, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m brainkit_minddiffuser.convert",
        description="Bring Stable Diffusion v1.4 into the checkpoint store.",
    )
    parser.add_argument("source", type=Path, help="sd-v1-4.ckpt, .safetensors or diffusers' folder")
    parser.add_argument("--to", type=Path, required=True, metavar="STORE", help="checkpoint store")
    given = parser.parse_args(arguments)
    try:
        said = convert(given.source, given.to)
    except BrainkitError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
