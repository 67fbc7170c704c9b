"""What an exported module consists of, before any of it is written: classes, their lines, the head, the weights.

A value is named by the position of its node in the graph, everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from enas.export.folding import Kind, kinds
from enas.export.names import RESERVED, Names, camel, variables
from enas.export.operations import Argument, Code, code
from enas.graph import Graph, Node

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One value of a forward pass.

    position: of its node. name: of its variable. inputs: positions. value: what computes it (see `Code`); empty where
    the part is called with the inputs. attribute, module, arguments: the part that it needs, if any, and how that is
    made. drop: the attribute of its drop-path, if any. key: of its weights, or the prefix of its group.
    """

    position: int
    name: str
    inputs: tuple[int, ...]
    value: str
    attribute: str = ""
    module: str = ""
    arguments: Texts = ()
    drop: str = ""
    key: str = ""


@dataclass(frozen=True)
class Scope:
    """The lines of one forward pass. inputs: names by position. drops: shares of drop-path by attribute, as text.

    weights: by attribute, the key that its weights have in `enas.network.Network`, without the group's prefix, and the
    path within that.
    """

    steps: tuple[Step, ...]
    inputs: Mapping[int, str]
    drops: Mapping[str, str]
    weights: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Block:
    """A class of groups that differ in numbers alone.

    parameters: their values in each group, by name. reads: for each input the position of what each group reads.
    """

    name: str
    kind: Kind
    scope: Scope
    parameters: Mapping[str, tuple[float, ...]]
    reads: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Head:
    """What follows the feature maps.

    ends: positions of the maps, which are joined along their channels. relu: before anything else. channels: how many
    there are together. alike: whether the maps have one size. hidden: units of a hidden layer, 0 for none. plain: the
    maps are logits already, and there is no classifier. weights: names of tensors in the exported module, and those in
    `Network` that are joined along their inputs.
    """

    ends: tuple[int, ...]
    relu: bool
    channels: int
    alike: bool = True
    hidden: int = 0
    plain: bool = False
    weights: Mapping[str, Texts] = field(default_factory=dict)


@dataclass(frozen=True)
class Outline:
    """A whole module."""

    body: Scope
    blocks: tuple[Block, ...]
    head: Head

    def weights(self) -> dict[str, str]:
        """Paths of parts in the exported module, and of the same parts in `enas.network.Network`."""
        found = {path: _path(key, inner) for path, (key, inner) in self.body.weights.items()}
        attributes = {step.position: step.attribute for step in self.body.steps}
        for block in self.blocks:
            for group in block.kind.groups:
                for path, (key, inner) in block.scope.weights.items():
                    found[f"{attributes[group.output]}.{path}"] = _path(f"{group.prefix}/{key}", inner)
        return found

    @property
    def drops(self) -> bool:
        """Whether any part of it has drop-path."""
        return bool(self.body.drops) or any(block.scope.drops for block in self.blocks)


def _path(key: str, inner: str) -> str:
    return ".".join(filter(None, ("weights", key, inner)))


def outline(graph: Graph) -> Outline:
    """Raises UserError where an operation cannot be exported."""
    nodes = graph.nodes
    codes = {i: code(node) for i, node in enumerate(nodes) if i}
    head, in_head = _head(nodes)
    kept = in_head | {i for i, one in codes.items() if one.training}
    found = kinds(nodes, codes, frozenset(kept))
    titles = _titles(found, nodes)
    blocks = tuple(_block(title, kind, nodes, codes) for title, kind in zip(titles, found, strict=True))
    calls: dict[int, tuple[Block, int]] = {}
    inside: set[int] = set()
    for block in blocks:
        for number, group in enumerate(block.kind.groups):
            calls[group.output] = block, number
            inside |= set(group.nodes)
    left = [i for i in codes if i not in in_head and (i not in inside or i in calls)]
    return Outline(_body(nodes, codes, left, calls), blocks, head)


