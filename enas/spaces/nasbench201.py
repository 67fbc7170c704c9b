"""Space `nasbench201` (Dong & Yang 2020): one cell of four nodes, stacked; every cell of it was truly trained.

Node 0 is the cell's input, node 3 its output. Each of the six edges from an earlier node to a later one
applies one of five operations; a node is the sum of its edges. The network is a stem, three stages of
cells with residual blocks of stride 2 between them, batch norm, ReLU and a linear layer. As published, `none`
is an operation too: it gives zeros, and a convolution behind which only zeros follow still is in the network,
still runs, and counts.

The published form of a cell names operation and source of every edge: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
All 15,625 cells count as networks of their own, as published, although they are only 13,375 graphs as
`enas.graph.signature` tells them apart (and fewer functions: it does not know what a sum with zeros is).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from enas.config import NasBench201Options
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.spaces.base import Architecture, Decision
from enas.spaces.sketch import CELL, INPUT, NODE, OUTPUT, REDUCTION, Box, Edge, Sketch, chain, stage_of
from enas.spaces.stem import add_stem, stem_shape

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")  # in the published order
CONVOLUTIONS = {"nor_conv_1x1": "relu_conv_bn_1x1", "nor_conv_3x3": "relu_conv_bn_3x3"}  # names among `enas.ops.OPS`
EDGES = tuple((node, source) for node in (1, 2, 3) for source in range(node))
STAGES = 3
SMALLEST_IMAGE = 4  # two residual blocks leave one pixel
NAME = NasBench201Options.name


@dataclass(frozen=True)
class NasBench201Space:
    """Six decisions of five operations: 15,625 cells."""

    options: NasBench201Options
    input_shape: Shape
    num_classes: int

    def __post_init__(self) -> None:
        if min(self.input_shape[1:]) < SMALLEST_IMAGE:
            raise UserError(f"images must be at least {SMALLEST_IMAGE} pixels wide, but got {self.input_shape[1:]}")

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return DECISIONS

    def graph(self, arch: Architecture) -> Graph:
        ops = dict(zip(EDGES, (OPERATIONS[choice] for choice in arch.choices), strict=True))
        builder = GraphBuilder(self.input_shape)
        x = add_stem(builder, self.options.width)
        auxiliary = None
        for key, reduction, shape in self._stack():
            x = _block(builder, x, shape, key) if reduction else _cell(builder, x, ops, key)
            if key == f"stage{STAGES}/cell1":
                auxiliary = x
        x = builder.add("sum_norm", (x,), builder.shape(x), "norm")
        builder.add("relu_classifier", (x,), (self.num_classes, 1, 1), "classifier")
        return builder.graph(auxiliary)

    def candidates(self) -> tuple[Node, ...]:
        found: dict[str, Node] = {}
        for op in CONVOLUTIONS:
            arch = Architecture(self.name, (OPERATIONS.index(op),) * len(EDGES))
            found |= {node.key: node for node in self.graph(arch).nodes if node.key}
        return tuple(found.values())

    def describe(self, arch: Architecture) -> list[str]:
        nodes: dict[int, list[str]] = {}
        for (node, source), choice in zip(EDGES, arch.choices, strict=True):
            nodes.setdefault(node, []).append(f"{OPERATIONS[choice]}({_label(source)})")
        lines = ["cell", *(f"  {_label(node)}: {' + '.join(edges)}" for node, edges in nodes.items())]
        number = self.options.cells_per_stage
        lines.append(f"{STAGES} stages of {number} cell{'s' if number > 1 else ''}, residual blocks between")
        return [*lines, f"published as {to_published(arch)}"]

    def scaled(self, **changes: Any) -> NasBench201Space:
        """The space with another `width` or `depth`, the number of cells in each stage."""
        unknown = set(changes) - {"width", "depth"}
        if unknown:
            raise UserError(f"space {self.name} scales by width and depth, but got {', '.join(sorted(unknown))}")
        names = {"width": "width", "depth": "cells_per_stage"}
        options = dataclasses.replace(self.options, **{names[name]: value for name, value in changes.items()})
        return dataclasses.replace(self, options=options)

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        names = [_label(node) for node in range(4)]
        boxes = [Box(name, name, kind) for name, kind in zip(names, (INPUT, NODE, NODE, OUTPUT), strict=True)]
        ops = [OPERATIONS[choice] for choice in arch.choices]
        edges = [Edge(names[a], names[b], op, op) for (b, a), op in zip(EDGES, ops, strict=True) if op != "none"]
        parts = [
            Box(key, *(("residual block", REDUCTION) if reduction else ("cell", CELL)), stage=stage_of(shape))
            for key, reduction, shape in self._stack()
        ]
        title = f"{self.name}, {len(parts) - STAGES + 1} cells"
        stem = stem_shape(self.input_shape, self.options.width)
        network = chain(title, parts, (), self.input_shape, stem, self.num_classes)
        return Sketch("cell", tuple(boxes), tuple(edges)), network

    def _stack(self) -> Iterator[tuple[str, bool, Shape]]:
        """Cells and residual blocks in order: key, whether it is such a block, and its output's shape."""
        channels, height, width = stem_shape(self.input_shape, self.options.width)
        for stage in range(1, STAGES + 1):
            if stage > 1:
                channels, height, width = 2 * channels, (height + 1) // 2, (width + 1) // 2
                yield f"stage{stage}/block", True, (channels, height, width)
            for cell in range(1, self.options.cells_per_stage + 1):
                yield f"stage{stage}/cell{cell}", False, (channels, height, width)


