"""Proxy scores on the whole validation set: what `derive` chooses by, and what any architecture of the space can get.

Both score by the same evaluator on the same batches, so a score that is asked for later equals the one in
the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from enas import searchers, spaces
from enas.cost import cost
from enas.objective import Scores
from enas.pareto import kept
from enas.phases import Search
from enas.records import spread
from enas.spaces import Architecture

FAILED = -math.inf  # reward of an architecture whose logits are not finite: below all others


class ProxyScores:
    """Scores of A architectures under a search's shared weights; each list has a number for each of `archs`."""

    def __init__(
        self,
        state: Search,
        archs: Sequence[Architecture],
        scores: Scores,
        others: Mapping[str, Sequence[float]] = MappingProxyType({}),
    ) -> None:
        """others: further figures of the architectures, by name; they are ranked by the last one, if there is any."""
        self.state, self.archs, self.images, self.others = state, archs, scores.images, others
        self.accuracy: list[float] = scores.accuracy.tolist()
        self.loss: list[float] = scores.known_loss.tolist()
        self.reward: list[float] = state.objective.rewards(archs, scores).nan_to_num(FAILED).tolist()

    def ranked(self, positions: Iterable[int]) -> list[int]:
        """The positions from the best one on; those that failed come last."""
        values = self.others[self.criterion] if self.others else self.reward
        return sorted(positions, key=lambda i: (self.reward[i] == FAILED, -values[i]))

    @property
    def criterion(self) -> str:
        """The name of the figure that they are ranked by."""
        return list(self.others)[-1] if self.others else "reward"

    def row(self, i: int) -> dict[str, Any]:
        """All that is known of one architecture, as JSON."""
        arch = self.archs[i]
        counts = cost(self.state.space.graph(arch))
        return {
            "arch": arch.to_json(),
            "text": spaces.to_text(self.state.space, arch),
            "proxy_accuracy": self.accuracy[i],
            "proxy_loss": self.loss[i],
            "reward": self.reward[i],
            **{name: values[i] for name, values in self.others.items()},
            "params": counts.params,
            "macs": counts.macs,
            "costs": self.state.objective.costs(arch),
        }

    def archive(self, random: range) -> list[dict[str, Any]]:
        """What is known of each different architecture, as JSON. random: the positions of uniform ones."""
        rows: dict[Architecture, dict[str, Any]] = {}
        for i, arch in enumerate(self.archs):
            rows.setdefault(arch, {**kept(self.row(i)), "random": i in random})
        return list(rows.values())


def compare(state: Search, archs: Sequence[Architecture], num_random: int) -> dict[str, Any]:
    """Scores of different `archs` by falling reward, beside `num_random` uniform architectures (at least 2, or none).

    The uniform ones follow from the run's seed alone, so that two calls compare with the same ones.
    """
    everyone = [*archs, *searchers.uniform(state.space, num_random, state.draws("score"))]
    scores = ProxyScores(state, everyone, state.evaluator.score(everyone, state.validation_batches(), state.on_work))
    by_random = slice(len(archs), None)
    rows = [scores.row(i) for i in scores.ranked(range(len(archs)))]
    result: dict[str, Any] = {
        "images": scores.images,
        "epoch": state.epoch,
        "epochs": state.config.epochs,
        "architectures": rows,
    }
    if num_random:
        rewards_of_random = scores.reward[by_random]
        for row in rows:
            row["above_random"] = sum(reward < row["reward"] for reward in rewards_of_random) / num_random
        loss = spread(scores.loss[by_random])
        result["random"] = {
            "count": num_random,
            "proxy_accuracy": spread(scores.accuracy[by_random]),
            "proxy_loss": {"mean": loss["mean"], "sd": loss["sd"]},
        }
    return result
