"""Regularised evolution (Real et al. 2019): a population from which the oldest, not the worst, are removed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from enas.config import EvolutionConfig
from enas.searchers.base import (
    NAN,
    Network,
    Policy,
    Proposal,
    Told,
    Unrepeated,
    allowed,
    anywhere,
    mutated,
    observed,
    restored,
    seen,
    uniform,
)
from enas.spaces import Architecture, SearchSpace

POPULATION = 50  # where nothing else is said


class Evolution:
    """Uniform architectures until the population is full, then children of the winners of tournaments.

    The best of some members drawn with replacement becomes a parent; its child differs from it in one choice.
    Every architecture that was told joins the population, unless its evaluation failed, and leaves it when
    as many came after it as the population has places.
    """

    def __init__(
        self,
        space: SearchSpace,
        config: EvolutionConfig,
        generator: torch.Generator,
        network: Network | None = None,
    ) -> None:
        self.space, self.config, self.generator = space, config, generator
        self.size = POPULATION if config.population is None else config.population
        self.unrepeated = Unrepeated(space, network)
        self.population: deque[tuple[Architecture, float]] = deque(maxlen=self.size)  # with reward, oldest first
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        """What `ask` would propose now: uniform architectures while the population fills, then children."""
        filling = self.asked < self.size
        return uniform(self.space, n, generator) if filling else self._children(n, generator)

    def ask(self, n: int) -> list[Proposal]:
        filling = max(0, min(n, self.size - self.asked))
        take, generator = self.unrepeated.take, self.generator
        archs = take(filling, lambda k: uniform(self.space, k, generator), generator)
        archs += take(n - filling, lambda k: self._children(k, generator), generator)
        first, self.asked = self.asked, self.asked + n
        return [Proposal(first + i, arch, NAN, 0) for i, arch in enumerate(archs)]

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        for proposal, reward in zip(proposals, rewards.tolist(), strict=True):
            if not math.isnan(reward):
                self.population.append((proposal.arch, reward))
        return seen(rewards)

    def policy(self, archs: Sequence[Architecture]) -> Policy:
        return observed(self.space, archs)

    def _children(self, n: int, generator: torch.Generator) -> list[Architecture]:
        """Mutated winners of tournaments, or now and then uniform architectures; these alone without a population."""
        return allowed(self.space, n, lambda k: [self._child(generator) for _ in range(k)], generator)

    def _child(self, generator: torch.Generator) -> Architecture:
        share, members = self.config.random_share, self.population
        if not members or (share and torch.rand((), generator=generator).item() < share):
            return anywhere(self.space, 1, generator)[0]
        entrants = torch.randint(len(members), (self.config.tournament,), generator=generator).tolist()
        return mutated(self.space, max((members[i] for i in entrants), key=lambda member: member[1])[0], generator)

    def state_dict(self) -> dict[str, Any]:
        return {
            "population": [(list(arch.choices), reward) for arch, reward in self.population],
            "asked": self.asked,
            "generator": self.generator.get_state(),
            "proposed": self.unrepeated.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.population.clear()
        for choices, reward in state["population"]:
            self.population.append((restored(self.space, choices), reward))
        self.asked = state["asked"]
        self.generator.set_state(state["generator"])
        self.unrepeated.load_state_dict(state["proposed"])
