"""Bring a snapshot of LAFITE or Mind Reader into the checkpoint store; no code of it is run.

    python -m brainkit_mindreader.convert FILE.pkl --to STORE [--network G_ema]
    python -m brainkit_mindreader.convert FILE.pth --to STORE --mapper image

Of a `.pkl`, `mindreader-generator` is written and, if it has one, `mindreader-discriminator`, with
the published names of tensors and in their dtypes. A `.pth` holds a mapper's weights, which are
written as `mindreader-mapper-image` or `mindreader-mapper-caption`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.checkpoints import WEIGHTS
from brainkit.errors import BrainkitError, CheckpointError, DataError
from brainkit_mindreader.inert import shown
from brainkit_mindreader.parts import DISCRIMINATOR, GENERATOR
from brainkit_mindreader.sizes import discriminator_shape, generator_shape
from brainkit_mindreader.snapshot import read_snapshot

if TYPE_CHECKING:
    from torch import Tensor, nn

    from brainkit_mindreader.shape import GeneratorShape

MAPPERS = ("image", "caption")
SOURCE = "source_sha256"


@dataclass(frozen=True)
class Plan:
    """One network on its way into the store.

    Attributes:
        title: what messages call it.
        checkpoint: its folder in the store.
        config: for its config.json.
        tensors: as in the file.
        metadata: for the header of its weights: where they are from.
        said: how the file differs from the network of these sizes; empty if it does not.
    """

    title: str
    checkpoint: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    said: str


def convert(source: Path, store: Path, network: str = "G_ema") -> list[str]:
    """Write a snapshot's generator, and its discriminator if there, into the store.

    All is checked before anything is written. A checkpoint of the same source is kept.

    Args:
        source: a `.pkl` as training wrote it.
        store: the checkpoint store; made when missing.
        network: which generator, "G_ema" for the running average or "G".

    Returns:
        What was done, in lines.

    Raises:
        CheckpointError: the file is missing, damaged or refused, the message lists how it differs
            from a network of its sizes, or the store holds other weights or cannot be written.
    """
    return _stored(source, store, _snapshot_plans(source, network))


def convert_mapper(source: Path, store: Path, target: str) -> list[str]:
    """Write a mapper's released state dict, a `.pth`, into the store.

    Args:
        source: the file; only `torch.load(weights_only=True)` reads it.
        store: the checkpoint store; made when missing.
        target: what the mapper predicts, "image" or "caption".

    Raises:
        CheckpointError: as in `convert`.
    """
    return _stored(source, store, [_mapper_plan(source, target)])


def _snapshot_plans(source: Path, name: str) -> list[Plan]:
    import torch

    from brainkit_mindreader.discriminator import Discriminator
    from brainkit_mindreader.generator import Generator

    snapshot = read_snapshot(source)
    found = snapshot.network(name)
    shape = generator_shape(found.tensors, found.arguments)
    with torch.device("meta"):
        said = differences(found.tensors, Generator(shape))
    said += _disagreements(found.arguments, shape, ("z_dim", "w_dim"))
    layout = "two heads" if len(shape.f_dims) > 1 else "single head"
    metadata = {SOURCE: snapshot.sha256, "network": name, "layout": layout}
    plans = [Plan(name, GENERATOR.name, shape.config(), found.tensors, metadata, "; ".join(said))]
    if "D" in snapshot.records:
        found = snapshot.network("D")
        own = discriminator_shape(found.tensors, found.arguments, shape)
        with torch.device("meta"):
            said = differences(found.tensors, Discriminator(own))
        said += _disagreements(found.arguments, own, ()) + _unlike(own, shape)
        metadata = metadata | {"network": "D"}
        plans.append(
            Plan("D", DISCRIMINATOR.name, own.config(), found.tensors, metadata, "; ".join(said))
        )
    return plans


def _mapper_plan(source: Path, target: str) -> Plan:
    import torch

    from brainkit_mindreader.mapper_network import MapperNetwork, MapperShape

    tensors = _state_dict(source)
    try:
        shape = MapperShape.of(tensors)
    except DataError as error:
        raise CheckpointError(f"{source} is no mapper: {error}") from error
    with torch.device("meta"):
        said = differences(tensors, MapperNetwork(shape))
    with open(source, "rb") as file:
        digest = sha256(file.read()).hexdigest()
    metadata = {SOURCE: digest, "network": f"{target} mapper"}
    name = f"mindreader-mapper-{target}"
    return Plan("the mapper", name, asdict(shape), tensors, metadata, "; ".join(said))


def _state_dict(source: Path) -> dict[str, Tensor]:
    import torch

    if not source.is_file():
        raise CheckpointError(f"there is no file {source}; check the path or download it again")
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files raise whatever their bytes happen to spell.
        raise CheckpointError(
            f"{source} is no state dict of torch ({shown(str(error).strip())}); give a mapper's "
            ".pth as training wrote it"
        ) from error
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{source} holds a {type(loaded).__name__}, expected named tensors")
    strange = [n for n, each in loaded.items() if not isinstance(each, torch.Tensor)]
    if strange:
        raise CheckpointError(
            f"{source} holds {shown(', '.join(map(str, strange)))} besides tensors; give a "
            "mapper's state dict"
        )
    return {str(name): each.contiguous().clone() for name, each in loaded.items()}


def differences(tensors: Mapping[str, Tensor], network: nn.Module) -> list[str]:
    """List how tensors differ from a network's: missing, extra, misshapen, not floating point."""
    wanted = network.state_dict()
    common = sorted(wanted.keys() & tensors.keys())
    if not common:
        return [f"none of the {len(wanted)} tensors of a {type(network).__name__.lower()}"]
    kinds = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "extra": sorted(shown(name) for name in tensors.keys() - wanted.keys()),
        "misshapen": [
            f"{name} {_shape(tensors[name])}, expected {_shape(wanted[name])}"
            for name in common
            if tensors[name].shape != wanted[name].shape
        ],
        "not floating point": [
            f"{name} {tensors[name].dtype}" for name in common if not _is_float(tensors[name])
        ],
    }
    return [f"{len(names)} {kind} ({', '.join(names)})" for kind, names in kinds.items() if names]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype.is_floating_point


