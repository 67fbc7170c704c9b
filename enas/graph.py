"""Networks as small immutable dataflow graphs, and the merging of many graphs into one.

Every architecture becomes a `Graph` through its space. The supernet, the standalone network, the
cost model and all descriptions read the same graph, so they cannot disagree. No torch here.
Shapes are (C, H, W), without the batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Shape = tuple[int, int, int]
Calls = list[tuple[int, ...]]  # positions of nodes that run together, in order
INPUT = "input"
WORK = 4  # tensors of an operation's output's size that it has at once: stacked inputs, the output, what lies between
# operations whose inputs have no order
COMMUTATIVE = frozenset({"sum", "sum_norm", "sum_relu", "sum_norm_relu", "sum_bias"})


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph.

    op: name in `enas.ops.OPS` ("input" for the images), and numbers that it needs (`rect_conv:3,5,2`).
    inputs: positions of the input nodes, all smaller than this node's own.
    key: which weights it uses, and which noise; empty where the operation has neither.
    in_shapes, shape: shapes of its inputs and of its output.
    drop: share of the drop-path rate with which training drops its output, image by image.
    """

    op: str
    inputs: tuple[int, ...]
    key: str
    in_shapes: tuple[Shape, ...]
    shape: Shape
    drop: float = 0.0


@dataclass(frozen=True)
class Graph:
    """A network: nodes in topological order, node 0 the images, the last node the logits.

    auxiliary: the node whose output an auxiliary classifier may read in training, if there is one.
    Raises ValueError unless node 0 alone is the input, every edge goes forwards (so there is no
    cycle), shapes agree along every edge and every node is needed for the output.
    """

    nodes: tuple[Node, ...]
    auxiliary: int | None = None

    def __post_init__(self) -> None:
        _check(self.nodes)
        needed = _reachable(self.nodes, (len(self.nodes) - 1,))
        unused = [i for i in range(len(self.nodes)) if i not in needed]
        if unused:
            raise ValueError(f"every node must lead to the output, but nodes {unused} do not")


@dataclass(frozen=True)
class MergedGraph:
    """Many graphs in one: every distinct node once.

    outputs: the output node of each graph, in the order of the graphs; equal graphs share it.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def calls(self, together: bool) -> Calls:
        """The nodes in an order in which they can run.

        together: nodes with the same operation, weights and input shapes, on different inputs, are one call. They have
        the same depth (longest path from the images), so all their inputs are there when the call's turn comes.
        Else one node at a time, one graph after the other: what a node needs was then computed shortly before, where
        neighbouring graphs share their beginnings, and few values wait for a later use.
        """
        if not together:
            return [(i,) for i in range(1, len(self.nodes))]
        depth = [0] * len(self.nodes)
        groups: dict[tuple[object, ...], list[int]] = {}
        for i, node in enumerate(self.nodes[1:], start=1):
            depth[i] = 1 + max(depth[j] for j in node.inputs)
            groups.setdefault((depth[i], node.op, node.key, node.in_shapes, node.shape, node.drop), []).append(i)
        # Python's sort is stable, so calls of one depth keep the order in which the graphs named them
        return [tuple(ids) for key, ids in sorted(groups.items(), key=lambda item: item[0][0])]  # type: ignore[arg-type, return-value]

    def uses(self) -> list[int]:
        """How often each node's value is read, by other nodes and as an output."""
        uses = [0] * len(self.nodes)
        for node in self.nodes:
            for i in node.inputs:
                uses[i] += 1
        for output in self.outputs:
            uses[output] += 1
        return uses

    def most_live(self, calls: Calls, work: Callable[[Node], int] | None = None) -> int:
        """The most numbers that there are at a time for each image: values are freed at their last use.

        work: how many an operation has at once, its output among them and its inputs not; None: by estimate.
        """
        uses, size = self.uses(), [math.prod(node.shape) for node in self.nodes]
        live = most = size[0]
        for call in calls:
            made = sum(size[i] for i in call)
            at_work = WORK * made if work is None else sum(work(self.nodes[i]) for i in call)
            most = max(most, live + at_work)
            live += made
            for i in call:
                for j in self.nodes[i].inputs:
                    uses[j] -= 1
                    if uses[j] == 0:
                        live -= size[j]
        return most


