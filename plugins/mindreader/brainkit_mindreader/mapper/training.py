"""Train a mapper: batches, the rate, the held-out images, and going on after a kill."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from brainkit.errors import DataError
from brainkit.networks.assemble import frozen
from brainkit.training.loop import Losses, train
from brainkit.training.state import moments, take_moments, under
from brainkit_mindreader.mapper.losses import MapperLoss
from brainkit_mindreader.mapper.network import MapperNetwork, MapperShape, padding

if TYPE_CHECKING:
    from brainkit.parts import FitJournal, Progress
    from brainkit_mindreader.mapper.part import Mapper

EXTRA = ("pad", "curve.training", "curve.held_out")


@dataclass
class MapperTraining:
    """A mapper on its way: the network, its optimiser, the best epoch so far and the curve.

    Attributes:
        options: of the regressor.
        betas: float32 (trials, voxels), on the device of the network.
        targets: (trials, alternatives, dim), of any float dtype and device.
        learned: trials that are trained on, int64.
        held_out: trials that choose the epoch, int64.
        pad: zeros to the left and to the right.
        journal: where the state is kept after every epoch, if anywhere.
        progress: told the steps done and their total, after every step.
        best: weights of the chosen epoch.
        training: mean loss of each epoch.
        held: mean loss of each epoch on the held-out trials.
        elapsed: seconds of training in this process.
    """

    options: Mapper
    betas: Tensor
    targets: Tensor
    learned: Tensor
    held_out: Tensor
    pad: tuple[int, int]
    network: MapperNetwork
    optimiser: torch.optim.Adam
    journal: FitJournal | None = None
    progress: Progress = lambda done, total: None
    best: dict[str, Tensor] = field(default_factory=dict)
    training: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    @classmethod
    def begun(
        cls, options: Mapper, betas: Tensor, targets: Tensor, journal: FitJournal | None
    ) -> MapperTraining:
        """Begin with weights drawn from the seed, or where the journal says.

        Raises:
            UsageError: the padded length does not fit the voxels.
        """
        pad = padding(betas.shape[1], options.layers, options.pad)
        network = drawn_network(options, betas.shape[1] + sum(pad), targets.shape[2])
        network.to(betas.device)
        optimiser = torch.optim.Adam(
            network.parameters(), lr=options.rate, weight_decay=options.weight_decay
        )
        parts = split(targets, options.held_out, options.seed)
        training = cls(options, betas.float(), targets, *parts, pad, network, optimiser, journal)
        if journal is not None:
            training._restore(journal.state())
        return training

    def run(self, progress: Progress | None = None) -> dict[str, Tensor]:
        """Train to the end; return the chosen weights, the padding and the curve."""
        if progress is not None:
            self.progress = progress
        epochs = self.options.epochs
        train(self, lambda: self.epoch / epochs, self.take_epoch, stop=self._in_vain)
        self.progress(self._steps * epochs, self._steps * epochs)
        return self.best | {
            "pad": torch.tensor(self.pad),
            "curve.training": torch.tensor(self.training),
            "curve.held_out": torch.tensor(self.held),
        }

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.training)

    @property
    def _steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.learned) // self.options.batch)

    def _in_vain(self) -> bool:
        """Whether as many epochs are done as `patience` allows since the best one."""
        since = self.epoch - 1 - self.held.index(min(self.held)) if self.held else 0
        return since >= self.options.patience

    def take_epoch(self, done: float) -> Losses:
        """See every trial once, a batch at each step, then judge the weights and keep the state.

        Args:
            done: share of the epochs; the rate depends on their number.

        Returns:
            the mean loss of the epoch.
        """
        options, before = self.options, self._steps * self.epoch
        draw = torch.Generator().manual_seed((options.seed << 20) + self.epoch)
        chosen = torch.randint(self.targets.shape[1], (len(self.targets),), generator=draw)
        order = self.learned[torch.randperm(len(self.learned), generator=draw)]
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * options.decay ** (self.epoch // options.decay_every)
        total = torch.zeros((), device=self.betas.device)
        for taken, rows in enumerate(torch.split(order, options.batch), 1):
            total += self._step(rows, chosen[rows]) * len(rows)
            self.progress(before + taken, self._steps * options.epochs)
        self._judge(float(total) / len(order))
        return {"loss": self.training[-1]}

    def _step(self, rows: Tensor, chosen: Tensor) -> Tensor:
        with torch.enable_grad(), repeatable():
            loss = self._loss(rows, chosen)
            self.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimiser.step()
        return loss.detach()

    def _loss(self, rows: Tensor, chosen: Tensor) -> Tensor:
        options = self.options
        loss = MapperLoss(options.mse, options.cosine, options.contrast, options.temperature)
        betas = functional.pad(self.betas[rows.to(self.betas.device)], self.pad)
        where = self.targets.device
        target = self.targets[rows.to(where), chosen.to(where)].to(betas)
        return loss(self.network(betas), target)

    def _judge(self, training: float) -> None:
        """Note the epoch's losses, take its weights if they are the best, and keep the state."""
        held = self._held_loss()
        if not math.isfinite(training + sum(held)):
            raise DataError(
                f"the mapper's loss is {training + sum(held)} in epoch {self.epoch + 1}; "
                "lower mapper.rate or check the betas and the feature for huge values"
            )
        self.training.append(training)
        if not held or not self.held or held[0] < min(self.held):
            weights = self.network.state_dict()
            self.best = {name: each.detach().clone() for name, each in weights.items()}
        self.held += held
        if self.journal is not None:
            self.journal.keep(self._state())

    @torch.no_grad()
    def _held_loss(self) -> list[float]:
        """Return the mean loss over the held-out trials; nothing when there are none."""
        if not len(self.held_out):
            return []
        total = 0.0
        with repeatable():
            for rows in torch.split(self.held_out, self.options.batch):
                total += float(self._loss(rows, torch.zeros_like(rows))) * len(rows)
        return [total / len(self.held_out)]

    def _state(self) -> dict[str, Tensor]:
        state = {f"network.{name}": each for name, each in self.network.state_dict().items()}
        state |= {f"best.{name}": each for name, each in self.best.items()}
        state |= moments(self.optimiser, "optimiser.")
        state["curve.training"] = torch.tensor(self.training, dtype=torch.float64)
        state["curve.held_out"] = torch.tensor(self.held, dtype=torch.float64)
        return {name: each.detach().cpu().clone() for name, each in state.items()}

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        if not state:
            return
        self.network.load_state_dict(under(state, "network."))
        self.best = {k: v.to(self.betas.device) for k, v in under(state, "best.").items()}
        take_moments(self.optimiser, state, "optimiser.")
        self.training = state["curve.training"].tolist()
        self.held = state["curve.held_out"].tolist()


