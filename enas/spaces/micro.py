"""Space `micro` (ENAS section 2.4): a normal and a reduction cell, from which the network is stacked.

A cell has two inputs, the outputs of the two cells before it, and B nodes. A node is the sum of two
sides; each side applies one of five operations to a cell input or an earlier node. Nodes that no
other node reads, and cell inputs that none reads, are the loose ends: each goes through ReLU and a
1x1 convolution of its own, and their sum through batch norm is the cell's output. That is the
authors' search code; their final network concatenates instead. Here search and retraining are one.

In a reduction cell operations on a cell input have stride 2, as in the paper's text and the
authors' final network (their search code halves the inputs beforehand and then uses stride 1).
The network is three stages of normal cells with reduction cells between them, which double the
channels. Every (cell, node, side, input, operation) has weights of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from enas.config import MicroOptions
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.spaces.base import Architecture, Decision
from enas.spaces.sketch import CELL, INPUT, NODE, OUTPUT, REDUCTION, Box, Edge, Sketch, chain, stage_of
from enas.spaces.stem import add_stem, stem_shape

OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")
SIDES = ("x", "y")
CELLS = ("normal", "reduction")
STAGES = 3
STEM = 3  # the stem has so many times the filters of the first cells (authors: 60 for 20)
SMALLEST_IMAGE = 4  # two reductions leave one pixel
FIELDS = 4  # decisions of a node: the inputs of both sides, then their operations


class Side(NamedTuple):
    """One side of a node. input: 0 and 1 are the cell's inputs, 2 is node 1."""

    input: int
    op: str


