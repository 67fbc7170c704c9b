"""Small spaces, architectures and images that several test files use."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from enas import spaces
from enas.config import ChainOptions, MacroOptions, MicroOptions, NasBench201Options, NasBenchMacroOptions, SpaceOptions
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.ops import Noise
from enas.searchers import uniform
from enas.spaces import (
    Architecture,
    ChainSpace,
    Decision,
    MacroSpace,
    MicroSpace,
    NasBench201Space,
    NasBenchMacroSpace,
    SearchSpace,
    settled,
)
from enas.spaces.sketch import Sketch
from enas.supernet import Supernet


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def macro(layers: int, shape: Shape = (3, 8, 8), classes: int = 5, width: int = 4, double: bool = False) -> MacroSpace:
    return MacroSpace(MacroOptions(layers=layers, width=width, double_width=double), shape, classes)


def micro(
    nodes: int = 3, shape: Shape = (3, 8, 8), classes: int = 5, width: int = 4, cells_per_stage: int = 1
) -> MicroSpace:
    return MicroSpace(MicroOptions(nodes=nodes, width=width, cells_per_stage=cells_per_stage), shape, classes)


def chain(shape: Shape = (3, 8, 8), classes: int = 5, **changes: Any) -> ChainSpace:
    """A chain of two to four layers with few small sizes, and changes of its options."""
    sizes = {"min_layers": 2, "max_layers": 4, "kernels": (1, 3, 5), "filters": (2, 3, 5), "strides": (1, 2)} | changes
    return ChainSpace(ChainOptions(**sizes), shape, classes)


def nasbench201(
    shape: Shape = (3, 8, 8), classes: int = 5, width: int = 4, cells_per_stage: int = 1
) -> NasBench201Space:
    return NasBench201Space(NasBench201Options(width=width, cells_per_stage=cells_per_stage), shape, classes)


def nasbench_macro(shape: Shape = (3, 8, 8), classes: int = 5, width: int = 4, head: int = 6) -> NasBenchMacroSpace:
    return NasBenchMacroSpace(NasBenchMacroOptions(width=width, head=head), shape, classes)


def random_archs(space: SearchSpace, n: int, seed: int = 0) -> list[Architecture]:
    return uniform(space, n, seeded(seed))


def all_archs(space: SearchSpace) -> list[Architecture]:
    """Every architecture once: of those that differ in inactive decisions alone, the one where these are 0."""
    choices = itertools.product(*(range(len(decision.labels)) for decision in space.decisions))
    return [Architecture(space.name, c) for c in choices if settled(space, c).choices == c]


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


@st.composite
def micro_cases(draw: st.DrawFn, max_nodes: int = 4, max_archs: int = 3) -> tuple[MicroSpace, list[Architecture]]:
    """A micro space and some of its architectures."""
    space = micro(
        draw(st.integers(1, max_nodes)),
        (draw(st.sampled_from((1, 3))), draw(st.integers(4, 11)), draw(st.integers(4, 11))),
        width=draw(st.integers(2, 5)),
        cells_per_stage=draw(st.integers(1, 2)),
    )
    arch = st.tuples(*(st.integers(0, len(decision.labels) - 1) for decision in space.decisions))
    archs = draw(st.lists(arch.map(lambda choices: Architecture("micro", choices)), min_size=1, max_size=max_archs))
    return space, archs


@st.composite
def chain_cases(draw: st.DrawFn, max_layers: int = 5, max_archs: int = 3) -> tuple[ChainSpace, list[Architecture]]:
    """A chain space and some of its architectures."""

    def sizes(*values: int) -> tuple[int, ...]:
        return tuple(sorted(draw(st.sets(st.sampled_from(values), min_size=1))))

    depths = sorted(draw(st.tuples(*[st.integers(1, max_layers)] * 2)))
    options = ChainOptions(
        min_layers=depths[0],
        max_layers=depths[1],
        kernels=(*sizes(1, 3, 5), 7),
        filters=sizes(1, 2, 4, 5),
        strides=sizes(1, 2, 3),
        pooling=draw(st.booleans()),
        skips=draw(st.booleans()),
        hidden=draw(st.sampled_from((0, 3))),
    )
    shape = (draw(st.sampled_from((1, 3))), draw(st.integers(1, 11)), draw(st.integers(1, 11)))
    space = ChainSpace(options, shape, 5)
    choices = st.tuples(*(st.integers(0, len(decision.labels) - 1) for decision in space.decisions))
    archs = draw(st.lists(choices.map(lambda c: settled(space, c)), min_size=1, max_size=max_archs))
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


@dataclass(frozen=True)
class Branching(Toy):
    """A space for searchers alone whose decisions depend on each other.

    `mode` matters under two choices of `kind`; `detail`, under one of `mode`; `from`, which attends to
    three parts, not under the middle one of `kind`; of the two links, taken in one step, the second one
    only under the last choice of `detail`. 12 architectures have kind a, 20 kind b and 60 kind c.
    """

    decisions: tuple[Decision, ...] = (
        Decision("kind", ("a", "b", "c"), "kind", 1),
        Decision("mode", ("m", "n"), "mode", 2, parent=0, parent_choices=(1, 2)),
        Decision("detail", ("s", "t", "u"), "detail", 3, parent=1, parent_choices=(1,)),
        Decision("from", ("images", "kind", "detail"), "from", 4, (0, 1, 3), parent=0, parent_choices=(0, 2)),
        Decision("link/kind", ("no", "yes"), "link", 5, (1,)),
        Decision("link/mode", ("no", "yes"), "link", 5, (2,), parent=2, parent_choices=(2,)),
        Decision("end", ("x", "y"), "end", 6),
    )


def check_text(options: SpaceOptions, text: str) -> None:
    """A text is an architecture's, and its only one, or it is refused in one short line."""
    try:
        space = spaces.build(spaces.options_for(spaces.from_text(text), options), (3, 8, 8), 5)
        arch = spaces.parse(space, text)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
    else:
        assert spaces.to_text(space, arch) == text
        assert space.graph(arch).nodes[-1].shape == (5, 1, 1)


def check_merged(
    supernet: Supernet, graphs: list[Graph], x: Tensor, noise: Noise | None
) -> tuple[Tensor, list[Tensor | None]]:
    """The merged pass equals the plain one, outputs and gradients of a double-precision supernet. Returns the plain
    one's. x: images."""
    factors: Tensor | None = None

    def run(forward: Any) -> tuple[Tensor, list[Tensor | None]]:
        nonlocal factors
        supernet.zero_grad(set_to_none=True)
        logits: Tensor = forward(x, graphs, noise)
        if factors is None:
            factors = torch.randn(logits.shape, generator=seeded(3), dtype=torch.float64)
        (logits * factors).sum().backward()  # type: ignore[no-untyped-call]
        return logits.detach(), [p.grad for p in supernet.parameters()]

    (merged, merged_grads), (plain, plain_grads) = run(supernet), run(supernet.forward_plain)
    torch.testing.assert_close(merged, plain, rtol=0, atol=1e-10)
    for ours, theirs in zip(merged_grads, plain_grads, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    return plain, plain_grads
