"""The state of a training on disk, from which it goes on as if there had been no break."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from brainkit.errors import DataError
from brainkit.run import RECIPE_KEY
from brainkit.run import Recipe as MadeBy
from brainkit.training.state import moments, read_state, take_moments, under, write_state
from brainkit_mindreader.train.gan import GanTraining

ANY = MadeBy("training")
FAULTS = (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError)
"""What reading a file that is damaged or of other networks can raise."""


def save(training: GanTraining, path: Path, made_by: MadeBy = ANY) -> None:
    """Write a training's whole state, with the recipe it follows in the header.

    Args:
        training: whose main process calls this.
        path: of a safetensors file, written aside and renamed.
        made_by: what the training is made by; see `brainkit.run.read_recipe`.
    """
    tensors = {"path_mean": training.path_mean}
    for name, net in training.networks().items():
        tensors |= {f"{name}/{n}": t for n, t in net.state_dict().items()}
    for name, adam in training.optimisers().items():
        tensors |= moments(adam, f"{name}/", separator="/")
    facts = {
        "step": training.step,
        "pictures": training.pictures,
        "elapsed": training.elapsed,
        "scale": [training.scale.factor, training.scale.whole],
    }
    write_state(path, tensors, {"facts": json.dumps(facts), RECIPE_KEY: made_by.text()})


def resume(training: GanTraining, path: Path) -> None:
    """Take up a training that `save` wrote.

    Raises:
        DataError: the file is damaged or of other networks.
    """
    try:
        tensors, header = read_state(path)
        facts = json.loads(header["facts"])
        _take(training, tensors)
    except FAULTS as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path} is no state of this training ({reason}); delete it to begin again"
        ) from error
    training.step, training.pictures = facts["step"], facts["pictures"]
    training.elapsed = facts["elapsed"]
    training.scale.factor, training.scale.whole = facts.get("scale", (1.0, 0))


def _take(training: GanTraining, tensors: Mapping[str, Tensor]) -> None:
    training.path_mean = tensors["path_mean"].to(training.device)
    for name, net in training.networks().items():
        net.load_state_dict(under(tensors, f"{name}/"))
    for name, adam in training.optimisers().items():
        take_moments(adam, tensors, f"{name}/", separator="/")
