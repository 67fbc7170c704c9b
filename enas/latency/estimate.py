"""Times of nodes that a profile lacks and that cannot be measured: a search must not end at one rare node."""

from __future__ import annotations

import functools
import math
import warnings
from typing import NamedTuple

from enas.graph import Graph
from enas.latency.nodes import NodeShape, cost_of
from enas.latency.profile import Profile


class Work(NamedTuple):
    """What a node has to do for an image: MACs, numbers to read and numbers to write."""

    macs: int
    reads: int
    writes: int

    @staticmethod
    def of(shape: NodeShape) -> Work:
        cost = cost_of(shape)  # None for what no operation does: a profile may come from anyone
        return Work(cost.macs if cost else 0, sum(map(math.prod, shape.in_shapes)), math.prod(shape.shape))

    def distance(self, other: Work) -> float:
        """How unlike they are, in factors: 0 where they are the same."""
        return sum(abs(math.log((ours + 1) / (theirs + 1))) for ours, theirs in zip(self, other, strict=True))


class Estimated:
    """The predicted milliseconds of networks, by a profile; of nodes that it lacks the time is estimated.

    That is the time of the most alike node in it, in proportion to their work (the sum of MACs, numbers read and
    numbers written). Most alike is, among those of the same operation if there are any, the one whose MACs, inputs and
    output differ by the least factors. It depends on the profile alone, and not on what came before, so a resumed
    search finds the same. The first time is a warning.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._warned = False
        self._ms = functools.cache(self._estimate)

    def __call__(self, graph: Graph) -> float:
        """Milliseconds of one forward pass on a batch. Raises UserError where the profile is not finished."""
        missing = self.profile.missing([graph])
        if missing and not self._warned:
            self._warned = True
            text = f"{self.profile.source} lacks {missing[0]}; what it lacks is estimated from the most alike nodes"
            warnings.warn(text, stacklevel=2)
        return self.profile.latency(graph, self._ms)

    def _estimate(self, shape: NodeShape) -> float:
        wanted, name = Work.of(shape), shape.op.partition(":")[0]
        alike = [other for other in self.profile.nodes if other.op.partition(":")[0] == name] or self.profile.nodes
        works = {other: Work.of(other) for other in alike}
        nearest = min(works, key=lambda other: (wanted.distance(works[other]), other.op != shape.op, str(other)))
        return self.profile.nodes[nearest].ms * sum(wanted) / sum(works[nearest])
