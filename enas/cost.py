"""What a network costs: parameters, multiply-accumulates (MACs) and memory, of the chosen operations only.

MACs are half of what torch's flop counter counts: convolutions and linear layers, without bias.
Each distinct node is built and run once on the meta device, where tensors have shapes but no data,
so the counts come from the very modules that train. What a network takes in time is `enas.latency`'s.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from enas.errors import UserError
from enas.graph import Graph, MergedGraph, Node, Shape
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
        found = node_cost(node.op, node.in_shapes, node.shape)
        params[node.key] = found.params
        macs += found.macs
    return Cost(sum(params.values()), macs)


def node_cost(op: str, in_shapes: tuple[Shape, ...], shape: Shape) -> Cost:
    """The cost of one node. Raises UserError where the operation does not lead from these shapes to that one."""
    return _node_cost(op, in_shapes, shape, maker(op))


def activation_memory(graph: Graph, batch_size: int = 1, bytes_per_number: int = 4) -> int:
    """Bytes of images and activations, at the moment at which there are most of them, in a forward pass without
    gradients on so many images. Weights are not among them.

    Values are freed at their last use, the images at the end; within operations counts what torch's own kernels have
    at once, not what such a kernel needs within itself.
    """
    merged = MergedGraph(graph.nodes, (len(graph.nodes) - 1, 0))
    numbers = merged.most_live(
        merged.calls(together=False), lambda node: _work(node.op, node.in_shapes, node.shape, maker(node.op))
    )
    return numbers * batch_size * bytes_per_number


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context that counts the bytes of the tensors that are made within it: those that there are `now`, and the `most`
    that there were at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.most: int = 0
        self._seen: dict[int, int] = {}  # bytes of each storage that there is, by its id

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        before = {id(tensor.untyped_storage()) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage(), before)
        return result

    def _count(self, storage: torch.UntypedStorage, before: set[int]) -> None:
        key = id(storage)
        if key in self._seen or key in before:  # a view, or a result in place
            return
        self._seen[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self._seen.pop(key)


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


@functools.lru_cache(maxsize=65536)
def _work(op: str, in_shapes: tuple[Shape, ...], shape: Shape, made_by: Maker) -> int:
    """The most numbers for an image that one operation has at once, beside its inputs."""
    images = 1 << 20  # so many that what goes by channels and not by images is lost in rounding
    with torch.device("meta"), torch.no_grad():
        module = build(Node(op, (), "", in_shapes, shape), running=True).eval()
        inputs = [torch.empty(images, *in_shape) for in_shape in in_shapes]
        with LiveBytes() as live:
            _output(op, module, inputs)
    most: int = live.most
    return most // (images * inputs[0].element_size())


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