def drawn_network(options: Mapper, length: int, dim: int) -> MapperNetwork:
    """Return a network on the CPU whose weights are torch's usual first ones, from the seed."""
    sizes = options.layers, options.blocks, options.hidden, options.fc
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)
        return MapperNetwork(MapperShape(length, dim, *sizes, options.sigmoid))


def split(targets: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the trials to learn from and those held out, int64 ascending; images stay whole.

    Trials of equal targets are of one image. Of two images or more at least one is held out and
    one learned, unless the share is 0.

    Args:
        targets: (trials, alternatives, dim).
        share: of the images that are held out, in [0, 1).
        seed: of the draw.
    """
    rows = targets.cpu().contiguous().flatten(1).numpy()
    images: dict[bytes, int] = {}
    image = [images.setdefault(sha256(row.tobytes()).digest(), len(images)) for row in rows]
    count = min(max(1, round(share * len(images))), len(images) - 1) if share else 0
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[torch.randperm(len(images), generator=draw)[:count]] = True
    held_out = chosen[torch.tensor(image)]
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def network_of(
    weights: Mapping[str, Tensor], sigmoid: bool, device: torch.device
) -> tuple[MapperNetwork, tuple[int, int]]:
    """Return the network of what `Mapper.fit` gave, and the zeros to the left and to the right.

    Raises:
        DataError: the tensors are not those of a mapper.
    """
    own = {name: each.float() for name, each in weights.items() if name not in EXTRA}
    network = MapperNetwork(MapperShape.of(own, sigmoid))
    network.load_state_dict(own)
    left, right = weights["pad"].tolist()
    return frozen(network, device), (left, right)


@torch.no_grad()
def predicted(network: MapperNetwork, betas: Tensor, pad: tuple[int, int], batch: int) -> Tensor:
    """Return embeddings, float32 (trials, dim), of betas (trials, voxels), in batches."""
    parts = [network(functional.pad(some.float(), pad)) for some in torch.split(betas, batch)]
    return torch.cat(parts)


def repeatable() -> AbstractContextManager[None]:
    """Have convolutions on CUDA take algorithms that give the same bits every time."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=True
    )
    return flags
