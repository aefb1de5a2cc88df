"""The state of a training on disk, from which it goes on as if there had been no break."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from brainkit.errors import DataError
from brainkit.miniature.training import under, write_tensors
from brainkit.run.artefact import KEY
from brainkit.run.artefact import Recipe as MadeBy
from brainkit_mindreader.train.gan import GanTraining

ANY = MadeBy("training")


def save(training: GanTraining, path: Path, made_by: MadeBy = ANY) -> None:
    """Write a training's whole state, with the recipe it follows in the header.

    Args:
        training: whose main process calls this.
        path: of a safetensors file, written aside and renamed.
        made_by: what the training is made by; see `brainkit.run.artefact.read_recipe`.
    """
    tensors = {"path_mean": training.path_mean}
    for name, net in training.networks().items():
        tensors |= {f"{name}/{n}": t for n, t in net.state_dict().items()}
    for name, adam in training.optimisers().items():
        for index, moments in adam.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{n}": t for n, t in moments.items()}
    facts = {
        "step": training.step,
        "pictures": training.pictures,
        "elapsed": training.elapsed,
        "scale": [training.scale.factor, training.scale.whole],
    }
    write_tensors(path, tensors, {"facts": json.dumps(facts), KEY: made_by.text()})


def resume(training: GanTraining, path: Path) -> None:
    """Take up a training that `save` wrote.

    Raises:
        DataError: the file is damaged or of other networks.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _take(training, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise DataError(
            f"{path} is no state of this training ({said}); delete it to begin again"
        ) from error
    training.step, training.pictures = facts["step"], facts["pictures"]
    training.elapsed = facts["elapsed"]
    training.scale.factor, training.scale.whole = facts.get("scale", (1.0, 0))


def _take(training: GanTraining, tensors: Mapping[str, Tensor]) -> None:
    training.path_mean = tensors["path_mean"].to(training.device)
    for name, net in training.networks().items():
        net.load_state_dict(under(tensors, f"{name}/"))
    for name, adam in training.optimisers().items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in under(tensors, f"{name}/").items():
            index, _, moment = key.partition("/")
            state.setdefault(int(index), {})[moment] = tensor
        groups = adam.state_dict()["param_groups"]
        adam.load_state_dict({"state": state, "param_groups": groups})
