"""Uniform random choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from enas.searchers.base import Policy, Proposal, Told, uniform
from enas.spaces import Architecture, SearchSpace, active, uniform_entropies


class Random:
    """Uniform random architectures: the searcher that every other one has to beat."""

    def __init__(self, space: SearchSpace, generator: torch.Generator) -> None:
        self.space, self.generator = space, generator
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        return uniform(self.space, n, generator)

    def ask(self, n: int) -> list[Proposal]:
        first, self.asked = self.asked, self.asked + n
        archs = uniform(self.space, n, self.generator)
        return [Proposal(first + i, arch, self._log_prob(arch), 0) for i, arch in enumerate(archs)]

    def _log_prob(self, arch: Architecture) -> float:
        on = active(self.space, arch.choices)
        return -sum(math.log(len(d.labels)) for d, is_on in zip(self.space.decisions, on, strict=True) if is_on)

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        nan = float("nan")
        return Told(rewards.nanmean().item(), nan, nan, nan)

    def policy(self, archs: Sequence[Architecture]) -> Policy:
        return Policy(
            uniform_entropies(self.space),
            {d.name: [1 / len(d.labels)] * len(d.labels) for d in self.space.decisions},
        )

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]
        self.generator.set_state(state["generator"])