def to_published(arch: Architecture) -> str:
    """`|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: what each node is made from."""
    nodes = dict.fromkeys((node for node, _ in EDGES), "|")
    for (node, source), choice in zip(EDGES, arch.choices, strict=True):
        nodes[node] += f"{OPERATIONS[choice]}~{source}|"
    return "+".join(nodes.values())


def from_published(text: str) -> Architecture:
    """The architecture with this published form. Raises UserError where it is none."""
    fields = [field for node in text.strip().split("+") for field in node.strip("|").split("|")]
    ops = [field.rpartition("~")[0] for field in fields]
    unknown = next((op for op in ops if op not in OPERATIONS), None)
    if len(ops) == len(EDGES) and unknown is None:
        arch = Architecture(NAME, tuple(OPERATIONS.index(op) for op in ops))
        if to_published(arch) == text.strip():  # bars, pluses and sources too
            return arch
    reason = f"{unknown[:40]!r} is no operation" if unknown else "it has another form"
    raise UserError(
        f"a cell of NAS-Bench-201 must look like |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, each op one of "
        f"{', '.join(OPERATIONS)}, but in {text[:150]!r} {reason}"
    )


def _cell(builder: GraphBuilder, x: int, ops: dict[tuple[int, int], str], key: str) -> int:
    """Add one cell; returns its output's position."""
    nodes = [x]
    for node in (1, 2, 3):
        summands = [
            _edge(builder, nodes[source], ops[node, source], f"{key}/node{node}/from{source}") for source in range(node)
        ]
        nodes.append(builder.add("sum", summands, builder.shape(x)) if len(summands) > 1 else summands[0])
    return nodes[-1]


def _edge(builder: GraphBuilder, x: int, op: str, key: str) -> int:
    shape = builder.shape(x)
    if op in CONVOLUTIONS:
        return builder.add(CONVOLUTIONS[op], (x,), shape, f"{key}/{op}")
    if op == "avg_pool_3x3":
        return builder.add("cell_avg_pool_3x3", (x,), shape)
    return x if op == "skip_connect" else builder.add("zero", (x,), shape)


def _block(builder: GraphBuilder, x: int, shape: Shape, key: str) -> int:
    """Add a residual block of stride 2; returns its output's position."""
    branch = builder.add("relu_conv_bn_3x3", (x,), shape, f"{key}/conv1")
    branch = builder.add("relu_conv_bn_3x3", (branch,), shape, f"{key}/conv2")
    return builder.add("sum", (branch, builder.add("pooled_shortcut", (x,), shape, f"{key}/shortcut")), shape)


def _label(node: int) -> str:
    return ("input", "node 1", "node 2", "output")[node]


DECISIONS = tuple(Decision(f"node{node}/from{source}", OPERATIONS, "op", node - 1) for node, source in EDGES)
