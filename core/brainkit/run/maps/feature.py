"""The maps of one feature: computed once, written as numbers, volumes and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.nsd import read_layout
from brainkit.parts import Sharing
from brainkit.run import regress as steps
from brainkit.run.artefact import write_png, write_text
from brainkit.run.maps import facts, pictures
from brainkit.run.maps.regions import region_means, regions
from brainkit.run.maps.volume import Grid, write_nifti
from brainkit.run.shared import Run
from brainkit.run.step import Artefact

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("weight", "selected")


@dataclass(frozen=True)
class FeatureMaps:
    """What a finished run's regressor reads of one feature from each voxel.

    Attributes:
        run: a finished run.
        feature: one whose regressor is `Mappable`.
        trials: the run's trials.
    """

    run: Run
    feature: str
    trials: Artefact

    @cached_property
    def voxels(self) -> NDArray[np.int32]:
        """Grid positions of the voxels that the regressor was given, int32 (voxels, 3)."""
        xyz = steps.open_tensors(self.trials.path)["voxel_xyz"]
        columns = steps.feature_columns(self.run, self.feature, self.trials)
        found: NDArray[np.int32] = (xyz if columns is None else xyz[columns]).numpy()
        return found

    @cached_property
    def values(self) -> dict[str, NDArray[np.float32]]:
        """Float32 (voxels,) of each kind of map, computed by the regressor.

        Raises:
            DataError: the regressor gave something else.
            PartError: the regressor failed.
        """
        run, address = self.run, f"regressor.{self.feature}"
        regressor = run.part(address)
        betas, rows = steps.training_rows(run, self.feature, self.trials)
        encoded = steps.open_tensors(self._features())["train"]
        weights = steps.open_tensors(run.folder / "weights" / f"{self.feature}.safetensors")
        factor = None
        if isinstance(regressor, Sharing):
            factor = steps.open_tensors(steps.shared_factor(run, self.feature, self.trials).path)
        with run.blame(address, f"mapping {self.feature}"):
            found = regressor.importance(
                weights, betas, steps.feature_rows_of(encoded, rows), factor
            )
        return _checked(found, len(self.voxels), run.who(address))

    @cached_property
    def grid(self) -> Grid:
        """The volume the voxels lie in."""
        return Grid.of(self.run.nsd, self.run.config.subject, self.run.method.selection.roi)

    def write(self) -> list[Path]:
        """Write every file that is not current and give their paths, volumes first."""
        numbers = self._step("facts", ".json", self._write_facts)
        found = facts.read(numbers)
        for kind in set(KINDS) - {each.kind for each in found}:
            self._path(f"-{kind}.nii.gz").unlink(missing_ok=True)
        volumes = [self._step(e.kind, f"-{e.kind}.nii.gz", self._write_volume) for e in found]
        drawn = [self._step("slices", ".png", self._write_slices)]
        if pictures.has_pycortex() and not self.run.miniature:
            drawn += self._flatmap()
        return [*volumes, *drawn, numbers]

    def _features(self) -> Path:
        return steps.encode(self.run, self.feature).path

    def _path(self, ending: str) -> Path:
        return facts.folder(self.run) / f"{self.feature}{ending}"

    def _step(self, kind: str, ending: str, write: Any) -> Path:
        recipe = facts.recipe(self.run, self.feature, kind)
        return self.run.work.step(self._path(ending), recipe, write).path

    def _write_facts(self, artefact: Artefact) -> None:
        where = regions(self.run.nsd, self.run.config.subject, self.voxels)
        found = [
            facts.Facts(
                feature=self.feature,
                kind=kind,
                voxels=len(values),
                largest=float(values.max()),
                mean=float(values.mean(dtype=np.float64)),
                regions=region_means(values, where),
            )
            for kind, values in self.values.items()
        ]
        write_text(artefact.path, facts.written(self.feature, found))

    def _write_volume(self, artefact: Artefact) -> None:
        kind = artefact.recipe.step.rpartition("-")[2]
        write_nifti(artefact.path, self.grid.image(self.values[kind], self.voxels))

    def _write_slices(self, artefact: Artefact) -> None:
        drawn = pictures.slices(self.grid, self.values, self.voxels, self.feature)
        write_png(artefact.path, drawn, artefact.recipe)

    def _write_flatmap(self, artefact: Artefact) -> None:
        run = self.run
        volume = np.zeros(self.grid.shape, np.float32)
        volume[tuple(self.voxels.T)] = self.values["weight"]
        subject = f"subj{run.config.subject:02d}"
        drawn = pictures.flatmap(volume, subject, read_layout(run.nsd).resolution)
        write_png(artefact.path, drawn, artefact.recipe)

    def _flatmap(self) -> list[Path]:
        try:
            return [self._step("flatmap", "-flatmap.png", self._write_flatmap)]
        except Exception as error:  # pycortex and its store raise whatever they like
            said = " ".join(str(error).split()) or type(error).__name__
            self.run.work.say(f"maps/{self.feature}-flatmap: not drawn by pycortex ({said})")
            return []


def _checked(found: Mapping[str, Tensor], voxels: int, who: str) -> dict[str, NDArray[np.float32]]:
    values = {kind: found[kind].detach().float().cpu().numpy() for kind in KINDS if kind in found}
    if "weight" not in values:
        raise DataError(f"{who} gave maps {sorted(found)}, expected 'weight' among them")
    for kind, each in values.items():
        if each.shape != (voxels,):
            raise DataError(f"{who} gave a map {kind!r} of {each.shape}, expected ({voxels},)")
        if not np.isfinite(each).all() or (each < 0).any():
            raise DataError(f"{who} gave a map {kind!r} with values below 0 or not finite")
    return values