def _head(nodes: Sequence[Node]) -> tuple[Head, set[int]]:
    """The head, and the nodes that it is made of."""
    last = len(nodes) - 1
    node = nodes[last]
    key = f"weights.{node.key}"
    if node.op in ("classifier", "relu_classifier"):
        weights: dict[str, Texts] = {f"classifier.{name}": (f"{key}.linear.{name}",) for name in ("weight", "bias")}
        end = node.inputs[0]
        return Head((end,), node.op == "relu_classifier", nodes[end].shape[0], weights=weights), {last}
    total, used = last, {last}
    if node.op == "relu_linear" and nodes[node.inputs[0]].op == "sum_bias":
        total, used = node.inputs[0], {last, node.inputs[0]}
    means = nodes[total].inputs
    readers = [j for other in nodes for j in other.inputs]
    keys = {nodes[i].key for i in means}
    alone = len(keys) == len(means) and all(readers.count(i) == 1 for i in (*means, *used - {last}))
    if nodes[total].op == "sum_bias" and all(nodes[i].op == "mean_linear" for i in means) and alone:
        ends = tuple(nodes[i].inputs[0] for i in means)
        name = "classifier" if total == last else "hidden"
        weights = {f"{name}.weight": tuple(f"weights.{nodes[i].key}.weight" for i in means)}
        weights[f"{name}.bias"] = (f"weights.{nodes[total].key}.bias",)
        if total != last:
            weights |= {f"classifier.{part}": (f"{key}.{part}",) for part in ("weight", "bias")}
        hidden = nodes[total].shape[0] if total != last else 0
        channels, sizes = sum(nodes[i].shape[0] for i in ends), {nodes[i].shape[1:] for i in ends}
        return Head(ends, False, channels, len(sizes) == 1, hidden, weights=weights), {*used, *means}
    return Head((last,), False, node.shape[0], plain=True), set()


def _titles(found: Sequence[Kind], nodes: Sequence[Node]) -> list[str]:
    """A class name for each kind."""
    bases = [camel(kind.groups[0].prefix) for kind in found]
    titles, names = [], Names()
    for base, kind in zip(bases, found, strict=True):
        group = kind.groups[0]
        outside = [nodes[j] for i in group.nodes for j in nodes[i].inputs if j not in group.nodes]
        reduces = all(node.shape[1] > nodes[group.output].shape[1] for node in outside)
        if bases.count(base) > 1:
            base = ("Reduction" if reduces else "Normal") + base
        titles.append(names.give(kind, base).replace("_", ""))
    return titles


def _block(title: str, kind: Kind, nodes: Sequence[Node], codes: Mapping[int, Code]) -> Block:
    first = kind.groups[0]
    parameters: dict[tuple[float, ...], str] = {}
    inputs, edges, reads = _inputs(kind, nodes)
    numbers = Names(())

    def text(values: Sequence[float], name: str) -> str:
        """A number that all groups have, or the name of the parameter that stands for it."""
        if len(set(values)) == 1:
            return repr(values[0])
        return parameters.setdefault(tuple(values), numbers.give(tuple(values), name))

    def arguments(i: int) -> Texts:
        place = first.nodes.index(i)
        across = zip(*(codes[group.nodes[place]].arguments for group in kind.groups), strict=True)
        return tuple(filter(None, (_argument(same, text) for same in across)))

    def share(i: int) -> str:
        place = first.nodes.index(i)
        return text([nodes[group.nodes[place]].drop for group in kind.groups], "drop_path")

    keys = {i: nodes[i].key.removeprefix(first.prefix).strip("/") for i in first.nodes}
    scope = _scope(nodes, codes, keys, inputs, edges, arguments, share)
    return Block(title, kind, scope, {name: values for values, name in parameters.items()}, reads)


