"""Which nodes the networks of a space are made of.

A node's time depends on its operation and its shapes, not on its place or its weights, so each distinct one is measured
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

from enas.graph import Graph, Node, Shape
from enas.searchers import uniform
from enas.spaces import Architecture, SearchSpace, settled

TOGETHER = 50  # architectures that are drawn at a time
PATIENCE = 1000  # architectures in a row without a new node, after which no more are drawn
MOST = 20_000  # architectures that are drawn at most


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


def node_shapes(graph: Graph) -> list[NodeShape]:
    """The node shapes of one network, one for each node but the images."""
    return [NodeShape.of(node) for node in graph.nodes[1:]]


def nodes_of(space: SearchSpace, generator: torch.Generator) -> tuple[list[NodeShape], list[Graph]]:
    """The node shapes of the space, and networks in which there is every kind of input that they have: as many as turn
    up in architectures of every kind, drawn until hundreds in a row have brought nothing new.

    What one of a great many architectures has may then still be missing: a profile measures that when it comes, or
    derives it from its likes.
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
    return list(dict.fromkeys([*found, *_combined(found)])), graphs


def _combined(shapes: Iterable[NodeShape]) -> Iterator[NodeShape]:
    """Operations with numbers of their own (kernels, strides) at all channels at which any operation of that name
    leads from one resolution to another: more combinations than architectures that one would like to draw."""
    ops: dict[tuple[object, ...], dict[str, None]] = {}
    ends: dict[tuple[object, ...], dict[tuple[Shape, Shape], None]] = {}
    for op, in_shapes, shape in shapes:
        if ":" in op and len(in_shapes) == 1:
            group: tuple[object, ...] = (op.partition(":")[0], in_shapes[0][1:], shape[1:])
            ops.setdefault(group, {})[op] = None
            ends.setdefault(group, {})[in_shapes[0], shape] = None
    for group in ops:
        for op in ops[group]:
            yield from (NodeShape(op, (in_shape,), shape) for in_shape, shape in ends[group])


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
