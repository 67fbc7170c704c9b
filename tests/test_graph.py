"""Graphs: what is refused, hash-consing, merging, and the order of calls."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enas.graph import WORK, Graph, GraphBuilder, MergedGraph, Node, merge, signature
from enas.spaces import Architecture, MacroSpace, MicroSpace
from tests.toys import all_archs, macro, macro_cases, micro, micro_cases, random_archs

IMAGES = Node("input", (), "", (), (3, 4, 4))
SHAPE = (2, 4, 4)


def conv(source: int, key: str = "k", in_shape: tuple[int, int, int] = (3, 4, 4)) -> Node:
    return Node("conv_3x3", (source,), key, (in_shape,), SHAPE)


@pytest.mark.parametrize(
    ("nodes", "match"),
    [
        ((), "first node"),
        ((conv(0),), "first node"),
        ((IMAGES, conv(1, in_shape=SHAPE)), "must come before it"),  # itself
        ((IMAGES, conv(2, in_shape=SHAPE), conv(1, in_shape=SHAPE)), "must come before it"),  # a cycle
        ((IMAGES, conv(-1)), "must come before it"),
        ((IMAGES, Node("conv_3x3", (), "k", (), SHAPE)), "node 1 .* has none"),
        ((IMAGES, Node("input", (0,), "", ((3, 4, 4),), SHAPE)), "node 1"),
        ((IMAGES, IMAGES), "node 1"),
        ((IMAGES, conv(0, in_shape=(3, 5, 4))), r"expects inputs \(\(3, 5, 4\),\), but gets \(\(3, 4, 4\),\)"),
        ((IMAGES, dataclasses.replace(conv(0), in_shapes=())), "expects inputs"),
        ((IMAGES, dataclasses.replace(conv(0), shape=(0, 4, 4))), "positive shape"),
        ((IMAGES, conv(0, "a"), conv(0, "b")), r"nodes \[1\] do not"),
    ],
)
def test_a_wrong_graph_is_refused(nodes: tuple[Node, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Graph(nodes)


def test_the_smallest_graphs_are_accepted() -> None:
    assert len(Graph((IMAGES,)).nodes) == 1
    assert len(Graph((IMAGES, conv(0))).nodes) == 2


def test_graphs_are_immutable_and_hashable() -> None:
    graph = Graph((IMAGES, conv(0)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.nodes = ()  # type: ignore[misc]
    assert hash(graph) == hash(Graph((IMAGES, conv(0))))


def test_the_builder_gives_equal_nodes_one_position() -> None:
    builder = GraphBuilder((3, 4, 4))
    first = builder.add("conv_3x3", [0], SHAPE, "a")
    assert builder.add("conv_3x3", (0,), SHAPE, "a") == first == 1
    different = [
        builder.add("conv_5x5", (0,), SHAPE, "a"),
        builder.add("conv_3x3", (0,), SHAPE, "b"),
        builder.add("conv_3x3", (first,), SHAPE, "a"),
        builder.add("conv_3x3", (0,), (3, 4, 4), "a"),
    ]
    assert different == [2, 3, 4, 5]
    assert builder.shape(0) == (3, 4, 4)
    assert builder.shape(1) == SHAPE


# the same first two layers, another third one
PREFIX = [(0, 1, 1, 2, 0, 0), (0, 1, 1, 3, 0, 0), (0, 1, 1, 3, 1, 0)]


def test_a_shared_prefix_is_there_once() -> None:
    space = macro(3)
    graphs = [space.graph(Architecture("macro", choices)) for choices in PREFIX]
    merged = merge(graphs)
    keys = [node.key for node in merged.nodes]
    assert keys.count("stem") == keys.count("layer1/conv_3x3") == keys.count("layer2/norm") == 1
    # the second and third differ in one skip alone: the branch of layer 3 is shared, its sum is not
    assert keys.count("layer3/sep_conv_5x5") == 1
    assert keys.count("layer3/norm") == 3
    assert len(merged.outputs) == len(set(merged.outputs)) == 3


def test_equal_graphs_share_their_output() -> None:
    a, b = (macro(3).graph(arch) for arch in random_archs(macro(3), 2))
    merged = merge([a, b, a])
    assert merged.outputs[0] == merged.outputs[2] != merged.outputs[1]
    assert merged.nodes == merge([a, b]).nodes


def test_merging_one_graph_changes_nothing() -> None:
    graph = macro(4).graph(random_archs(macro(4), 1)[0])
    assert merge([graph]) == MergedGraph(graph.nodes, (len(graph.nodes) - 1,))


def test_no_graph_and_different_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merge([])
    small, large = macro(1, (3, 4, 4)), macro(1, (3, 8, 8))
    arch = Architecture("macro", (0,))
    with pytest.raises(ValueError, match=r"share their input, got \(3, 8, 8\) and \(3, 4, 4\)"):
        merge([small.graph(arch), large.graph(arch)])


def alone(nodes: tuple[Node, ...], output: int) -> object:
    """A node as a tree of its inputs: what it computes, whatever its position."""
    node = nodes[output]
    return (node.op, node.key, node.shape, tuple(alone(nodes, i) for i in node.inputs))


@settings(max_examples=60)
@given(macro_cases(max_layers=5))
def test_merged_graphs_compute_what_each_alone_does(case: tuple[MacroSpace, list[Architecture]]) -> None:
    space, archs = case
    graphs = [space.graph(arch) for arch in archs]
    merged = merge(graphs)
    for graph, output in zip(graphs, merged.outputs, strict=True):
        assert alone(merged.nodes, output) == alone(graph.nodes, len(graph.nodes) - 1)
    assert len(set(merged.nodes)) == len(merged.nodes) <= sum(len(graph.nodes) for graph in graphs)
    assert merge(graphs) == merged  # no set decides the order
    assert merged.nodes[: len(graphs[0].nodes)] == graphs[0].nodes  # the first graph's come first, in its order


@settings(max_examples=100)
@given(macro_cases())
def test_calls_hold_every_node_once_and_after_its_inputs(case: tuple[MacroSpace, list[Architecture]]) -> None:
    space, archs = case
    merged = merge([space.graph(arch) for arch in archs])
    calls = merged.calls(together=True)
    assert sorted(i for call in calls for i in call) == list(range(1, len(merged.nodes)))
    done = {0}
    for call in calls:
        nodes = [merged.nodes[i] for i in call]
        assert all(set(node.inputs) <= done for node in nodes)  # none waits for another one of its call
        assert len({(node.op, node.key, node.in_shapes, node.shape) for node in nodes}) == 1
        assert list(call) == sorted(call)
        done |= set(call)


@settings(max_examples=50)
@given(macro_cases())
def test_one_at_a_time_keeps_the_graphs_order_and_few_values(case: tuple[MacroSpace, list[Architecture]]) -> None:
    space, archs = case
    graphs = [space.graph(arch) for arch in sorted(archs, key=lambda arch: arch.choices)]
    merged = merge(graphs)
    calls = merged.calls(together=False)
    assert calls == [(i,) for i in range(1, len(merged.nodes))]
    alone = max(merge([graph]).most_live(merge([graph]).calls(together=False)) for graph in graphs)
    assert alone <= merged.most_live(calls)


def test_the_most_live_numbers_of_a_graph_known_by_hand() -> None:
    builder = GraphBuilder((3, 4, 4))  # 48 numbers
    first = builder.add("conv_3x3", (0,), SHAPE, "a")  # 32
    second = builder.add("conv_3x3", (first,), SHAPE, "b")
    total = builder.add("sum", (first, second), SHAPE)
    builder.add("classifier", (total,), (5, 1, 1), "c")
    merged = merge([builder.graph()])
    assert merged.uses() == [1, 2, 1, 1, 1]
    # while an operation works: the images for the first; `first` for the second, and both for their sum
    expected = max(48 + WORK * 32, 32 + WORK * 32, 64 + WORK * 32, 32 + WORK * 5)
    assert merged.most_live(merged.calls(together=False)) == merged.most_live(merged.calls(together=True)) == expected


def test_same_weights_on_different_inputs_are_one_call() -> None:
    space = macro(2)
    # layer 1 differs, layer 2 uses the same operation
    merged = merge([space.graph(Architecture("macro", (op, 0, 0))) for op in range(6)])

    def sizes(key: str) -> list[int]:
        return [len(call) for call in merged.calls(together=True) if merged.nodes[call[0]].key == key]

    assert sizes("layer2/conv_3x3") == [6]
    assert sizes("layer1/norm") == [6]
    assert sizes("classifier") == [6]
    assert sizes("layer1/conv_3x3") == [1]


# ---- nodes that are dropped in training, and a place for an auxiliary classifier


def test_merging_keeps_what_is_dropped_apart_and_finds_what_is_shared() -> None:
    def graph(share: float, key: str = "a") -> Graph:
        builder = GraphBuilder((3, 4, 4))
        builder.add("conv_3x3", (0,), SHAPE, key, share)
        return builder.graph()

    assert len(merge([graph(0.5), graph(0.5)]).nodes) == 2
    # the same weights, dropped more or less often: two nodes and two calls
    merged = merge([graph(0.5), graph(0.25)])
    assert [node.drop for node in merged.nodes] == [0.0, 0.5, 0.25]
    assert merged.calls(together=True) == [(1,), (2,)]


def test_the_auxiliary_node_is_where_the_space_put_it() -> None:
    assert [macro(layers).graph(random_archs(macro(layers), 1)[0]).auxiliary for layers in (1,)] == [None]
    for layers, behind in ((2, 2), (3, 3), (6, 5), (7, 5), (12, 9)):  # the first layer behind the last reduction
        graph = macro(layers).graph(random_archs(macro(layers), 1)[0])
        assert graph.auxiliary is not None and graph.nodes[graph.auxiliary].key == f"layer{behind}/norm"
    builder = GraphBuilder((3, 4, 4))
    assert builder.graph().auxiliary is None
    assert builder.graph(0) != builder.graph()


# ---- signatures: nodes (x, y, operation of x, of y) of a normal cell; the reduction cell is always the same

SEP3, SEP5, AVG, MAX, SAME = range(5)
Cell = list[tuple[int, int, int, int]]


def code(*nodes: tuple[int, int, int, int], reduction: tuple[int, int, int, int] = (0, 1, SEP3, AVG)) -> str:
    space = micro(len(nodes))
    choices = [choice for node in (*nodes, *[reduction] * len(nodes)) for choice in node]
    return signature(space.graph(Architecture("micro", tuple(choices))))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([(0, 1, SEP3, MAX)], [(1, 0, MAX, SEP3)]),  # the sides swapped
        ([(0, 1, SEP3, MAX), (1, 2, AVG, SAME)], [(1, 0, MAX, SEP3), (2, 1, SAME, AVG)]),
        ([(0, 1, SEP3, MAX), (1, 1, AVG, SEP5)], [(1, 1, SEP5, AVG), (0, 1, SEP3, MAX)]),  # the nodes in another order
        (
            [(0, 1, SEP3, MAX), (1, 1, AVG, SEP5), (2, 3, SEP3, SAME)],
            [(1, 1, AVG, SEP5), (0, 1, SEP3, MAX), (3, 2, SEP3, SAME)],
        ),
    ],
)
def test_the_same_network_under_other_keys_has_the_same_signature(a: Cell, b: Cell) -> None:
    assert code(*a) == code(*b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([(0, 1, SEP3, MAX)], [(0, 1, SEP3, AVG)]),  # another operation
        ([(0, 1, SEP3, MAX)], [(1, 0, SEP3, MAX)]),  # the inputs swapped, but not the operations
        ([(0, 1, SEP3, MAX), (2, 2, SEP3, SAME)], [(0, 1, SEP3, MAX), (2, 1, SEP3, SAME)]),  # another input
        # one node used twice, or two nodes that are alike used once each
        (
            [(0, 1, SEP3, MAX), (0, 1, SEP3, MAX), (2, 2, SEP5, AVG)],
            [(0, 1, SEP3, MAX), (0, 1, SEP3, MAX), (2, 3, SEP5, AVG)],
        ),
        # two nodes that are alike, and who reads which: sep 3 and 5 the one and both pools the other, or mixed
        (
            [(0, 1, SEP3, MAX), (0, 1, SEP3, MAX), (2, 2, SEP3, SEP5), (3, 3, MAX, AVG)],
            [(0, 1, SEP3, MAX), (0, 1, SEP3, MAX), (2, 3, SEP3, SEP5), (2, 3, MAX, AVG)],
        ),
    ],
)
def test_different_networks_have_different_signatures(a: Cell, b: Cell) -> None:
    assert code(*a) != code(*b)
    assert code(*a, reduction=(0, 1, SEP3, MAX)) != code(*a)


def test_signatures_tell_spaces_of_few_symmetries_apart() -> None:
    """In macro every layer has its place, so every architecture is a network of its own."""
    for layers in (2, 3):
        space = macro(layers)
        archs = all_archs(space) if layers == 2 else random_archs(space, 300)
        assert len({signature(space.graph(arch)) for arch in archs}) == len(set(archs))
    wide = macro(2, width=6)
    assert signature(wide.graph(Architecture("macro", (0, 0, 0)))) != signature(
        macro(2).graph(Architecture("macro", (0, 0, 0)))
    )


@settings(max_examples=40)
@given(micro_cases(max_nodes=4, max_archs=1), st.randoms(use_true_random=False))
def test_relabelled_cells_keep_their_signature(case: tuple[MicroSpace, list[Architecture]], random: Random) -> None:
    """Swap the sides of any nodes, and put the nodes into another order that respects their inputs."""
    space, (arch,) = case
    size = space.options.nodes

    def relabelled(nodes: list[tuple[int, ...]]) -> list[int]:
        position = {0: 0, 1: 1}
        order: list[tuple[int, ...]] = []
        while len(order) < size:
            ready = [i for i in range(size) if i + 2 not in position and all(x in position for x in nodes[i][:2])]
            chosen = random.choice(ready)
            position[chosen + 2] = len(order) + 2
            x, y, op_x, op_y = nodes[chosen]
            new = (position[x], position[y], op_x, op_y)
            order.append(new if random.random() < 0.5 else (new[1], new[0], new[3], new[2]))
        return [choice for node in order for choice in node]

    nodes = [arch.choices[i : i + 4] for i in range(0, len(arch.choices), 4)]
    other = Architecture("micro", tuple(relabelled(nodes[:size]) + relabelled(nodes[size:])))
    assert signature(space.graph(other)) == signature(space.graph(arch))
