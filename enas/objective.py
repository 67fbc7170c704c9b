"""From scores and costs to rewards: what the searcher maximises, within which limits.

A architectures. A failed score (not finite) gives a NaN reward; the searcher decides what that means.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from enas.config import COSTS, ObjectiveConfig
from enas.cost import cost
from enas.errors import UserError
from enas.graph import Graph
from enas.spaces import Architecture, SearchSpace

KNOWN = 2**16  # architectures whose costs are remembered


@dataclass(frozen=True)
class Scores:
    """What an evaluator says of A architectures.

    accuracy: [A], share of right answers in 0..1; loss: [A], mean cross-entropy in nats; both on the CPU. The loss
        is None where the evaluator knows none, as a table of trained networks does not.
    images: how many images they were measured on.
    by_class: [2, A, K], of each class how many images there are and how many of them were answered right, where that
        was counted.
    """

    accuracy: Tensor
    loss: Tensor | None
    images: int
    by_class: Tensor | None = None

    @property
    def failed(self) -> Tensor:
        """bool [A]: the loss, or the accuracy where there is none, is not finite, so the score says nothing."""
        return ~torch.isfinite(self.accuracy if self.loss is None else self.loss)

    @property
    def known_loss(self) -> Tensor:
        """[A]: the loss. Raises UserError where there is none."""
        if self.loss is None:
            raise UserError(
                "the loss must be known for this, but a table of trained networks holds accuracies alone; "
                "give --reward accuracy"
            )
        return self.loss


class Objective:
    """What is maximised: rewards of scores and costs, and which costs are too high.

    The costs that count are those of the networks of `space`, scaled where the configuration says so; latency: a
    network's milliseconds, where they are known. Raises UserError where the space does not scale like that.
    """

    def __init__(
        self, space: SearchSpace, config: ObjectiveConfig, latency: Callable[[Graph], float] | None = None
    ) -> None:
        self.config, self.latency = config, latency
        changes = {name: value for name in ("width", "depth") if (value := getattr(config, name)) is not None}
        self.networks = space.scaled(**changes) if changes else space
        self.costs: Callable[[Architecture], dict[str, float]] = functools.lru_cache(maxsize=KNOWN)(self._costs)

    def _costs(self, arch: Architecture) -> dict[str, float]:
        """By their names."""
        graph = self.networks.graph(arch)
        costs: dict[str, float] = dataclasses.asdict(cost(graph))
        return costs if self.latency is None else {**costs, "latency_ms": self.latency(graph)}

    def excess(self, arch: Architecture) -> float:
        """The largest ratio of a cost to its limit; 0 without limits."""
        costs, limits = self.costs(arch), self.config.limits
        return max((costs[name] / limit for name, limit in limits.items()), default=0.0)

    def rewards(self, archs: Sequence[Architecture], scores: Scores) -> Tensor:
        """The rewards [A] of architectures with these scores, the greater the better; NaN where the evaluation failed.

        Raises UserError where the reward is to be the loss and the scores have none.
        """
        values = rewards(scores, self.config)
        for name, target in self.config.targets.items():
            ratios = torch.tensor([self.costs(arch)[name] / target for arch in archs], dtype=values.dtype)
            values = towards(values, ratios, self.config)
        return values

    def report(self, arch: Architecture) -> dict[str, Any] | None:
        """The costs of an architecture beside their limits and targets, as JSON; None where there are none."""
        costs, config = self.costs(arch), self.config
        found = {
            name: {"limit": config.limits.get(name), "target": config.targets.get(name), "found": costs[name]}
            for name in COSTS
            if name in config.limits or name in config.targets
        }
        return {"width": config.width, "depth": config.depth, "costs": found} if found else None


def rewards(scores: Scores, config: ObjectiveConfig) -> Tensor:
    """[A] in 0..1, whatever the costs; NaN where the evaluation failed.

    Raises UserError where the reward is to be the loss and the scores have none.
    """
    values = scores.accuracy if config.metric == "accuracy" else torch.exp(-scores.known_loss)
    return torch.where(scores.failed, torch.nan, values**config.power)


def towards(values: Tensor, ratios: Tensor, config: ObjectiveConfig) -> Tensor:
    """Rewards [A] after a target: ratios [A] are each cost divided by it."""
    if config.target_form == "exponent":
        return values * ratios**-config.target_weight
    return values - config.target_weight * (ratios - 1).abs()


def number(value: float) -> str:
    """A cost as text: whole where it is large."""
    return f"{value:,.0f}" if value >= 999.5 or value == int(value) else f"{value:.3g}"
