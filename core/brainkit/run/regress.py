"""The steps up to the predicted features: load, encode, fit and predict."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.console import bar, human_size
from brainkit.data import Stimuli
from brainkit.errors import DataError
from brainkit.parts import Sharing, files_of, resuming_fit
from brainkit.run.artefact import (
    GrowingTensors,
    Recipe,
    Rows,
    is_current,
    write_tensors,
    write_text,
)
from brainkit.run.journal import FileFitJournal
from brainkit.run.shared import Run
from brainkit.run.step import Artefact

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.data import Integers

ENCODED_AT_ONCE = 8
"""Fixed, because kernels round differently in other batches and features are kept as float16."""


def load(run: Run) -> Artefact:
    """Read, standardise and split the betas of the chosen voxels and trials."""
    recipe = run.recipe("trials", "selection", inputs={"betas": run.files["betas"]})

    def make(artefact: Artefact) -> None:
        import torch

        from brainkit.nsd import load_trials

        with bar("loading sessions", 1, "sessions") as shown:
            trials = load_trials(
                run.nsd, run.config.subject, run.method.selection, progress=shown.of
            )
        tensors = {
            f"{name}_{what}": torch.from_numpy(getattr(getattr(trials, name), what))
            for name in ("train", "test")
            for what in ("betas", "image_ids", "repeats")
        }
        tensors["voxel_xyz"] = torch.from_numpy(trials.voxel_xyz)
        if trials.ncsnr is not None:
            tensors["ncsnr"] = torch.from_numpy(trials.ncsnr)
        write_tensors(artefact.path, tensors, recipe)
        facts = {"sessions": trials.sessions, "warnings": trials.warnings}
        write_text(artefact.path.with_suffix(".json"), json.dumps(facts))

    size = human_size(run.plan.bytes_in_memory)
    return run.work.step(run.work.shared("trials", recipe), recipe, make, size)


def encode(run: Run, feature: str) -> Artefact:
    """Compute one feature of all training and test images, float16 (images, *shape)."""
    address = f"encoder.{feature}"
    encoder = run.part(address)
    halves = {"image": ("images",), "caption": ("captions",)}
    inputs = {name: run.files[name] for name in halves.get(encoder.reads, ("images", "captions"))}
    inputs["image ids"] = run.files["ids"]
    with run.blame(address, f"reading files for {feature}"):
        inputs |= {each.name: hashed(each) for each in files_of(encoder)}
    recipe = run.recipe(f"features/{feature}", address, inputs=inputs)
    shape = encoder.shape(run.store)
    rows = tuple(
        Rows(name, "F16", (len(ids), *shape))
        for name, ids in zip(("train", "test"), run.image_ids, strict=True)
    )
    size = sum(2 * _count(each.shape) for each in rows)

    def make(artefact: Artefact) -> None:
        import torch

        growing = GrowingTensors(artefact.path, rows, recipe)
        with run.blame(address, f"loading for {feature}"):
            function = encoder.load(run.store)
        read = stimuli_reader(run, encoder.reads)
        done = [growing.done.get(each.name, 0) for each in rows]
        total = sum(each.shape[0] for each in rows)
        with bar(f"encoding {feature}", total, "images", sum(done)) as shown, torch.no_grad():
            for each, ids, start in zip(rows, run.image_ids, done, strict=True):
                for begin in range(start, len(ids), ENCODED_AT_ONCE):
                    batch = ids[begin : begin + ENCODED_AT_ONCE]
                    with run.blame(address, f"encoding {feature}"):
                        encoded = function(read(batch))
                    _check_rows(run, address, encoded, (len(batch), *shape))
                    growing.write(each.name, begin, encoded.cpu().numpy())
                    shown.add(len(batch))
        growing.finish()

    path = run.work.shared(f"features/{feature}", recipe)
    return run.work.step(path, recipe, make, human_size(size))


def stimuli_reader(run: Run, reads: str) -> Callable[[Integers], Stimuli]:
    """Give a function from image ids to what an encoder reads; what it does not stays empty."""
    import numpy as np

    from brainkit.nsd import load_captions, load_stimuli

    every = np.concatenate(run.image_ids)
    captions: dict[int, tuple[str, ...]] = {}
    if reads != "image":
        found = load_captions(run.nsd, every)
        captions = {int(each): said for each, said in zip(every, found, strict=True)}
    no_images = np.zeros((0, 0, 0, 3), np.uint8)
    return lambda ids: Stimuli(
        images=no_images if reads == "caption" else load_stimuli(run.nsd, ids),
        captions=tuple(captions.get(int(each), ()) for each in ids),
        image_ids=ids,
    )


def hashed(path: Path) -> str:
    """Give the first 16 hex digits of a file's SHA-256."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check the path") from error


