"""Where each image of a batch is on its way down the misfit: iterate, keep, resume, judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brainkit import Condition
from brainkit.parts import Journal, Progress
from brainkit.samplers.noise import noise
from brainkit_minddiffuser.gradients import Chain, Variables, adam, draw_seed, evaluate, plain

if TYPE_CHECKING:
    from brainkit_minddiffuser.aligned import Aligned

Draw = Callable[[Sequence[int]], Tensor]


@dataclass
class Trace:
    """What is known of one image's way.

    Attributes:
        iteration: updates done so far.
        losses: misfit before each of them.
        frames: iteration -> float16 (*latent), the latent before that iteration's update.
        lowest: lowest mean misfit judged so far.
        best: float32 (*latent), the latent of that iterate; empty before the first is judged.
    """

    iteration: int = 0
    losses: list[float] = field(default_factory=list)
    frames: dict[int, Tensor] = field(default_factory=dict)
    lowest: float = float("inf")
    best: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass
class Descent:
    """The variables and moments of a batch, (batch, ...) each, and each image's trace.

    Images may stand at different iterations, as after a kill; each draws the noise and has the
    rate of its own, and those that are done wait for the rest.
    """

    options: Aligned
    condition: Condition
    seeds: Sequence[int]
    journal: Journal | None
    draw: Draw
    variables: Variables
    moments: Variables
    traces: list[Trace]

    @classmethod
    def begun(
        cls,
        options: Aligned,
        condition: Condition,
        seeds: Sequence[int],
        journal: Journal | None = None,
        draw: Draw | None = None,
    ) -> Descent:
        """Begin with a condition's start and context, or where the journal says each image is.

        Args:
            options: of the sampler.
            condition: with a misfit.
            seeds: one per image.
            journal: where states are kept, if anywhere.
            draw: gives each image's noise, float32 (batch, *latent), at its iteration; by default
                from its seed.
        """
        variables = {"z": condition.start.detach().clone()}
        if options.variables == "z+c":
            assert condition.context is not None  # `Aligned` checks it
            variables["c"] = condition.context.detach().clone()
        moments: Variables = {}
        if options.optimiser == "adam":
            for name, each in variables.items():
                moments |= {f"{name}.{order}": torch.zeros_like(each) for order in ORDERS}
        descent = cls(
            *(options, condition, seeds, journal, draw or _from_seeds(options, condition, seeds)),
            *(variables, moments, [Trace() for _ in seeds]),
        )
        if journal is not None:
            for row in range(len(seeds)):
                descent._restore(row, journal.state(row))
        return descent

    def run(self, progress: Progress | None = None) -> Tensor:
        """Iterate until every image is done; return its latent, float32 (batch, *latent)."""
        n = self.options.iterations
        while waiting := [row for row, each in enumerate(self.traces) if each.iteration < n]:
            self.iterate(waiting)
            if progress is not None:
                progress(min(each.iteration for each in self.traces), n + 1)
        latents = self._finish()
        if progress is not None:
            progress(n + 1, n + 1)
        return latents

    def iterate(self, rows: Sequence[int]) -> None:
        """Evaluate the batch, and update the images at the given rows."""
        framed = [row for row in rows if self.traces[row].iteration % self.options.every == 0]
        self._judge(framed)
        drawn = self.draw([each.iteration for each in self.traces])
        evaluation = evaluate(self.chain, self.condition, self.variables, drawn)
        losses = evaluation.losses.tolist()
        for row in rows:
            self.traces[row].losses.append(losses[row])
        for row in framed:
            self.traces[row].frames[self.traces[row].iteration] = (
                evaluation.latents[row].half().cpu()
            )
        self._update(evaluation.gradients, rows)
        for row in rows:
            self.traces[row].iteration += 1
            done = self.traces[row].iteration
            if done % self.options.every == 0 or done == self.options.iterations:
                self._keep(row)

    def _update(self, gradients: Variables, rows: Sequence[int]) -> None:
        rates = [self.options.rate_at(each.iteration) for each in self.traces]
        if self.options.optimiser == "adam":
            updates = [each.iteration + 1 for each in self.traces]
            subtracted, moments = adam(self.moments, gradients, rates, updates)
        else:
            subtracted, moments = plain(gradients, rates), {}
        for name, each in moments.items():
            self.moments[name][rows] = each[rows]
        for name, each in subtracted.items():
            self.variables[name][rows] -= each[rows]

    def _finish(self) -> Tensor:
        """Walk with the first stage's noise, keep the last frame, and choose."""
        last = self._walked(0)
        self._judge(range(len(self.seeds)), last)
        for row, trace in enumerate(self.traces):
            if trace.iteration not in trace.frames:
                trace.frames[trace.iteration] = last[row].half().cpu()
                self._keep(row)
        if self.options.keep == "last":
            return last
        return torch.stack([each.best.to(last) for each in self.traces])

    def _judge(self, rows: Sequence[int], first: Tensor | None = None) -> None:
        """Compare the iterates at some rows with the best so far, over noises that never change.

        `first` is the walk with the first of these noises, where it was taken already.
        """
        if not rows or self.options.keep == "last":
            return
        assert self.condition.misfit is not None  # `Aligned` checks it
        first = self._walked(0) if first is None else first
        misfits = [self.condition.misfit(first).detach()]
        for number in range(1, self.options.judge_noises):
            misfits.append(self.condition.misfit(self._walked(number)).detach())
        means = torch.stack(misfits).mean(dim=0).tolist()
        for row in rows:
            if means[row] < self.traces[row].lowest:
                self.traces[row].lowest = means[row]
                self.traces[row].best = first[row].clone()

    def _walked(self, number: int) -> Tensor:
        """Walk the batch with a noise that never changes; number 0 is the first stage's."""
        seeds = [draw_seed(seed, "judge", number) for seed in self.seeds]
        start = self.condition.start
        with torch.no_grad():
            drawn = noise(start.shape[1:], seeds).to(start)
            return self.chain.walk(self.condition, self.variables, drawn)

    @property
    def chain(self) -> Chain:
        """The walk whose gradient is descended."""
        options = self.options
        return Chain(options.walker(), options.backprop_steps, options.stored_steps)

    def _keep(self, row: int) -> None:
        if self.journal is None:
            return
        trace = self.traces[row]
        state = {name: each[row] for name, each in {**self.variables, **self.moments}.items()}
        state |= {
            "iteration": torch.tensor(trace.iteration),
            "lowest": torch.tensor(trace.lowest, dtype=torch.float64),
            "best": trace.best,
            "path.losses": torch.tensor(trace.losses, dtype=torch.float32),
            "path.latents": torch.stack(list(trace.frames.values())),
            "path.iterations": torch.tensor(list(trace.frames), dtype=torch.int64),
        }
        self.journal.keep(row, {n: each.detach().cpu().clone() for n, each in state.items()})

    def _restore(self, row: int, state: Mapping[str, Tensor]) -> None:
        if not state:
            return
        for name, each in {**self.variables, **self.moments}.items():
            each[row] = state[name].to(each)
        frames = zip(state["path.iterations"].tolist(), state["path.latents"], strict=True)
        self.traces[row] = Trace(
            iteration=int(state["iteration"]),
            losses=state["path.losses"].tolist(),
            frames=dict(frames),
            lowest=float(state["lowest"]),
            best=state["best"],
        )


ORDERS = ("first", "second")


def _from_seeds(options: Aligned, condition: Condition, seeds: Sequence[int]) -> Draw:
    start = condition.start

    def draw(iterations: Sequence[int]) -> Tensor:
        numbers = [0 if options.noise == "fixed" else each for each in iterations]
        drawn = [
            draw_seed(seed, "iteration", number)
            for seed, number in zip(seeds, numbers, strict=True)
        ]
        return noise(start.shape[1:], drawn).to(start)

    return draw
