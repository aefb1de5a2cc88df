"""What the steps of one run share: settings, method, data, and what it tells of itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brainkit.checkpoints import CheckpointStore
from brainkit.console import Say
from brainkit.ending import user_interrupts
from brainkit.errors import BrainkitError, PartError, UsageError
from brainkit.method import Method
from brainkit.parts import checkpoints_of, described
from brainkit.plugins import Registry
from brainkit.run.artefact import Artefact, Recipe
from brainkit.run.chosen import chosen_images
from brainkit.run.config import RunConfig, to_toml
from brainkit.run.folder import Data, Folder, sanitised
from brainkit.run.identity import Differences, command, differences, digest_of, run_name
from brainkit.run.inputs import Inputs
from brainkit.run.trials import TrialsFile
from brainkit.seeds import seed_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from brainkit.data import Integers
    from brainkit.nsd import TrialsPlan


class Draw(NamedTuple):
    """One reconstruction to make: which image's, and which of its samples, counted from 1."""

    image: int
    sample: int

    @property
    def name(self) -> str:
        """What its files are called: nsd00012, nsd00012-2, nsd00012-3."""
        return f"nsd{self.image:05d}" + (f"-{self.sample}" if self.sample > 1 else "")


@dataclass
class Work:
    """What a run does and tells of it.

    Attributes:
        root: folder of one subject, which runs share.
        say: shows one line.
        dry: only say what would be done.
        computed: names of the steps that were computed, or would be.
        kept: names of the steps whose files were current.
        again: names of steps whose file is made even if it is current.
        seconds: how long each computed step took.
        reached: files that the run needs, as far as it went.
    """

    root: Path
    say: Say
    dry: bool = False
    computed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    reached: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class Predictions:
    """The files of a run up to the predicted features.

    Attributes:
        trials: betas of training and test images.
        features: true features, by name.
        weights: what regressors learned, by feature.
        decoded: features predicted for the test images, by name.
        controls: by control what stands in place of these.
    """

    trials: TrialsFile
    features: Mapping[str, Artefact]
    weights: Mapping[str, Artefact]
    decoded: Mapping[str, Artefact]
    controls: Mapping[str, Mapping[str, Artefact]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Everything the steps of one run share.

    Attributes:
        nsd: root of the NSD download or of the miniature.
        method: with parts replaced and options set.
        held_out: ids of the test images of split "clusters"; empty for others.
    """

    config: RunConfig
    method: Method
    registry: Registry
    work: Work
    store: CheckpointStore
    nsd: Path
    held_out: tuple[int, ...] = ()

    @property
    def miniature(self) -> bool:
        """Whether the data are the miniature's."""
        return self.config.nsd is None

    @property
    def networks(self) -> str:
        """Which weights the networks have: "miniature", "released" or "random"."""
        return self.config.networks

    @property
    def small(self) -> bool:
        """Whether the miniature's networks read other data than the miniature's."""
        return self.networks == "miniature" and not self.miniature

    @cached_property
    def dataset(self) -> str:
        """The name of data of one's own; empty for NSD and the miniature."""
        from brainkit.nsd import read_layout

        return read_layout(self.nsd).dataset

    @property
    def captioned(self) -> bool:
        """Whether the data have captions; NSD is to have some."""
        from brainkit.nsd.captions import has_captions

        return not self.dataset or has_captions(self.nsd)

    @cached_property
    def folder(self) -> Folder:
        """Where each of its files lies."""
        return Folder.of(self.work.root, self.name)

    @cached_property
    def name(self) -> str:
        """What its folder is called."""
        if self.config.name is not None:
            return self.config.name
        return run_name(self.method.name, self.differing.words(), self.digest)

    @cached_property
    def data(self) -> Data:
        """Whose data it reads."""
        return data_of(self.config, self.nsd)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all that decides what it computes."""
        from brainkit.nsd.fingerprint import first_session

        return digest_of(
            self.method,
            self.config,
            data=self.data,
            session=first_session(self.nsd, self.config.subject, self.method.selection),
            dtype=self.store.dtype,
        )

    @cached_property
    def differing(self) -> Differences:
        """In what it differs from the method's defaults."""
        return differences(self.method, self.config, self.registry.get, self.store.dtype)

    @cached_property
    def plan(self) -> TrialsPlan:
        """What loading the selection would read, after all cheap checks of the files."""
        from brainkit.nsd import plan_trials

        return plan_trials(
            self.nsd, self.config.subject, self.method.selection, held_out=self.held_out
        )

    @cached_property
    def image_ids(self) -> tuple[Integers, Integers]:
        """Ids of all training and all test images, int32, ascending; read from the design only."""
        import numpy as np

        rows = self.plan.rows
        ids = rows.image_ids[: rows.n_train], rows.image_ids[rows.n_train :]
        return np.unique(ids[0]), np.unique(ids[1])

    def columns(self, feature: str, voxel_xyz: Integers) -> NDArray[np.int64]:
        """Return which of the loaded voxels lie in the ROI that a feature has for itself.

        Args:
            feature: one with a ROI of its own.
            voxel_xyz: int32 (voxels, 3), the loaded voxels.

        Raises:
            UsageError: none of them is in the feature's own ROI.
        """
        import numpy as np

        from brainkit.nsd.roi import roi_voxels

        selection = self.method.selection
        roi = selection.roi_of(feature)
        own = roi_voxels(self.nsd, self.config.subject, roi).xyz
        wanted = {tuple(position) for position in own.tolist()}
        inside = [tuple(position) in wanted for position in np.asarray(voxel_xyz).tolist()]
        if not any(inside):
            raise UsageError(
                f"selection.by_feature gives {feature} the voxels of {roi}, but none of them is in "
                f"selection.roi, {selection.roi}; choose a roi that holds both"
            )
        return np.flatnonzero(inside)

    @cached_property
    def chosen(self) -> tuple[int, ...]:
        """Ids of the test images that are reconstructed."""
        return chosen_images(self.config.images, tuple(self.image_ids[1].tolist()))

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        """All samples of the first chosen image, then of the second, and so on."""
        samples = range(1, self.method.samples + 1)
        return tuple(Draw(image, sample) for image in self.chosen for sample in samples)

    def seeds(self, output: str, draws: Sequence[Draw] | None = None) -> list[int]:
        """Return the noise seed of each draw, all of them or those given, for an output."""
        seed, wanted = self.config.seed, self.draws if draws is None else draws
        return [image_seed(seed, draw.image, output, draw.sample) for draw in wanted]

    @property
    def unit(self) -> str:
        """What draws are counted in."""
        return "images" if self.method.samples == 1 else "samples"

    def test_rows(self, images: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of the test images' features that belong to image ids."""
        import numpy as np

        return np.searchsorted(self.image_ids[1], np.asarray(images, dtype=np.int64))

    @cached_property
    def inputs(self) -> Inputs:
        """The NSD files it reads, as they were when first asked for."""
        return Inputs.of(self.nsd, self.config.subject, self.plan)

    @cached_property
    def files(self) -> dict[str, str]:
        """A fingerprint of each group of NSD files: "betas", "images", "captions", "ids"."""
        # The same ids in the same order may be parted elsewhere.
        split = b"" if self.plan.split == "shared" else self.plan.split.encode()
        both = b"".join(ids.tobytes() for ids in self.image_ids) + split
        return {**self.inputs.fingerprints, "ids": sha256(both).hexdigest()[:16]}

    def looking(self) -> Run:
        """Return a run of the same settings that computes nothing and says nothing."""
        return replace(self, work=Work(self.work.root, lambda text: None, dry=True))

    def artefact(
        self,
        path: Path,
        step: str,
        *addresses: str,
        inputs: Mapping[str, str],
        output: str = "",
        extra: str = "",
    ) -> Artefact:
        """Return the file at a path that a step makes; arguments as of `recipe`."""
        recipe = self.recipe(step, *addresses, inputs=inputs, output=output, extra=extra)
        return Artefact(path, recipe)

    def recipe(
        self,
        step: str,
        *addresses: str,
        inputs: Mapping[str, str],
        output: str = "",
        extra: str = "",
    ) -> Recipe:
        """Describe what makes an artefact.

        Args:
            step: its name.
            addresses: of the parts that make it.
            inputs: stamps of what they read.
            output: "image" or "caption" when only what bears on that output counts.
            extra: anything else that decides the content, e.g. the seed.
        """
        parts = [(address, self._part(address)) for address in addresses]
        weights = {
            checkpoint.name: self.store.fingerprint(checkpoint)[:16]
            for _, part in parts
            for checkpoint in checkpoints_of(part)
        }
        made_by = [described(part, output) for _, part in parts]
        if weights:
            extra = f"{extra} dtype={self.store.dtype}".strip()
        return Recipe(
            step=step,
            made_by=(*made_by, extra) if extra else tuple(made_by),
            versions=tuple(self.version(address, part) for address, part in parts),
            weights=weights,
            inputs=dict(inputs),
        )

    def who(self, address: str) -> str:
        """Name a part and its distribution for messages."""
        kind, part = address.partition(".")[0], self._part(address)
        plugin = self.registry.provider(kind, part)
        owner = plugin.distribution if plugin else ""
        return f"{kind} {part.name!r}" + (f" ({owner})" if owner else "")

    @contextmanager
    def blame(self, address: str, doing: str) -> Iterator[None]:
        """Turn any failure of a part into one sentence that names the part.

        A part that ends the program, as by `sys.exit`, has failed; the user's interrupt passes.

        Raises:
            PartError: with the cause chained.
        """
        with user_interrupts() as interrupts:
            try:
                yield
            except BrainkitError:
                raise
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                if interrupts:
                    raise
                said = " ".join(str(error).split())
                why = f"{type(error).__name__}: {said}" if said else type(error).__name__
                raise PartError(f"{self.who(address)} failed {doing}: {why}") from error

    def version(self, address: str, part: Any) -> str:
        """Return distribution and version of a part, and a hash of its code if that is edited."""
        plugin = self.registry.provider(address.partition(".")[0], part)
        return plugin.version if plugin else ""

    def _part(self, address: str) -> Any:
        # Of any kind; steps take theirs from the method's mappings, which know the kind.
        return dict(self.method.parts())[address]


def image_seed(seed: int, image_id: int, output: str, sample: int = 1) -> int:
    """Derive the noise seed of one image, output and sample, in [0, 2**63)."""
    return seed_of(seed, image_id, output, *([sample] if sample > 1 else []))


def data_of(config: RunConfig, nsd: Path) -> Data:
    """Return whose data a run reads.

    Args:
        config: says whether they are the miniature's, and how hard that is.
        nsd: root of the NSD download or of the miniature.
    """
    from brainkit.nsd.fingerprint import experiment

    key = experiment(nsd)
    if config.nsd is not None:
        return Data(f"{sanitised(nsd.resolve().name or 'data')}-{key[:8]}", key[:8])
    if not config.harder:
        return Data("miniature", key[:8])
    key = sha256(f"{key} {sorted(config.harder.items())}".encode()).hexdigest()[:8]
    return Data(f"miniature-{key}", key)


def run_file(run: Run) -> str:
    """Return the settings of `run.toml`: every one and every option, but not where it lies."""
    return to_toml(run.config.resolved(run.method), reproduce_command(run))


def reproduce_command(run: Run) -> str:
    """Return the command that makes the same run, from any folder, into `brainkit-runs` there."""
    if run.config.composition:  # no plugin knows the method, but its run file does
        return f"brainkit run --config {shlex.quote(str(run.folder.run_file.absolute()))}"
    return command(run.config, run.method, run.differing)
