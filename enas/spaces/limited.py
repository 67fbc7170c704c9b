"""A space of which only those architectures are proposed whose costs stay within limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from enas.config import SpaceOptions
from enas.graph import Graph, Node, Shape
from enas.spaces.base import Architecture, Decision, SearchSpace
from enas.spaces.sketch import Sketch


class LimitedSpace:
    """The same decisions and networks; `allows` says which of them may be proposed.

    excess: the largest ratio of a cost of an architecture to its limit; allowed are those of 1 at most.
    example: an architecture that is allowed.
    drawn, kept: how many architectures were drawn since `allowed_share` was asked, and how many of them are allowed.
    """

    def __init__(self, space: SearchSpace, excess: Callable[[Architecture], float], example: Architecture) -> None:
        self.space, self.excess, self.example = space, excess, example
        self.drawn = self.kept = 0

    @property
    def name(self) -> str:
        return self.space.name

    @property
    def options(self) -> SpaceOptions:
        return self.space.options

    @property
    def input_shape(self) -> Shape:
        return self.space.input_shape

    @property
    def num_classes(self) -> int:
        return self.space.num_classes

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self.space.decisions

    def graph(self, arch: Architecture) -> Graph:
        return self.space.graph(arch)

    def candidates(self) -> tuple[Node, ...]:
        return self.space.candidates()

    def describe(self, arch: Architecture) -> list[str]:
        return self.space.describe(arch)

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        return self.space.sketches(arch)

    def scaled(self, **changes: Any) -> SearchSpace:
        """The larger space, without limits."""
        return self.space.scaled(**changes)


def excess(space: SearchSpace, arch: Architecture) -> float:
    """By which factor the architecture exceeds the space's limits, if above 1; 0 where there are none."""
    return space.excess(arch) if isinstance(space, LimitedSpace) else 0.0


def allows(space: SearchSpace, arch: Architecture) -> bool:
    """Whether the architecture stays within the space's limits, if it has any."""
    return excess(space, arch) <= 1


def allowed_share(space: SearchSpace) -> float | None:
    """The share of allowed ones among the architectures that were drawn since the last call; None without limits."""
    if not isinstance(space, LimitedSpace):
        return None
    kept, drawn, space.kept, space.drawn = space.kept, space.drawn, 0, 0
    return kept / drawn if drawn else 1.0
