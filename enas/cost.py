"""What a network costs: parameters and multiply-accumulates (MACs), of the chosen operations only.

MACs are half of what torch's flop counter counts: convolutions and linear layers, without bias.
Each distinct node is built and run once on the meta device, where tensors have shapes but no data,
so the counts come from the very modules that train.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from enas.graph import Graph, Node, Shape
from enas.ops import Context, build


@dataclass(frozen=True)
class Cost:
    """params: trainable numbers. macs: multiply-accumulates for one image."""

    params: int
    macs: int


def cost(graph: Graph) -> Cost:
    """The cost of one network. Weights that several nodes share count once, their MACs each time."""
    params: dict[str, int] = {}
    macs = 0
    for node in graph.nodes[1:]:
        node_cost = _node_cost(node.op, node.in_shapes, node.shape)
        params[node.key] = node_cost.params
        macs += node_cost.macs
    return Cost(sum(params.values()), macs)


@functools.lru_cache(maxsize=65536)
def _node_cost(op: str, in_shapes: tuple[Shape, ...], shape: Shape) -> Cost:
    images = 2  # batch norm with batch statistics refuses a single number a channel
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module = build(Node(op, (), "", in_shapes, shape), running=False)
        module(*(torch.empty(images, *in_shape) for in_shape in in_shapes), context=Context())
    return Cost(sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2 // images)