class GraphBuilder:
    """Collects nodes for a `Graph`; asking twice for the same node gives the same position."""

    def __init__(self, input_shape: Shape) -> None:
        first = Node(INPUT, (), "", (), input_shape)
        self._nodes = [first]
        self._positions = {first: 0}

    def add(self, op: str, inputs: Iterable[int], shape: Shape, key: str = "", drop: float = 0.0) -> int:
        """Append the node unless it is there already; returns its position."""
        inputs = tuple(inputs)
        node = Node(op, inputs, key, tuple(self._nodes[i].shape for i in inputs), shape, drop)
        if node not in self._positions:
            self._positions[node] = len(self._nodes)
            self._nodes.append(node)
        return self._positions[node]

    def shape(self, position: int) -> Shape:
        return self._nodes[position].shape

    def graph(self, auxiliary: int | None = None) -> Graph:
        return Graph(tuple(self._nodes), auxiliary)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._nodes)


def merge(graphs: Sequence[Graph]) -> MergedGraph:
    """Merge graphs by hash-consing: nodes with the same operation, weight key and inputs become one.

    Deterministic: the order of the nodes follows the order of the graphs. Raises ValueError where
    there is no graph or where their inputs differ.
    """
    if not graphs:
        raise ValueError("merge needs at least one graph")
    nodes: list[Node] = [graphs[0].nodes[0]]
    positions: dict[Node, int] = {nodes[0]: 0}
    outputs = []
    for graph in graphs:
        if graph.nodes[0] != nodes[0]:
            raise ValueError(f"merged graphs must share their input, got {graph.nodes[0].shape} and {nodes[0].shape}")
        merged = [0]  # position of each of the graph's nodes among the merged ones
        for node in graph.nodes[1:]:
            inputs = tuple(merged[i] for i in node.inputs)
            node = Node(node.op, inputs, node.key, node.in_shapes, node.shape, node.drop)
            if node not in positions:
                positions[node] = len(nodes)
                nodes.append(node)
            merged.append(positions[node])
        outputs.append(merged[-1])
    return MergedGraph(tuple(nodes), tuple(outputs))


def signature(graph: Graph) -> str:
    """A text that is equal for graphs that differ in nothing but their weights' keys.

    Such graphs are the same network once they train weights of their own (micro: the two sides of a
    node swapped, or its nodes in another order), so only one of them is worth training.
    """
    codes: list[str] = []
    for node in graph.nodes:
        inputs = [codes[i] for i in node.inputs]
        if node.op in COMMUTATIVE:
            inputs.sort()
        codes.append(_hash(f"{node.op} {node.in_shapes} {node.shape} {inputs}"))
    # A code says what a node is made from, but not what becomes of it: of two equal nodes each may feed others.
    # So it takes in the codes of the nodes around it, as long as that tells more nodes apart.
    around: list[list[int]] = [list(node.inputs) for node in graph.nodes]
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            around[j].append(i)
    apart = 0
    while len(set(codes)) > apart:
        apart = len(set(codes))
        codes = [_hash(f"{code} {sorted(codes[j] for j in near)}") for code, near in zip(codes, around, strict=True)]
    # all nodes, not the last alone: one node used twice is not two equal ones
    return _hash(" ".join(sorted(codes)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _check(nodes: Sequence[Node]) -> None:
    if not nodes or nodes[0].op != INPUT:
        raise ValueError("the first node of a graph must be its input")
    for i, node in enumerate(nodes):
        if any(size < 1 for size in node.shape):
            raise ValueError(f"node {i} ({node.op}) must have a positive shape, got {node.shape}")
        if i == 0:
            continue
        if node.op == INPUT or not node.inputs:
            raise ValueError(f"only node 0 may have no inputs, but node {i} ({node.op}) has none")
        if any(not 0 <= j < i for j in node.inputs):
            raise ValueError(f"inputs of node {i} ({node.op}) must come before it, got {node.inputs}")
        shapes = tuple(nodes[j].shape for j in node.inputs)
        if shapes != node.in_shapes:
            raise ValueError(f"node {i} ({node.op}) expects inputs {node.in_shapes}, but gets {shapes}")


def _reachable(nodes: Sequence[Node], outputs: Iterable[int]) -> set[int]:
    found: set[int] = set()
    stack = list(outputs)
    while stack:
        i = stack.pop()
        if i not in found:
            found.add(i)
            stack.extend(nodes[i].inputs)
    return found
