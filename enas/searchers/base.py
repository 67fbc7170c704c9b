"""The interface of searchers, and uniform random architectures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from enas.spaces import Architecture, SearchSpace, settled


@dataclass(frozen=True)
class Proposal:
    """An architecture with its running number, log-probability and policy version when it was asked for."""

    id: int
    arch: Architecture
    log_prob: float
    version: int


@dataclass(frozen=True)
class Told:
    """What an update saw: means over its architectures (NaN where a searcher has no such figure)."""

    reward: float  # without the entropy bonus
    baseline: float  # of the rewards with the bonus, as read before the update
    advantage: float  # mean absolute value
    grad_norm: float


@dataclass(frozen=True)
class Policy:
    """What a searcher would choose, along the way to some architectures.

    entropies: mean entropy in nats, by group of decisions.
    probabilities: for every decision, by name, its mean probabilities [K_d] where it is active.
    """

    entropies: dict[str, float]
    probabilities: dict[str, list[float]]


class Searcher(Protocol):
    """The interface of all searchers."""

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]: ...

    def ask(self, n: int) -> list[Proposal]: ...

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told: ...

    def policy(self, archs: Sequence[Architecture]) -> Policy: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def uniform(space: SearchSpace, n: int, generator: torch.Generator) -> list[Architecture]:
    """n architectures, each active decision uniform over its choices."""
    sizes = torch.tensor([len(decision.labels) for decision in space.decisions])
    draws = torch.rand(n, len(sizes), generator=generator, dtype=torch.float64)
    return architectures(space, (draws * sizes).long())


def architectures(space: SearchSpace, choices: Tensor) -> list[Architecture]:
    """The architectures with these choices [n, D]."""
    return [settled(space, row) for row in choices.tolist()]
