"""Parameters and multiply-accumulates against torch's own counter, against the literature and by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from enas import spaces
from enas.config import ResNet20Options
from enas.cost import Cost, LiveBytes, activation_memory, cost
from enas.graph import Graph, GraphBuilder
from enas.kernels import plain_kernels
from enas.network import Network
from enas.ops import OPS
from enas.spaces import Architecture, SearchSpace
from tests.test_supernet import graph_with
from tests.toys import chain, images, macro, micro, nasbench201, nasbench_macro, random_archs, seeded


def counted(graph: Graph) -> Cost:
    """The cost by running the real network on one image."""
    network = Network(graph, seeded()).eval()
    with plain_kernels(), FlopCounterMode(display=False) as counter, torch.no_grad():  # compiled ones are not counted
        network(images(1, graph.nodes[0].shape))
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)


@pytest.mark.parametrize("op", OPS)
def test_every_operation_costs_what_torch_counts(op: str) -> None:
    graph = graph_with(op)
    assert cost(graph) == counted(graph)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 6)])
def test_random_architectures_cost_what_torch_counts(shape: tuple[int, int, int], double: bool) -> None:
    space = macro(5, shape, width=6, double=double)
    costs = set()
    for arch in random_archs(space, 6):
        graph = space.graph(arch)
        assert cost(graph) == counted(graph)
        costs.add(cost(graph))
    assert len(costs) > 3


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 6)])
def test_random_cells_cost_what_torch_counts(shape: tuple[int, int, int]) -> None:
    space = micro(4, shape, width=5)
    for scaled in (space, space.scaled(depth=2, width=6)):
        graphs = [scaled.graph(arch) for arch in random_archs(space, 4)]
        assert [cost(graph) for graph in graphs] == [counted(graph) for graph in graphs]
        assert len({cost(graph) for graph in graphs}) > 2


def test_a_cell_by_hand() -> None:
    """One node a cell, images of 1x8x8, 2 classes, 2 filters. Normal: sep_conv_3x3(k-2) + identity(k-1)."""
    space = micro(1, (1, 8, 8), 2, width=2)
    arch = Architecture("micro", (0, 1, 0, 4) + (0, 1, 3, 2))  # reduction: max_pool(k-2) + avg_pool(k-1)
    # weights without batch norms, and the pixels that they are applied to
    stem, classifier = 1 * 6 * 9, 8 * 2
    cells = [  # inputs k-2 and k-1; two depthwise and two pointwise; the loose end
        [(6 * 2 + 6 * 2, 64), (2 * (2 * 9 + 2 * 2), 64), (2 * 2, 64)],
        [(6 * 4 + 2 * 4, 64), (0, 0), (4 * 4, 16)],  # the inputs keep their resolution, the pools halve it
        # cell k-2 lies before the reduction: two convolutions, each to half of the filters, halve it
        [(2 * (2 * 2) + 4 * 4, 16), (2 * (4 * 9 + 4 * 4), 16), (4 * 4, 16)],
        [(4 * 8 + 4 * 8, 16), (0, 0), (8 * 8, 4)],
        [(2 * (4 * 4) + 8 * 8, 4), (2 * (8 * 9 + 8 * 8), 4), (8 * 8, 4)],
    ]
    weights = sum(count for cell in cells for count, _ in cell)
    # a norm after each input, each half of a separable convolution, and the sum
    norms = 2 * (6 + 5 * 2 + 3 * 4 + 5 * 4 + 3 * 8 + 5 * 8)
    macs = 64 * stem + sum(count * pixels for cell in cells for count, pixels in cell) + classifier
    assert cost(space.graph(arch)) == Cost(stem + weights + norms + classifier + 2, macs) == Cost(1120, 15696)


def test_resnet20_has_the_size_of_the_literature() -> None:
    # He et al. 2016 give 0.27 million parameters. In full: 19 convolutions without bias, 9 * (3 * 16 + 16^2 * 6
    # + 16 * 32 + 32^2 * 5 + 32 * 64 + 64^2 * 5) = 267,696; batch norms 2 * (7 * 16 + 6 * 32 + 6 * 64) = 1,376;
    # the linear layer 650.
    space = spaces.build(ResNet20Options(), (3, 32, 32), 10)
    graph = space.graph(Architecture("resnet20", ()))
    assert cost(graph) == Cost(params=269_722, macs=40_551_040) == counted(graph)
    assert cost(space.scaled(width=32).graph(Architecture("resnet20", ()))).macs > 3.9 * 40_551_040


# 3 channels in, 4 out, 8 x 6 pixels. All begin with a 1x1 projection (3 * 4) and its batch norm (2 * 4).
@pytest.mark.parametrize(
    ("op", "weights", "macs_per_pixel"),
    [
        ("conv_3x3", 4 * 4 * 9 + 8, 4 * 4 * 9),
        ("conv_5x5", 4 * 4 * 25 + 8, 4 * 4 * 25),
        ("sep_conv_3x3", 4 * 9 + 4 * 4 + 8, 4 * 9 + 4 * 4),
        ("sep_conv_5x5", 4 * 25 + 4 * 4 + 8, 4 * 25 + 4 * 4),
        ("avg_pool_3x3", 0, 0),
        ("max_pool_3x3", 0, 0),
    ],
)
def test_layers_by_hand(op: str, weights: int, macs_per_pixel: int) -> None:
    builder = GraphBuilder((3, 8, 6))
    x = builder.add(op, (0,), (4, 8, 6), "it")
    builder.add("classifier", (x,), (10, 1, 1), "classifier")
    expected = Cost(12 + 8 + weights + 4 * 10 + 10, 48 * (12 + macs_per_pixel) + 4 * 10)
    assert cost(builder.graph()) == expected


def test_shared_weights_count_once_and_their_use_each_time() -> None:
    def chain(second: str) -> Cost:
        builder = GraphBuilder((4, 8, 8))
        x = builder.add("conv_bn_3x3", (0,), (4, 8, 8), "a")
        builder.add("conv_bn_3x3", (x,), (4, 8, 8), second)
        return cost(builder.graph())

    layer = Cost(4 * 4 * 9 + 8, 64 * 4 * 4 * 9)
    assert chain("a") == Cost(layer.params, 2 * layer.macs)
    assert chain("b") == Cost(2 * layer.params, 2 * layer.macs)


@pytest.mark.parametrize("space", [macro(5), micro(4), chain(hidden=3), nasbench201(), nasbench_macro()])
def test_activation_memory_is_what_a_pass_allocates(space: SearchSpace) -> None:
    found = set()
    for arch in random_archs(space, 4):
        graph = space.graph(arch)
        network = Network(graph, seeded()).eval()
        for n in (1, 3):
            with plain_kernels(), torch.no_grad(), LiveBytes() as live:
                x = images(n, graph.nodes[0].shape).clone()
                live.most = live.now  # making the images took more
                network(x)
            assert activation_memory(graph, n) == live.most > x.nbytes
            assert activation_memory(graph, n, 2) * 2 == live.most
        found.add(live.most)
    assert len(found) > 1 or space.name == "nasbench201"


def test_activation_memory_by_hand() -> None:
    builder = GraphBuilder((3, 8, 8))
    a = builder.add("conv_bn_3x3", (0,), (4, 8, 8), "a")
    b = builder.add("conv_bn_3x3", (a,), (4, 8, 8), "b")
    c = builder.add("sum", (a, b), (4, 8, 8))
    builder.add("classifier", (c,), (10, 1, 1), "classifier")
    # images and a, while b's convolution and its batch norm are there
    assert activation_memory(builder.graph(), 5) == 5 * 4 * 64 * (3 + 4 + 4 + 4)


def test_live_bytes_forgets_what_is_freed_and_counts_no_views() -> None:
    with LiveBytes() as live:
        x = torch.ones(10)
        y = x.view(2, 5)
        del x
        assert live.now == live.most == 40
        y += 1
        del y
        z = torch.zeros(5)
    assert (live.now, live.most, len(z)) == (20, 40, 5)
