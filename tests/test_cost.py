"""Parameters and multiply-accumulates against torch's own counter, against the literature and by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from enas import spaces
from enas.config import ResNet20Options
from enas.cost import Cost, cost
from enas.graph import Graph, GraphBuilder
from enas.network import Network
from enas.ops import OPS
from enas.spaces import Architecture
from tests.test_supernet import graph_with
from tests.toys import images, macro, random_archs, seeded


def counted(graph: Graph) -> Cost:
    """The cost by running the real network on one image."""
    network = Network(graph, seeded()).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
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
