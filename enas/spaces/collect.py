"""All weights that architectures of a space can use, found by looking at many of them."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator

from enas.errors import UserError
from enas.graph import Graph, Node
from enas.spaces.base import Architecture, SearchSpace, active, settled, size

ALL = 4096  # architectures of a space that are all looked at
PAIRS = 20_000  # changes of two choices at once that are looked at
QUIET, MOST = 500, 10_000  # uniform architectures in a row that bring nothing new, after which it is enough; the most
KEY = re.compile(r"[A-Za-z0-9_/-]+")
Numbers = tuple[int, ...]


class Collected:
    """Nodes of weight keys: one for each size in which a key is used. Raises UserError where they cannot share weights.

    where: the space, for messages.
    """

    def __init__(self, where: str, nodes: Iterable[Node] = ()) -> None:
        self.where = where
        self._sizes: dict[str, dict[tuple[object, ...], Node]] = {}
        for node in nodes:
            self.add(node)
        if self._sizes:
            self.finish()

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(node for sizes in self._sizes.values() for node in sizes.values())

    def add(self, node: Node) -> bool:
        """Take in a node; whether it is new."""
        if not node.key:
            return False
        if node.key not in self._sizes and not KEY.fullmatch(node.key):
            raise UserError(f"{self.where}: weight keys must be of letters, digits, _, - and /, but got {node.key!r}")
        sizes, size = self._sizes.setdefault(node.key, {}), _size(node)
        if size in sizes:
            return False
        first = next(iter(sizes.values()), node)
        if _op(first) != _op(node):
            raise UserError(
                f"{self.where}: a weight key must belong to one operation, but {node.key} is used by {_op(first)} and "
                f"{_op(node)}; give each a key of its own"
            )
        sizes[size] = node
        return True

    def finish(self) -> None:
        """Raise UserError unless of the sizes of a key one holds all others."""
        for key, sizes in self._sizes.items():
            numbers = [_numbers(node) for node in sizes.values()]
            alike = len({len(one) for one in numbers}) == 1
            largest = tuple(map(max, *numbers)) if alike and len(numbers) > 1 else numbers[0]
            if not alike or largest not in numbers:
                first, second, *_ = sizes.values()
                raise UserError(
                    f"{self.where}: of the sizes in which a weight key is used one must hold all others, but {key} has "
                    f"{first.in_shapes} to {first.shape} and {second.in_shapes} to {second.shape}; give them keys of "
                    "their own"
                )

    def check(self, graph: Graph, where: str) -> None:
        """Raise UserError where the graph uses weights that are not there."""
        for node in graph.nodes:
            if not node.key:
                continue
            sizes = self._sizes.get(node.key, {})
            if _size(node) in sizes or (len(sizes) > 1 and self._is_part(node)):
                continue
            raise UserError(
                f"{where}: graph uses weights {node.key!r} of {node.in_shapes} to {node.shape} that were not found "
                f"among those of many architectures; let the class have a method candidates() that returns one node "
                f"for every weight key in every size"
            )

    def _is_part(self, node: Node) -> bool:
        """Whether all sizes of the node occur, if not together."""
        known = zip(*map(_numbers, self._sizes[node.key].values()), strict=True)
        return all(number in seen for number, seen in zip(_numbers(node), known, strict=False))


def collect(space: SearchSpace, where: str) -> Collected:
    """The weights of all architectures of a small space; of a large one those of its first architecture, of all changes
    of one and of two choices of it, and of uniform architectures until many in a row bring nothing new."""
    found = Collected(where)
    if size(space) <= ALL:
        for arch in _every(space):
            _take(found, space.graph(arch))
    else:
        first = [0] * len(space.decisions)
        _take(found, space.graph(settled(space, first)))
        for arch in _changes(space, first):
            _take(found, space.graph(arch))
        draws, quiet, drawn = random.Random(0), 0, 0
        while quiet < QUIET and drawn < MOST:
            arch = settled(space, [draws.randrange(len(d.labels)) for d in space.decisions])
            quiet, drawn = (0 if _take(found, space.graph(arch)) else quiet + 1), drawn + 1
    found.finish()
    return found


def _take(found: Collected, graph: Graph) -> bool:
    """Take in all nodes of a graph; whether any is new."""
    return any([found.add(node) for node in graph.nodes])


def _every(space: SearchSpace) -> Iterator[Architecture]:
    """All architectures, each once."""
    waiting: list[tuple[int, ...]] = [()]
    while waiting:
        choices = waiting.pop()
        d = len(choices)
        if d == len(space.decisions):
            yield Architecture(space.name, choices)
            continue
        decision = space.decisions[d]
        on = decision.parent is None or active(space, (*choices, *(0,) * (len(space.decisions) - d)))[d]
        waiting += [(*choices, choice) for choice in range(len(decision.labels) if on else 1)]


def _changes(space: SearchSpace, first: list[int]) -> Iterator[Architecture]:
    """Architectures with one choice unlike in `first`, then those with two, as many as are looked at."""
    ones = [(d, c) for d, decision in enumerate(space.decisions) for c in range(1, len(decision.labels))]
    pairs = ((a, b) for i, a in enumerate(ones) for b in ones[i + 1 :] if a[0] != b[0])
    some: tuple[tuple[int, int], ...]
    for some in itertools.chain(((one,) for one in ones), itertools.islice(pairs, PAIRS)):
        choices = list(first)
        for d, choice in some:
            choices[d] = choice
        yield settled(space, choices)


def _op(node: Node) -> str:
    return node.op.partition(":")[0]


def _size(node: Node) -> tuple[object, ...]:
    return node.op, node.in_shapes, node.shape


def _numbers(node: Node) -> Numbers:
    """What decides how large the weights are: numbers behind the operation's name, channels in and out."""
    numbers = node.op.partition(":")[2]
    return (*map(int, filter(None, numbers.split(","))), *(shape[0] for shape in node.in_shapes), node.shape[0])
