"""Uniform random choice: the searcher that every other one has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from enas.searchers.base import Network, Policy, Proposal, Told, Unrepeated, seen, uniform
from enas.spaces import Architecture, SearchSpace, active, uniform_entropies


class Random:
    """Uniform random architectures."""

    def __init__(self, space: SearchSpace, generator: torch.Generator, network: Network | None = None) -> None:
        self.space, self.generator = space, generator
        self.unrepeated = Unrepeated(space, network)
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        return uniform(self.space, n, generator)

    def ask(self, n: int) -> list[Proposal]:
        archs = self.unrepeated.take(n, lambda k: uniform(self.space, k, self.generator), self.generator)
        first, self.asked = self.asked, self.asked + n
        return [Proposal(first + i, arch, self._log_prob(arch), 0) for i, arch in enumerate(archs)]

    def _log_prob(self, arch: Architecture) -> float:
        on = active(self.space, arch.choices)
        return -sum(math.log(len(d.labels)) for d, is_on in zip(self.space.decisions, on, strict=True) if is_on)

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        return seen(rewards)

    def policy(self, archs: Sequence[Architecture]) -> Policy:
        return Policy(
            uniform_entropies(self.space),
            {d.name: [1 / len(d.labels)] * len(d.labels) for d in self.space.decisions},
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "asked": self.asked,
            "generator": self.generator.get_state(),
            "proposed": self.unrepeated.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]
        self.generator.set_state(state["generator"])
        self.unrepeated.load_state_dict(state["proposed"])
