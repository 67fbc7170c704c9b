"""What a network costs: parameters and multiply-accumulates (MACs), of the chosen operations only.

MACs are half of what torch's flop counter counts: convolutions and linear layers, without bias.
Each distinct node is built and run once on the meta device, where tensors have shapes but no data,
so the counts come from the very modules that train.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from enas.errors import UserError
from enas.graph import Graph, Node, Shape
from enas.ops import Context, Maker, build, maker


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
        node_cost = _node_cost(node.op, node.in_shapes, node.shape, maker(node.op))
        params[node.key] = node_cost.params
        macs += node_cost.macs
    return Cost(sum(params.values()), macs)


@functools.lru_cache(maxsize=65536)
def _node_cost(op: str, in_shapes: tuple[Shape, ...], shape: Shape, made_by: Maker) -> Cost:
    """made_by: what makes the operation, so that one that is registered anew is counted anew."""
    images = 2  # batch norm with batch statistics refuses a single number a channel
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module = build(Node(op, (), "", in_shapes, shape), running=False)
        inputs = [torch.empty(images, *in_shape) for in_shape in in_shapes]
        output = _output(op, module, inputs)
    flat = (images, shape[0]) if shape[1:] == (1, 1) else None  # as classifiers give it
    if tuple(output.shape) not in ((images, *shape), flat):
        raise UserError(
            f"operation {op} must give {list(shape)} of {', '.join(str(list(one)) for one in in_shapes)} (C, H, W), "
            f"but it gives {list(output.shape[1:])}"
        )
    return Cost(sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2 // images)


def _output(op: str, module: nn.Module, inputs: list[Tensor]) -> Tensor:
    """What the operation gives. Raises UserError where it cannot: one that the user registered, or between shapes of
    the user's."""
    try:
        return module(*inputs, context=Context())  # type: ignore[no-any-return]
    except Exception as error:
        shapes = ", ".join(str(list(one.shape[1:])) for one in inputs)
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(
            f"operation {op} must be possible on inputs {shapes} (C, H, W), but: {type(error).__name__}: {reason}"
        ) from error
