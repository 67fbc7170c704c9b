"""Small spaces, architectures and images that several test files use."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from enas.config import MacroOptions, SpaceOptions
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.searchers import uniform
from enas.spaces import Architecture, Decision, MacroSpace, SearchSpace
from enas.spaces.sketch import Sketch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def macro(layers: int, shape: Shape = (3, 8, 8), classes: int = 5, width: int = 4, double: bool = False) -> MacroSpace:
    return MacroSpace(MacroOptions(layers=layers, width=width, double_width=double), shape, classes)


def random_archs(space: SearchSpace, n: int, seed: int = 0) -> list[Architecture]:
    return uniform(space, n, seeded(seed))


def all_archs(space: SearchSpace) -> list[Architecture]:
    choices = itertools.product(*(range(len(decision.labels)) for decision in space.decisions))
    return [Architecture(space.name, c) for c in choices]


def as_tensor(archs: list[Architecture]) -> Tensor:
    return torch.tensor([arch.choices for arch in archs])


def images(n: int, shape: Shape, seed: int = 0) -> Tensor:
    """Images whose mean and scale grow with their position, so that mixing them up shows."""
    x = torch.randn(n, *shape, generator=seeded(seed))
    x = x * torch.linspace(0.5, 2, n)[:, None, None, None] + torch.linspace(-1, 1, n)[:, None, None, None]
    return x.to(memory_format=torch.channels_last)


@st.composite
def macro_cases(draw: st.DrawFn, max_layers: int = 7, max_archs: int = 4) -> tuple[MacroSpace, list[Architecture]]:
    """A macro space and some of its architectures."""
    space = macro(
        draw(st.integers(1, max_layers)),
        (draw(st.sampled_from((1, 3))), draw(st.integers(4, 11)), draw(st.integers(4, 11))),
        width=draw(st.integers(2, 6)),
        double=draw(st.booleans()),
    )
    arch = st.tuples(*(st.integers(0, len(decision.labels) - 1) for decision in space.decisions))
    archs = draw(st.lists(arch.map(lambda choices: Architecture("macro", choices)), min_size=1, max_size=max_archs))
    return space, archs


@dataclass(frozen=True)
class Toy:
    """A space for searchers alone: two binary decisions."""

    options: SpaceOptions = MacroOptions()
    input_shape: Shape = (3, 4, 4)
    num_classes: int = 2
    decisions: tuple[Decision, ...] = (
        Decision("a", ("left", "right"), "side", 0),
        Decision("b", ("up", "down"), "way", 1),
    )

    @property
    def name(self) -> str:
        return "toy"

    def graph(self, arch: Architecture) -> Graph:
        builder = GraphBuilder(self.input_shape)
        builder.add("classifier", (0,), (self.num_classes, 1, 1), str(arch.choices))
        return builder.graph()

    def candidates(self) -> tuple[Node, ...]:
        return tuple(self.graph(arch).nodes[1] for arch in all_archs(self))

    def describe(self, arch: Architecture) -> list[str]:
        return []

    def scaled(self, **changes: Any) -> Toy:
        return self

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        return ()
