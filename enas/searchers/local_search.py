"""Local search (White et al. 2020): move to a better neighbour as long as there is one, then start anew.

Neighbours differ in one choice.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from enas.config import LocalSearchConfig
from enas.searchers.base import (
    NAN,
    Network,
    Policy,
    Proposal,
    Told,
    Unrepeated,
    allowed,
    alternatives,
    below,
    changed,
    observed,
    restored,
    seen,
    uniform,
)
from enas.spaces import Architecture, SearchSpace


@dataclass(frozen=True)
class Scored:
    """An architecture with its reward, and how much that is above the centre's."""

    arch: Architecture
    reward: float
    gain: float = 0.0


class LocalSearch:
    """Climbs from a centre to its neighbours, which it proposes in random order.

    Places of a batch that the neighbours leave go to uniform architectures: the best of these is where the
    next climb starts, as is the first one of all. Where networks may be proposed again, as with shared weights,
    the centre itself is judged with each batch of its neighbours: rewards on different images do not compare.
    """

    def __init__(
        self,
        space: SearchSpace,
        config: LocalSearchConfig,
        generator: torch.Generator,
        network: Network | None = None,
    ) -> None:
        self.space, self.config, self.generator = space, config, generator
        self.unrepeated = Unrepeated(space, network)
        self.centre: Scored | None = None
        self.untried: list[Architecture] = []  # neighbours that are still to be proposed
        self.pending: set[int] = set()  # the numbers of those that were proposed and not told
        self.better: Scored | None = None  # the neighbour with the largest gain so far
        self.starts: list[Scored] = []  # uniform architectures from which no climb has started
        self.known: dict[Hashable, Scored] = {}  # by network, where rewards stay the same
        self.asked = 0

    def sample(self, n: int, generator: torch.Generator) -> list[Architecture]:
        """The centre and its neighbours, each as likely; uniform architectures before there is a centre."""
        if self.centre is None:
            return uniform(self.space, n, generator)
        arch = self.centre.arch
        changes = alternatives(self.space, arch)

        def draw(k: int) -> list[Architecture]:
            draws = [below(1 + len(changes), generator) for _ in range(k)]
            return [changed(self.space, arch, *changes[i - 1], generator) if i else arch for i in draws]

        return allowed(self.space, n, draw, generator)

    def ask(self, n: int) -> list[Proposal]:
        again = self.centre is not None and self.unrepeated.network is None and n > 1
        archs = [self.centre.arch] if again and self.centre is not None else []
        first, self.asked = self.asked, self.asked + n
        while self.untried and len(archs) < n:
            neighbour = self.untried.pop()
            if self.unrepeated.admit(neighbour):
                self.pending.add(first + len(archs))
                archs.append(neighbour)
        archs += self.unrepeated.take(n - len(archs), lambda k: uniform(self.space, k, self.generator), self.generator)
        return [Proposal(first + i, arch, NAN, 0) for i, arch in enumerate(archs)]

    def tell(self, proposals: Sequence[Proposal], rewards: Tensor) -> Told:
        scores = [(p, reward) for p, reward in zip(proposals, rewards.tolist(), strict=True) if not math.isnan(reward)]
        neighbours, self.pending = self.pending, self.pending - {p.id for p in proposals}
        for p, reward in scores:
            if self.centre is not None and p.arch == self.centre.arch:
                self.centre = Scored(p.arch, reward)
        for p, reward in scores:
            if self.unrepeated.network is not None:
                self.known[self.unrepeated.network(p.arch)] = Scored(p.arch, reward)
            if p.id in neighbours:
                self._compare(p.arch, reward)
            elif self.centre is None or p.arch != self.centre.arch:
                self.starts.append(Scored(p.arch, reward))
        while self._move():
            pass
        return seen(rewards)

    def policy(self, archs: Sequence[Architecture]) -> Policy:
        return observed(self.space, archs)

    def _compare(self, arch: Architecture, reward: float) -> None:
        """Note a neighbour that is better than the centre and than those before it."""
        assert self.centre is not None, "there are neighbours of something"
        gain = reward - self.centre.reward
        if gain > (0.0 if self.better is None else self.better.gain):
            self.better = Scored(arch, reward, gain)

    def _move(self) -> bool:
        """Take another centre if it is time to; whether it was."""
        all_told = not self.untried and not self.pending
        if self.better is not None and (all_told or self.config.move == "first"):
            self._begin(self.better)
        elif all_told and self.starts:
            best = max(self.starts, key=lambda start: start.reward)
            self.starts.remove(best)
            self._begin(best)
        else:
            if all_told:
                self.centre = None
            return False
        return True

    def _begin(self, centre: Scored) -> None:
        """Climb from here. Neighbours that are known count at once, and are not proposed again."""
        self.centre, self.better, self.pending = Scored(centre.arch, centre.reward), None, set()
        changes = alternatives(self.space, centre.arch)
        order: list[int] = torch.randperm(len(changes), generator=self.generator).tolist()
        neighbours = [changed(self.space, centre.arch, *changes[i], self.generator) for i in order]
        self.untried = [arch for arch in neighbours if self.unrepeated.is_new(arch)]
        if self.unrepeated.network is not None:
            for arch in neighbours:
                if found := self.known.get(self.unrepeated.network(arch)):
                    self._compare(arch, found.reward)

    def state_dict(self) -> dict[str, Any]:
        def plain(scored: Scored | None) -> Any:
            return scored and (list(scored.arch.choices), scored.reward, scored.gain)

        return {
            "centre": plain(self.centre),
            "untried": [list(arch.choices) for arch in self.untried],
            "pending": sorted(self.pending),
            "better": plain(self.better),
            "starts": [plain(start) for start in self.starts],
            "known": [plain(found) for found in self.known.values()],
            "asked": self.asked,
            "generator": self.generator.get_state(),
            "proposed": self.unrepeated.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        def scored(value: Any) -> Scored:
            return Scored(restored(self.space, value[0]), value[1], value[2])

        self.centre = state["centre"] and scored(state["centre"])
        self.untried = [restored(self.space, choices) for choices in state["untried"]]
        self.pending = set(state["pending"])
        self.better = state["better"] and scored(state["better"])
        self.starts = [scored(value) for value in state["starts"]]
        if self.unrepeated.network is not None:
            known = [scored(value) for value in state["known"]]
            self.known = {self.unrepeated.network(found.arch): found for found in known}
        self.asked = state["asked"]
        self.generator.set_state(state["generator"])
        self.unrepeated.load_state_dict(state["proposed"])