def predict(run: Run, feature: str, trials: Artefact, features: Artefact) -> Artefact:
    """Fit the regressor of one feature and predict it for the test images, float16."""
    address = f"regressor.{feature}"
    regressor = run.part(address)
    inputs = {"trials": trials.recipe.stamp, f"features/{feature}": features.recipe.stamp}
    factor = shared_factor(run, feature, trials) if isinstance(regressor, Sharing) else None
    journalled = resuming_fit(regressor)
    recipe = run.recipe(f"weights/{feature}", address, inputs=inputs, extra=_voxels(run, feature))

    def fit(artefact: Artefact) -> None:
        betas, rows = training_rows(run, feature, trials)
        feature_rows = feature_rows_of(open_tensors(features.path)["train"], rows)
        with run.blame(address, f"fitting {feature}"):
            if factor:
                shared = open_tensors(factor.path)
                weights = regressor.fit_shared(betas, feature_rows, shared)
            elif journalled:
                weights = _fit_with_journal(run, feature, artefact, betas, feature_rows)
            else:
                weights = regressor.fit(betas, feature_rows)
        write_tensors(artefact.path, {k: v.cpu() for k, v in weights.items()}, recipe)
        FileFitJournal(artefact).finish()

    path = run.folder / "weights" / f"{feature}.safetensors"
    weights = run.work.step(path, recipe, fit)
    inputs = {"weights": weights.recipe.stamp}
    decoded = run.recipe(f"decoded/{feature}", address, inputs=inputs)

    def apply(artefact: Artefact) -> None:
        import torch

        betas, rows = training_rows(run, feature, trials)
        feature_rows = feature_rows_of(open_tensors(features.path)["train"], rows)
        new = averaged_test(run, feature, trials)
        learned = open_tensors(weights.path)
        with run.blame(address, f"predicting {feature}"), torch.no_grad():
            if factor:
                shared = open_tensors(factor.path)
                found = regressor.predict_shared(learned, new, feature_rows, shared, betas)
            else:
                new = new.to(run.store.device) if journalled else new
                found = regressor.predict(learned, new, feature_rows)
        _check_rows(run, address, _without_gaps(found), (len(new), *feature_rows.shape[1:]))
        write_tensors(artefact.path, {"decoded": found.half().cpu()}, decoded)

    path = run.folder / "decoded" / f"{feature}.safetensors"
    size = 2 * len(run.image_ids[1]) * _count(run.part(f"encoder.{feature}").shape(run.store))
    return run.work.step(path, decoded, apply, human_size(size))


def _fit_with_journal(
    run: Run, feature: str, artefact: Artefact, betas: Tensor, feature_rows: Tensor
) -> dict[str, Tensor]:
    """Fit a regressor that trains for long: on the run's device, under a bar, with a journal."""
    fit, journal = run.part(f"regressor.{feature}").fit, FileFitJournal(artefact)
    with bar(f"fitting {feature}", 1, "steps") as shown:
        weights: dict[str, Tensor] = fit(
            betas.to(run.store.device), feature_rows, journal=journal, progress=shown.of
        )
    return weights