def _inputs(
    kind: Kind, nodes: Sequence[Node]
) -> tuple[dict[int, str], dict[tuple[int, int], int], tuple[tuple[int, ...], ...]]:
    """What the groups' class reads: names by position in the first group; that position for each edge from outside, as
    a node and which of its inputs; and the positions in all groups.

    Edges are one input where they are in every group. Where the first group alone reads one value by two inputs, the
    second has a negative position.
    """
    across: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    first = kind.groups[0]
    for place, i in enumerate(first.nodes):
        for k, j in enumerate(nodes[i].inputs):
            if j not in first.nodes:
                reads = tuple(nodes[group.nodes[place]].inputs[k] for group in kind.groups)
                across.setdefault(reads, []).append((i, k))
    names: dict[int, str] = {}
    positions: dict[tuple[int, int], int] = {}
    for number, (reads, edges) in enumerate(across.items()):
        position = reads[0] if reads[0] not in names else -1 - number
        names[position] = "x" if len(across) == 1 else f"x{number}"
        positions |= dict.fromkeys(edges, position)
    return names, positions, tuple(across)


def _body(
    nodes: Sequence[Node], codes: Mapping[int, Code], left: Sequence[int], calls: Mapping[int, tuple[Block, int]]
) -> Scope:
    """The network's own lines. left: nodes that stand in no class, and outputs of those that do."""
    groups = {i: block.kind.groups[number] for i, (block, number) in calls.items()}
    keys = {i: groups[i].prefix if i in groups else nodes[i].key for i in left}

    def arguments(i: int) -> Texts:
        return tuple(filter(None, (_argument((one,), lambda values, _: repr(values[0])) for one in codes[i].arguments)))

    plain = _scope(nodes, codes, keys, {0: "images"}, {}, arguments, lambda i: repr(nodes[i].drop), set(groups))
    steps = []
    for step in plain.steps:
        if step.position in calls:
            block, number = calls[step.position]
            numbers = tuple(f"{name}={values[number]!r}" for name, values in block.parameters.items())
            inputs = tuple(reads[number] for reads in block.reads)
            step = dataclasses.replace(step, inputs=inputs, value="", module=block.name, arguments=numbers, drop="")
        steps.append(step)
    return dataclasses.replace(plain, steps=tuple(steps))


def _scope(
    nodes: Sequence[Node],
    codes: Mapping[int, Code],
    keys: Mapping[int, str],
    inputs: Mapping[int, str],
    edges: Mapping[tuple[int, int], int],
    arguments: Callable[[int], Texts],
    share: Callable[[int], str],
    calls: Container[int] = (),
) -> Scope:
    """The lines of the nodes in `keys`. edges: what inputs are to be read as. calls: nodes that stand for groups."""
    names = variables(nodes, keys, Names({*RESERVED, *inputs.values()}))
    attributes = Names()
    drops: dict[str, str] = {}
    steps, weights = [], {}
    for i, key in keys.items():
        one, drop, attribute = codes[i], "", ""
        if one.module or i in calls:
            attribute = attributes.give(key, key)
        if one.module and i not in calls:
            weights[attribute] = key, one.inner
        if nodes[i].drop and i not in calls:
            text = share(i)
            drop = attributes.give(("drop_path", text), "drop_path")
            drops[drop] = text
        reads = tuple(edges.get((i, k), j) for k, j in enumerate(nodes[i].inputs))
        made = arguments(i) if attribute and i not in calls else ()
        steps.append(Step(i, names[i], reads, one.value, attribute, one.module, made, drop, key))
    return Scope(tuple(steps), inputs, drops, weights)


def _argument(same: Sequence[Argument], text: Callable[[Sequence[float], str], str]) -> str:
    """An argument as it is written; empty where its default says it. same: that of every group."""
    first, numbers = same[0], [argument.value for argument in same if isinstance(argument.value, int)]
    if not numbers:
        written = str(first.value)
    elif set(numbers) == {first.default}:
        return ""
    else:
        written = text(numbers, first.name)
    return f"{first.name}={written}" if first.keyword else written
