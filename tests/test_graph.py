"""Graphs: what is refused, hash-consing, merging, and the order of calls."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings

from enas.graph import Graph, GraphBuilder, MergedGraph, Node, merge
from enas.spaces import Architecture, MacroSpace
from tests.toys import macro, macro_cases, random_archs

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
    calls = merged.calls()
    assert sorted(i for call in calls for i in call) == list(range(1, len(merged.nodes)))
    done = {0}
    for call in calls:
        nodes = [merged.nodes[i] for i in call]
        assert all(set(node.inputs) <= done for node in nodes)  # none waits for another one of its call
        assert len({(node.op, node.key, node.in_shapes, node.shape) for node in nodes}) == 1
        assert list(call) == sorted(call)
        done |= set(call)


def test_same_weights_on_different_inputs_are_one_call() -> None:
    space = macro(2)
    # layer 1 differs, layer 2 uses the same operation
    merged = merge([space.graph(Architecture("macro", (op, 0, 0))) for op in range(6)])

    def sizes(key: str) -> list[int]:
        return [len(call) for call in merged.calls() if merged.nodes[call[0]].key == key]

    assert sizes("layer2/conv_3x3") == [6]
    assert sizes("layer1/norm") == [6]
    assert sizes("classifier") == [6]
    assert sizes("layer1/conv_3x3") == [1]
