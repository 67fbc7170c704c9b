"""What shared weights are trained on: uniform architectures first, then what the searcher would propose."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from enas import searchers, spaces
from enas.losses import Lesson, Output
from enas.ops import Noise
from enas.plan import TRAINING_COST
from enas.runtime import derived_seed
from enas.shrinking import Kept, whole, within
from enas.spaces import Architecture

if TYPE_CHECKING:
    from enas.phases import Search

LARGEST_STARTS = 20  # uniform architectures, from the largest of which the climb to the very largest begins
BLOCK = 512  # training steps whose architectures are drawn together


class Curriculum:
    """The architectures of every training step of a search. They follow from the seed, the epoch, its number of
    steps, the choices that are left and, after warm-up, the searcher's state."""

    def __init__(self, state: Search) -> None:
        self.state = state
        self.kept: Kept = whole(state.whole)  # the choices that uniform architectures make, for every decision
        self.shrunk = 0  # times that choices were given up
        self._drawn: tuple[tuple[int, int], Sequence[Architecture]] = (-1, -1), ()  # of an epoch's block of steps

    def of(self, step: int) -> Sequence[Architecture]:
        """Those of a step of this epoch. The searcher rests meanwhile, so many steps' are drawn at once."""
        state, together = self.state, self.state.config.weights.architectures_per_step
        block, position = divmod(step, BLOCK)
        if (state.epoch, block) != self._drawn[0]:
            steps = min(BLOCK, state.steps - block * BLOCK)
            draws = state.draws(f"architectures/{state.epoch}/{block}")
            self._drawn = (state.epoch, block), self._draw(steps, together, draws)
        return self._drawn[1][position * together : (position + 1) * together]

    def model(self, images: Tensor, step: int) -> Iterator[Output]:
        """The supernet's output for the architectures of one training step, as many at a time as fit."""
        state, weights = self.state, self.state.config.weights
        done = state.epoch * state.steps + step
        archs = self.of(step)
        drop_path = weights.drop_path * done / (state.config.epochs * state.steps)
        noise = Noise(derived_seed(state.config.seed, f"noise/{done}"), weights.dropout, drop_path)
        taught = weights.distillation if self.largest_first else 0.0
        answer = None  # of the largest architecture, which is in the first part
        for i in range(0, len(archs), state.chunk):
            part = [state.evaluator.graph(arch) for arch in archs[i : i + state.chunk]]
            logits = state.supernet(images, part, noise)
            if taught and answer is None:
                answer = logits[0].detach().float().softmax(-1)
            lesson = None if answer is None else Lesson(answer, taught, skipped=int(i == 0))
            yield Output(logits, len(part) / len(archs), lesson=lesson)
        # nobody comes back here where memory ran out, and the step is run again
        state.training_macs += TRAINING_COST * len(images) * sum(map(state.macs, archs))

    @property
    def uniform(self) -> bool:
        """Whether this epoch's architectures are drawn as before the searcher has learned."""
        return self.state.warmup or not self.state.config.learns

    @property
    def largest_first(self) -> bool:
        """Whether the first architecture of each of this epoch's steps is the largest of the space."""
        return self.uniform and self.state.config.weights.sampling == "sandwich"

    def _draw(self, steps: int, together: int, draws: torch.Generator) -> Sequence[Architecture]:
        if self.uniform:
            return self.untaught(steps, together, draws)
        return self.state.searcher.sample(steps * together, draws)

    def untaught(self, steps: int, together: int, draws: torch.Generator) -> Sequence[Architecture]:
        """The architectures of so many steps, drawn as before the searcher has learned.

        Those beyond the limits are among them: shared weights that were trained on all rank those within better than
        shared weights that were trained on these alone (docs/results.md, "Does the proxy rank?").
        """
        space, sampling = self.state.whole, self.state.config.weights.sampling
        if sampling == "fair":
            return searchers.fair(space, steps, together, draws, self.kept)
        if sampling == "sandwich":
            others = self.independent(steps * (together - 1), draws)
            return searchers.sandwich(self._largest_of_parts(), others, together)
        return self.independent(steps * together, draws)

    def independent(self, n: int, draws: torch.Generator) -> Sequence[Architecture]:
        """n uniform architectures of the choices that are left."""
        space = self.state.whole
        archs = searchers.uniform(space, n, draws)
        return archs if self.kept == whole(space) else within(space, archs, self.kept, draws)

    def give_up(self, kept: Kept) -> list[str]:
        """Keep these choices alone from now on. Returns the others there were, each as decision and choice."""
        rows = zip(self.state.whole.decisions, self.kept, kept, strict=True)
        gone = [f"{d.name} {d.labels[choice]}" for d, before, left in rows for choice in before if choice not in left]
        self.kept, self.shrunk = kept, self.shrunk + 1
        return gone

    def _largest_of_parts(self) -> list[Architecture]:
        """The largest architecture of the space; where shared weights are split, that of each of their parts."""
        splits = self.state.supernet.splits or ()
        found = []
        for choices in itertools.product(*(self.kept[d] for d in splits)):
            changed = dict(enumerate(self.largest.choices)) | dict(zip(splits, choices, strict=True))
            found.append(spaces.settled(self.state.whole, list(changed.values())))
        return found

    @functools.cached_property
    def largest(self) -> Architecture:
        """The architecture of the most multiply-accumulates, as far as climbing finds it."""
        space, macs = self.state.whole, self.state.macs
        starts = searchers.uniform(space, LARGEST_STARTS, self.state.draws("largest"))
        return searchers.climbed(space, max(starts, key=macs), lambda archs: [macs(arch) for arch in archs])
