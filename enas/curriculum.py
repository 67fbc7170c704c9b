"""Which architectures the shared weights are trained on: uniform ones first, then what the searcher would propose."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from enas import searchers
from enas.spaces import Architecture

if TYPE_CHECKING:
    from enas.phases import Search

LARGEST_STARTS = 20  # uniform architectures, from the largest of which the climb to the very largest begins
BLOCK = 512  # training steps whose architectures are drawn together


class Curriculum:
    """The architectures of every training step of a search. They follow from the seed, the epoch, its number of
    steps and, after warm-up, the searcher's state."""

    def __init__(self, state: Search) -> None:
        self.state = state
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

    def _draw(self, steps: int, together: int, draws: torch.Generator) -> Sequence[Architecture]:
        if self.state.config.learns and not self.state.warmup:
            return self.state.searcher.sample(steps * together, draws)
        return self.untaught(steps, together, draws)

    def untaught(self, steps: int, together: int, draws: torch.Generator) -> Sequence[Architecture]:
        """The architectures of so many steps, drawn as before the searcher has learned.

        Those beyond the limits are among them: shared weights that were trained on all rank those within better than
        shared weights that were trained on these alone (README, "Does the proxy rank?").
        """
        space, sampling = self.state.whole, self.state.config.weights.sampling
        if sampling == "fair":
            return searchers.fair(space, steps, together, draws)
        if sampling == "sandwich":
            return searchers.sandwich(space, steps, together, self.largest, draws)
        return searchers.uniform(space, steps * together, draws)

    @functools.cached_property
    def largest(self) -> Architecture:
        """The architecture of the most multiply-accumulates, as far as climbing finds it."""
        space, macs = self.state.whole, self.state.macs
        starts = searchers.uniform(space, LARGEST_STARTS, self.state.draws("largest"))
        return searchers.climbed(space, max(starts, key=macs), lambda archs: [macs(arch) for arch in archs])
