"""Finding the parts of a graph that repeat, such as cells: each kind of them becomes one class.

Nodes belong together by the beginnings of their weights' keys ("cell3/node1/..."), and what has no weights by what it
lies between. Two groups are of one kind where they differ in nothing but numbers: channels, strides, rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enas.export.operations import Code
from enas.graph import Node

SMALLEST = 3  # nodes in a group that is worth a class
MANY = 1000
OUTSIDE = -1  # in a structure: an input from outside the group
Structure = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that belong together. prefix: of their keys. nodes: rising positions. output: the one that others read."""

    prefix: str
    nodes: tuple[int, ...]
    output: int


@dataclass(frozen=True, slots=True)
class Kind:
    """Groups of one structure, in order."""

    groups: tuple[Group, ...]


def kinds(nodes: Sequence[Node], codes: Mapping[int, Code], kept: frozenset[int]) -> tuple[Kind, ...]:
    """How to write the nodes most briefly: kinds of groups, each of which becomes a class; none where nothing repeats.

    kept: nodes that stand in no group. The depth of keys at which groups are taken is the one that leaves least to
    write.
    """
    best: tuple[Kind, ...] = ()
    length = len(nodes)
    for depth in range(1, max((node.key.count("/") for node in nodes), default=0) + 1):
        found = _kinds_at(nodes, codes, kept, depth)
        inside = sum(len(group.nodes) for kind in found for group in kind.groups)
        written = sum(len(kind.groups[0].nodes) + len(kind.groups) for kind in found)
        if any(len(kind.groups) > 1 for kind in found) and len(nodes) - inside + written < length:
            best, length = found, len(nodes) - inside + written
    return best


def _kinds_at(nodes: Sequence[Node], codes: Mapping[int, Code], kept: frozenset[int], depth: int) -> tuple[Kind, ...]:
    by_structure: dict[Structure, list[Group]] = {}
    for group in groups(nodes, {i: node.key for i, node in enumerate(nodes)}, depth):
        if len(group.nodes) >= SMALLEST and not kept & set(group.nodes):
            by_structure.setdefault(_structure(group, nodes, codes), []).append(group)
    return tuple(Kind(tuple(found)) for found in by_structure.values())


def groups(nodes: Sequence[Node], keys: Mapping[int, str], depth: int, sums: int = MANY) -> list[Group]:
    """The groups whose keys share `depth` components and that have one output, in order of it.

    keys: by position, of the nodes that are looked at; the others may not join a group. sums: how many sums without
    keys may follow where the keys end.
    """
    readers = _readers(nodes)
    behind = _post_dominators(readers)
    by_prefix: dict[str, list[int]] = {}
    for i, key in keys.items():
        parts = key.split("/")
        if key and len(parts) > depth:
            by_prefix.setdefault("/".join(parts[:depth]), []).append(i)
    found: list[Group] = []
    free = {i for i, key in keys.items() if not key and nodes[i].inputs}
    for prefix, members in by_prefix.items():
        output = members[0]
        for i in members[1:]:
            output = _meeting(behind, output, i)
        follow = sums if output in members else sums - 1
        while follow > 0 and len(readers[output]) == 1 and _is_sum(nodes, readers[output][0], free):
            output, follow = readers[output][0], follow - 1
        inside = _between(nodes, readers, set(members), output, free)
        if inside is not None:
            free -= inside
            found.append(Group(prefix, tuple(sorted(inside)), output))
    return sorted(found, key=lambda group: group.output)


def _is_sum(nodes: Sequence[Node], position: int, free: set[int]) -> bool:
    """Whether nobody else's node adds up several inputs."""
    return position in free and len(nodes[position].inputs) > 1


def _between(
    nodes: Sequence[Node], readers: Sequence[Sequence[int]], members: set[int], output: int, free: set[int]
) -> set[int] | None:
    """The members, with the free nodes that lie between them and the output, or lead to nothing else; None where
    nodes of others do, or where others read what is not the output."""
    inside, stack = set(members) | {output}, list(members)
    while stack:  # forwards
        i = stack.pop()
        for reader in readers[i] if i != output else ():
            if reader not in inside:
                inside.add(reader)
                stack.append(reader)
    if not inside - members <= free:
        return None
    for i in range(output - 1, 0, -1):  # backwards: pools and the like, that have no keys
        if i in free and i not in inside and all(reader in inside for reader in readers[i]):
            inside.add(i)
    closed = all(set(readers[i]) <= inside for i in inside if i != output)
    return inside if closed else None


def _structure(group: Group, nodes: Sequence[Node], codes: Mapping[int, Code]) -> Structure:
    """What groups of one kind have in common: everything but numbers, and where their inputs come from."""
    place = {i: k for k, i in enumerate(group.nodes)}
    return tuple(
        (
            nodes[i].key.removeprefix(group.prefix),
            codes[i].module,
            codes[i].value,
            codes[i].training,
            tuple((a.name, None if isinstance(a.value, int) else a.value) for a in codes[i].arguments),
            tuple(place.get(j, OUTSIDE) for j in nodes[i].inputs),
            nodes[i].drop > 0,
        )
        for i in group.nodes
    )


def _readers(nodes: Sequence[Node]) -> list[list[int]]:
    """Which nodes read each node."""
    readers: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        for j in dict.fromkeys(node.inputs):
            readers[j].append(i)
    return readers


def _post_dominators(readers: Sequence[Sequence[int]]) -> list[int]:
    """For each node the next one that every path from it to the output goes through (the output: itself)."""
    behind = list(range(len(readers)))
    for i in reversed(range(len(readers))):
        if readers[i]:
            first, *others = readers[i]
            for other in others:
                first = _meeting(behind, first, other)
            behind[i] = first
    return behind


def _meeting(behind: Sequence[int], a: int, b: int) -> int:
    """The first node that every path from a and from b goes through."""
    while a != b:
        if a < b:
            a = behind[a]
        else:
            b = behind[b]
    return a