def _disagreements(
    arguments: Mapping[str, Any], shape: GeneratorShape, names: tuple[str, ...]
) -> list[str]:
    """Compare the sizes a network says it has with those of its tensors."""
    own = {"img_resolution": shape.resolution} | {name: getattr(shape, name) for name in names}
    return [
        f"its {name} is given as {shown(str(arguments[name]))}, its tensors have {size}"
        for name, size in own.items()
        if arguments.get(name, size) != size
    ]


def _unlike(own: GeneratorShape, generator: GeneratorShape) -> list[str]:
    names = ("resolution", "f_dims")
    return [
        f"its {name} is {getattr(own, name)}, the generator's {getattr(generator, name)}"
        for name in names
        if getattr(own, name) != getattr(generator, name)
    ]


def _stored(source: Path, store: Path, plans: list[Plan]) -> list[str]:
    """Refuse what differs; write what the store lacks."""
    said = [f"{plan.title}: {plan.said}" for plan in plans if plan.said]
    if said:
        raise CheckpointError(
            f"{source} does not fit networks of its own sizes, in {' and in '.join(said)}; give a "
            "snapshot of LAFITE or Mind Reader as training wrote it"
        )
    try:
        lacking = [plan for plan in plans if not _is_there(store, plan)]
        _write(store, lacking)
    except OSError as error:
        raise CheckpointError(
            f"{store} cannot be written ({error.strerror or error}); make room or give another "
            "folder with --to"
        ) from error
    return [_told(plan, plan in lacking) for plan in plans]


def _is_there(store: Path, plan: Plan) -> bool:
    """Say whether the store has the same weights already; other ones are never replaced."""
    from safetensors import SafetensorError, safe_open

    path = store / plan.checkpoint / WEIGHTS
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError:
        metadata = {}
    if all(metadata.get(name) == plan.metadata[name] for name in (SOURCE, "network")):
        return True
    raise CheckpointError(
        f"{path.parent} holds weights of another source already; delete or move that folder, or "
        "give another store with --to"
    )


def _write(store: Path, plans: list[Plan]) -> None:
    """Write beside their places, and move all there once all are whole."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    store.mkdir(parents=True, exist_ok=True)
    asides = [store / f"{plan.checkpoint}.part" for plan in plans]
    try:
        for plan, aside in zip(plans, asides, strict=True):
            shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
            aside.mkdir()
            config = json.dumps(dict(plan.config), indent=2) + "\n"
            (aside / "config.json").write_text(config, encoding="utf-8")
            save_file(dict(plan.tensors), aside / WEIGHTS, {"format": "pt", **plan.metadata})
        folders = [store / plan.checkpoint for plan in plans]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        for folder, aside in zip(folders, asides, strict=True):
            for name in ("config.json", WEIGHTS):  # the weights last: with them it counts as there
                (aside / name).replace(folder / name)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        for aside in asides:
            shutil.rmtree(aside, ignore_errors=True)


def _told(plan: Plan, written: bool) -> str:
    if not written:
        return f"{plan.checkpoint}: kept, it was there"
    size = sum(each.numel() * each.element_size() for each in plan.tensors.values())
    layout = f", {plan.metadata['layout']}" if "layout" in plan.metadata else ""
    return f"{plan.checkpoint}: written, {len(plan.tensors)} tensors, {size / 1e6:.1f} MB{layout}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit status 0 when done, 1 after an error, told in one sentence."""
    given = _parser().parse_args(arguments)
    try:
        said = _asked(given)()
    except BrainkitError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("\n".join(said))
    return 0


def _asked(given: argparse.Namespace) -> Callable[[], list[str]]:
    if given.mapper:
        return lambda: convert_mapper(given.source, given.to, given.mapper)
    return lambda: convert(given.source, given.to, given.network)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m brainkit_mindreader.convert",
        description="Bring a LAFITE or Mind Reader snapshot into the checkpoint store.",
    )
    parser.add_argument("source", type=Path, help="a .pkl snapshot, or a mapper's .pth")
    parser.add_argument("--to", type=Path, required=True, metavar="STORE", help="checkpoint store")
    parser.add_argument(
        "--network", default="G_ema", help="the generator to take, G_ema (the default) or G"
    )
    parser.add_argument(
        "--mapper", choices=MAPPERS, help="the source is a mapper's .pth, which predicts this"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
