"""The maps of one feature: computed once, written as numbers, volumes and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError
from brainkit.names import subject_name
from brainkit.nsd import read_layout
from brainkit.run import regress
from brainkit.run.artefact import Artefact, write_png, write_text
from brainkit.run.maps import facts, pictures
from brainkit.run.maps.regions import region_means, regions
from brainkit.run.maps.volume import Grid, write_nifti
from brainkit.run.shared import Predictions, Run
from brainkit.run.step import one

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("weight", "selected")


@dataclass(frozen=True)
class FeatureMaps:
    """What a finished run's regressor reads of one feature from each voxel.

    Attributes:
        run: a finished run.
        feature: one whose regressor is `Mappable`.
        known: the run's files up to the predicted features.
    """

    run: Run
    feature: str
    known: Predictions

    @cached_property
    def voxels(self) -> NDArray[np.int32]:
        """Grid positions of the voxels that the regressor was given, int32 (voxels, 3)."""
        xyz = self.known.trials["voxel_xyz"]
        columns = regress.feature_voxels(self.run, self.feature, self.known.trials)
        positions: NDArray[np.int32] = (xyz if columns is None else xyz[columns]).numpy()
        return positions

    @cached_property
    def values(self) -> dict[str, NDArray[np.float32]]:
        """Float32 (voxels,) of each kind of map, computed by the regressor.

        Raises:
            DataError: the regressor gave something else.
            PartError: the regressor failed.
        """
        run, feature, known = self.run, self.feature, self.known
        address, regressor = f"regressor.{feature}", regress.regression(run, feature, known.trials)
        betas, rows = regress.training(run, feature, known.trials, known.features[feature])
        weights = known.weights[feature].tensors()
        with run.blame(address, f"mapping {feature}"):
            maps = regressor.importance(weights, betas, rows)
        return _checked(maps, len(self.voxels), run.who(address))

    @cached_property
    def grid(self) -> Grid:
        """The volume the voxels lie in."""
        return Grid.of(self.run.nsd, self.run.config.subject, self.run.method.selection.roi)

    def write(self) -> list[Path]:
        """Write every file that is not current and return their paths, volumes first."""
        numbers = self._step("facts", self._write_facts)
        kinds = [each.kind for each in facts.read(numbers)]
        for kind in set(KINDS) - set(kinds):
            self._artefact(kind).path.unlink(missing_ok=True)
        volumes = [self._step(kind, self._write_volume) for kind in kinds]
        drawn = [self._step("slices", self._write_slices)]
        if pictures.has_pycortex() and not self.run.miniature:
            drawn += self._flatmap()
        return [*volumes, *drawn, numbers]

    def _step(self, kind: str, write: Callable[[Artefact], None]) -> Path:
        return one(self.run, self._artefact(kind), write).path

    def _artefact(self, kind: str) -> Artefact:
        weights = self.known.weights[self.feature]
        return facts.artefact(self.run, self.feature, kind, weights)

    def _write_facts(self, artefact: Artefact) -> None:
        where = regions(self.run.nsd, self.run.config.subject, self.voxels)
        maps = [
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
        write_text(artefact.path, facts.written(self.feature, maps))

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
        subject = subject_name(run.config.subject)
        drawn = pictures.flatmap(volume, subject, read_layout(run.nsd).resolution)
        write_png(artefact.path, drawn, artefact.recipe)

    def _flatmap(self) -> list[Path]:
        try:
            return [self._step("flatmap", self._write_flatmap)]
        except Exception as error:  # pycortex and its store raise whatever they like
            reason = " ".join(str(error).split()) or type(error).__name__
            self.run.work.say(f"maps/{self.feature}-flatmap: not drawn by pycortex ({reason})")
            return []


def _checked(maps: Mapping[str, Tensor], voxels: int, who: str) -> dict[str, NDArray[np.float32]]:
    values = {kind: maps[kind].detach().float().cpu().numpy() for kind in KINDS if kind in maps}
    if "weight" not in values:
        raise DataError(f"{who} gave maps {sorted(maps)}, expected 'weight' among them")
    for kind, each in values.items():
        if each.shape != (voxels,):
            raise DataError(f"{who} gave a map {kind!r} of {each.shape}, expected ({voxels},)")
        if not np.isfinite(each).all() or (each < 0).any():
            raise DataError(f"{who} gave a map {kind!r} with values below 0 or not finite")
    return values