@dataclass(frozen=True)
class MicroSpace:
    """B nodes: 2 * (2 choices of an input among i + 1 and 2 of an operation) for node i = 1..B."""

    options: MicroOptions
    input_shape: Shape
    num_classes: int

    def __post_init__(self) -> None:
        if min(self.input_shape[1:]) < SMALLEST_IMAGE:
            raise UserError(f"images must be at least {SMALLEST_IMAGE} pixels wide, but got {self.input_shape[1:]}")
        object.__setattr__(self, "decisions", _decisions(self.options.nodes))

    decisions: tuple[Decision, ...] = dataclasses.field(init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.options.name

    def graph(self, arch: Architecture) -> Graph:
        cells = self.cells(arch)
        builder = GraphBuilder(self.input_shape)
        before = last = add_stem(builder, STEM * self.options.width)
        auxiliary = None
        for number, (reduction, shape) in enumerate(self._stack(), start=1):
            before, last = last, self._cell(builder, number, before, last, shape, cells[reduction])
            if number == self._auxiliary_cell():
                auxiliary = last
        builder.add("relu_classifier", (last,), (self.num_classes, 1, 1), "classifier")
        return builder.graph(auxiliary)

    def candidates(self) -> tuple[Node, ...]:
        found: dict[str, Node] = {}
        for arch in self._covering():
            found |= {node.key: node for node in self.graph(arch).nodes if node.key}
        return tuple(found.values())

    def cells(self, arch: Architecture) -> tuple[tuple[tuple[Side, Side], ...], ...]:
        """The nodes of the normal and of the reduction cell."""
        nodes = [arch.choices[i : i + FIELDS] for i in range(0, len(arch.choices), FIELDS)]
        sides = tuple((Side(x, OPERATIONS[op_x]), Side(y, OPERATIONS[op_y])) for x, y, op_x, op_y in nodes)
        return sides[: self.options.nodes], sides[self.options.nodes :]

    def describe(self, arch: Architecture) -> list[str]:
        lines = []
        for name, cell in zip(CELLS, self.cells(arch), strict=True):
            lines.append(f"{name} cell")
            for i, sides in enumerate(cell, start=1):
                lines.append(f"  node {i}: " + " + ".join(f"{side.op}({_label(side.input)})" for side in sides))
            lines.append("  output: " + " + ".join(_label(end) for end in loose_ends(cell)))
        per_stage = self.options.cells_per_stage
        lines.append(
            f"{STAGES} stages of {per_stage} normal cell{'s' if per_stage > 1 else ''}, reduction cells between"
        )
        return lines

    def scaled(self, **changes: Any) -> MicroSpace:
        """The same cells in a network of another `width` (filters of the first cells) or `depth` (normal
        cells in a stage)."""
        unknown = set(changes) - {"width", "depth"}
        if unknown:
            raise UserError(f"space micro scales by width and depth, but got {', '.join(sorted(unknown))}")
        names = {"width": "width", "depth": "cells_per_stage"}
        options = dataclasses.replace(self.options, **{names[name]: value for name, value in changes.items()})
        return dataclasses.replace(self, options=options)

    @staticmethod
    def nodes_of(arch: Architecture) -> int:
        """The number of nodes in a cell, from an architecture's number of choices."""
        nodes, rest = divmod(len(arch.choices), len(CELLS) * FIELDS)
        if not nodes or rest:
            raise UserError(
                f"an architecture of space micro must have {len(CELLS) * FIELDS} choices for each node of a cell (two "
                f"cells; two inputs and two operations), but got {len(arch.choices)}"
            )
        return nodes

    def _stack(self) -> Iterator[tuple[bool, Shape]]:
        """The cells in order: whether it is a reduction, and its output's shape."""
        channels, height, width = stem_shape(self.input_shape, self.options.width)
        for stage in range(STAGES):
            if stage:
                channels, height, width = 2 * channels, (height + 1) // 2, (width + 1) // 2
                yield True, (channels, height, width)
            for _ in range(self.options.cells_per_stage):
                yield False, (channels, height, width)

    def _auxiliary_cell(self) -> int:
        """The first normal cell of the last stage, as in the authors' network."""
        return 2 * (self.options.cells_per_stage + 1) + 1

    def _cell(
        self,
        builder: GraphBuilder,
        number: int,
        before: int,
        last: int,
        shape: Shape,
        nodes: tuple[tuple[Side, Side], ...],
    ) -> int:
        """Add one cell; returns its output's position."""
        cell = f"cell{number}"
        # the resolution at which the cell's inputs come: the last output's, higher than `shape` in a reduction
        inner = (shape[0], *builder.shape(last)[1:])
        states = [builder.add("cell_input", (x,), inner, f"{cell}/input{i}") for i, x in enumerate((before, last))]
        drop = number / (STAGES * (self.options.cells_per_stage + 1) - 1)  # the deeper, the more (authors)
        for i, sides in enumerate(nodes, start=1):
            summands = []
            for name, side in zip(SIDES, sides, strict=True):
                key = f"{cell}/node{i}/{name}{side.input}/{side.op}"
                summands.append(_operation(builder, side.op, states[side.input], shape, key, drop))
            states.append(builder.add("sum", summands, shape))
        ends = [builder.add("loose_end", (states[end],), shape, f"{cell}/output{end}") for end in loose_ends(nodes)]
        return builder.add("sum_norm", ends, shape, f"{cell}/norm")

    def _covering(self) -> Iterator[Architecture]:
        """Architectures that together use every weight: all (side, input, operation) of each node, and
        every state as a loose end."""
        size = self.options.nodes
        for source in range(size + 1):
            for op in range(len(OPERATIONS)):
                node = [(min(source, i), min(source, i), op, op) for i in range(1, size + 1)]
                yield Architecture(self.name, tuple(c for _ in CELLS for fields in node for c in fields))

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        kinds = {False: ("normal cell", CELL), True: ("reduction cell", REDUCTION)}
        parts = [
            Box(f"cell {number}", *kinds[reduction], tag=f"{number}", stage=stage_of(shape))
            for number, (reduction, shape) in enumerate(self._stack(), start=1)
        ]
        skips = [(number - 2, number) for number in range(2, len(parts) + 1)]
        stem = stem_shape(self.input_shape, STEM * self.options.width)
        network = chain(f"{self.name}, {len(parts)} cells", parts, skips, self.input_shape, stem, self.num_classes)
        return (*(_sketch(f"{name} cell", cell) for name, cell in zip(CELLS, self.cells(arch), strict=True)), network)


def loose_ends(cell: tuple[tuple[Side, Side], ...]) -> list[int]:
    """The states (0 and 1: the cell's inputs) that no node of the cell reads."""
    read = {side.input for sides in cell for side in sides}
    return [state for state in range(len(cell) + 2) if state not in read]


def _sketch(title: str, cell: tuple[tuple[Side, Side], ...]) -> Sketch:
    """The drawing of a cell."""
    names = [_label(state) for state in range(len(cell) + 2)]
    boxes = [Box(name, name, INPUT if state < 2 else NODE) for state, name in enumerate(names)]
    edges = [Edge(names[s.input], names[i], s.op, s.op) for i, sides in enumerate(cell, start=2) for s in sides]
    edges += [Edge(names[end], "output") for end in loose_ends(cell)]
    return Sketch(title, (*boxes, Box("output", "output", OUTPUT)), tuple(edges))


def _operation(builder: GraphBuilder, op: str, x: int, shape: Shape, key: str, drop: float) -> int:
    if op != "identity":
        return builder.add(f"cell_{op}", (x,), shape, key, drop)
    if builder.shape(x) == shape:
        return x
    return builder.add("factorized_reduction", (x,), shape, key)


def _decisions(nodes: int) -> tuple[Decision, ...]:
    decisions = []
    for c, cell in enumerate(CELLS):
        first = c * (nodes + 2)  # parts of this cell: its two inputs, then its nodes
        for i in range(1, nodes + 1):
            part, sources = first + 1 + i, tuple(range(first, first + 1 + i))
            labels = tuple(_label(state) for state in range(1 + i))
            for side in SIDES:
                decisions.append(Decision(f"{cell}/node{i}/{side}/input", labels, f"{cell}_input", part, sources))
            for side in SIDES:
                decisions.append(Decision(f"{cell}/node{i}/{side}/op", OPERATIONS, f"{cell}_op", part))
    return tuple(decisions)


def _label(state: int) -> str:
    return ("cell k-2", "cell k-1")[state] if state < 2 else f"node {state - 1}"