def _voxels(run: Run, feature: str) -> str:
    """Describe for recipes which voxels a feature is predicted from, if not from all."""
    roi = run.method.selection.roi_of(feature)
    return f"voxels={roi}" if roi else ""


def shared_factor(run: Run, feature: str, trials: Artefact) -> Artefact:
    """Do the work on the betas that all features of equal voxels share, unless it is done."""
    address = f"regressor.{feature}"
    part = run.part(address)
    recipe = Recipe(
        "factor",
        tuple(filter(None, (part.shares, _voxels(run, feature)))),
        (run.version(address, part),),
        inputs={"trials": trials.recipe.stamp},
    )
    path = run.work.shared("factor", recipe)
    if is_current(path, recipe) or (run.work.dry and recipe.step in run.work.computed):
        return Artefact(path, recipe)

    def make(artefact: Artefact) -> None:
        with run.blame(address, "factorising the betas"):
            factor = part.factorise(training_rows(run, feature, trials)[0])
        write_tensors(artefact.path, factor, recipe)

    return run.work.step(path, recipe, make, human_size(8 * run.plan.rows.n_train**2))


def open_tensors(path: Path) -> dict[str, Tensor]:
    """Open a safetensors file; tensors are mapped from disk and read when used."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def feature_columns(run: Run, feature: str, trials: Artefact) -> Tensor | None:
    """Give which columns of the betas a feature is predicted from, int64; None means all."""
    import torch

    if not run.method.selection.roi_of(feature):
        return None
    xyz = open_tensors(trials.path)["voxel_xyz"].numpy()
    return torch.from_numpy(run.columns(feature, xyz))


def training_rows(run: Run, feature: str, trials: Artefact) -> tuple[Tensor, Tensor]:
    """Give a feature's training betas, float32 (trials, voxels), and each one's feature row."""
    import torch

    tensors = open_tensors(trials.path)
    ids, betas = tensors["train_image_ids"], tensors["train_betas"]
    columns = feature_columns(run, feature, trials)
    kept = betas if columns is None else betas[:, columns]
    return kept, torch.searchsorted(torch.unique(ids), ids)


def averaged_test(run: Run, feature: str, trials: Artefact) -> Tensor:
    """Give one row of a feature's test betas an image, float32 (images, voxels), ids ascending.

    Single trials are averaged, since one image gets one reconstruction.
    """
    import torch

    tensors = open_tensors(trials.path)
    betas, ids = tensors["test_betas"], tensors["test_image_ids"]
    columns = feature_columns(run, feature, trials)
    betas = betas if columns is None else betas[:, columns]
    unique, rows, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    if len(unique) == len(ids):
        return betas
    summed = torch.zeros(len(unique), betas.shape[1]).index_add_(0, rows, betas)
    averaged: Tensor = summed / counts[:, None]
    return averaged


def feature_rows_of(feature: Tensor, rows: Tensor) -> Tensor:
    """Give the rows of a feature, mapped from disk, that belong to trials."""
    import torch

    same = len(rows) == len(feature) and bool((rows == torch.arange(len(rows))).all())
    return feature if same else feature[rows]


def _without_gaps(found: Tensor) -> Tensor:
    """Fill the units that are NaN in every row: a regressor may leave units out."""
    import torch

    return found.where(~torch.isnan(found).all(dim=0), torch.zeros((), device=found.device))


def _check_rows(run: Run, address: str, found: Tensor, shape: tuple[int, ...]) -> None:
    import torch

    if tuple(found.shape) != shape:
        raise DataError(f"{run.who(address)} gave {tuple(found.shape)}, expected {shape}")
    # Kept as float16, whose largest value is 65504.
    if not bool(torch.isfinite(found.half()).all()):
        raise DataError(
            f"{run.who(address)} gave values that are not finite or beyond 65504 in size; "
            "check its input and its options"
        )


def _count(shape: Sequence[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count
