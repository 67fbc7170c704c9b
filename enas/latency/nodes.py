"""Which nodes the networks of a space are made of.

A node's time depends on its operation and its shapes, not on its place or its weights, so each distinct one is measured
once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple, TypeVar

import torch

from enas.cost import Cost, node_cost
from enas.graph import COMMUTATIVE, Graph, Node, Shape
from enas.searchers import uniform
from enas.spaces import Architecture, SearchSpace, settled

TOGETHER = 50  # architectures that are drawn at a time
PATIENCE = 1000  # architectures in a row without a new node, after which no more are drawn
MOST = 20_000  # architectures that are drawn at most
FEW_INPUTS = 2  # numbers of inputs of a sum from which the others follow

Resolution = tuple[int, int]
T = TypeVar("T")


class NodeShape(NamedTuple):
    """What of a node decides its time: operation, shapes of its inputs, shape of its output."""

    op: str
    in_shapes: tuple[Shape, ...]
    shape: Shape

    @staticmethod
    def of(node: Node) -> NodeShape:
        return NodeShape(node.op, node.in_shapes, node.shape)

    @property
    def inputs(self) -> list[tuple[str, Shape]]:
        """The name of the operation with each input's shape: nodes that agree in one get tensors of one kind there."""
        name = self.op.partition(":")[0]
        return [(name, in_shape) for in_shape in self.in_shapes]

    def __str__(self) -> str:
        shapes = ["x".join(map(str, shape)) for shape in (*self.in_shapes, self.shape)]
        count = len(self.in_shapes)
        inputs = shapes[0] if count == 1 else f"{count} of {shapes[0]}" if len(set(shapes[:-1])) == 1 else shapes[:-1]
        return f"{self.op} from {inputs} to {shapes[-1]}"


class _Place(NamedTuple):
    """What operations of one name were seen as, from one resolution to another. channels: from how many to how many.
    variants: full names and numbers of inputs."""

    channels: dict[tuple[int, int], None]
    variants: dict[tuple[str, int], None]


def node_shapes(graph: Graph) -> list[NodeShape]:
    """The node shapes of one network, one for each node but the images."""
    return [NodeShape.of(node) for node in graph.nodes[1:]]


def nodes_of(space: SearchSpace, generator: torch.Generator) -> tuple[list[NodeShape], list[Graph]]:
    """The node shapes of the space, and networks in which each of its operations is: what turns up in architectures of
    every kind, drawn until hundreds in a row have brought nothing new, and what follows from that (`_combined`).

    What one of a great many architectures has may then still be missing: it is measured when it comes, or estimated.
    """
    found: dict[NodeShape, None] = {}
    inputs: set[tuple[str, Shape]] = set()
    graphs = []
    idle = drawn = 0
    while idle < PATIENCE and drawn < MOST:
        archs = [*uniform(space, TOGETHER // 2, generator), *_lopsided(space, TOGETHER // 2, generator)]
        before = len(found)
        for graph in map(space.graph, archs):
            shapes = node_shapes(graph)
            found.update(dict.fromkeys(shapes))
            kinds = {kind for shape in shapes for kind in shape.inputs}
            if not kinds <= inputs:
                inputs |= kinds
                graphs.append(graph)
        drawn += len(archs)
        idle = idle + len(archs) if len(found) == before else 0
    more = dict.fromkeys(shape for shape in _combined(found) if shape not in found)
    return [*found, *(shape for shape in more if cost_of(shape) is not None)], graphs


def cost_of(shape: NodeShape) -> Cost | None:
    """What such a node costs; None where its operation does not lead from these shapes to that one."""
    try:
        return node_cost(*shape)
    except Exception:  # whatever an operation raises where it is asked for what no space has
        return None


def _combined(shapes: Iterable[NodeShape]) -> Iterator[NodeShape]:
    """Operations at more channels and resolutions than architectures that one would like to draw have shown.

    Among operations of one name, channels that came together at one resolution do so at others, and so do variants
    (kernels, strides, numbers of inputs). Channels that came at one resolution alone, as the images', stay there. Of
    sums there are those of few inputs, from which others follow.
    """
    seen: dict[str, dict[tuple[Resolution, Resolution], _Place]] = {}
    for op, in_shapes, shape in shapes:
        if len(set(in_shapes)) == 1:
            places, ends = seen.setdefault(op.partition(":")[0], {}), (in_shapes[0][1:], shape[1:])
            place = places.setdefault(ends, _Place({}, {}))
            place.channels[in_shapes[0][0], shape[0]] = None
            place.variants[op, len(in_shapes)] = None
    for name, places in seen.items():
        channels = [place.channels for place in places.values()]
        variants = [place.variants for place in places.values()]
        came = {(pair, before) for (before, _), place in places.items() for pair in place.channels}
        resolutions = Counter(pair for pair, _ in came)
        most = sorted({count for each in variants for _, count in each})[:FEW_INPUTS][-1]
        for (before, after), place in places.items():
            pairs = [pair for pair in _together(place.channels, channels) if resolutions[pair] > 1]
            for c, out_c in dict.fromkeys([*place.channels, *pairs]):
                for op, count in _together(place.variants, variants):
                    if name not in COMMUTATIVE or count <= most:
                        yield NodeShape(op, ((c, *before),) * count, (out_c, *after))


def _together(ours: Mapping[T, None], all_of_them: Iterable[Mapping[T, None]]) -> dict[T, None]:
    """What is ours, or together with something that is ours in one of them."""
    beside = (theirs for theirs in all_of_them if not ours.keys().isdisjoint(theirs))
    return dict.fromkeys(chain(ours, *beside))


def _lopsided(space: SearchSpace, n: int, generator: torch.Generator) -> Iterator[Architecture]:
    """Architectures each of which likes one choice in each group of decisions: networks of hardly any skip connections
    or nearly all, of poolings alone, and whatever else is rare in uniform ones."""
    groups = sorted({decision.group for decision in space.decisions})
    for _ in range(n):
        places, rates = torch.rand(2, len(groups), generator=generator).tolist()
        preferred = dict(zip(groups, places, strict=True))
        rate = dict(zip(groups, rates, strict=True))
        own, other = torch.rand(2, len(space.decisions), generator=generator).tolist()
        choices = []
        for d, decision in enumerate(space.decisions):
            place = preferred[decision.group] if own[d] < rate[decision.group] else other[d]
            choices.append(int(place * len(decision.labels)))
        yield settled(space, choices)
