"""Shared weights that come in several sizes: a child uses a part of them.

The weights of one key are those of its largest size. A smaller size is the leading channels, in and out, and the
middle of the kernel. So that what a child does not use gets no gradient, no decay and no momentum, a weight is no
single Parameter: it is cut at the borders of all its sizes, and every block is one. With 2 or 3 filters of width 1
or 3 a weight has four: of either group of filters the middle column, and the ring of columns around it.

What a part computes is left to the very module that a network of its own has: `enas.ops.build` makes it, without
data, and it runs with tensors that are joined from the blocks.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from enas.graph import Node, Shape
from enas.ops import Maker, build, initialise, maker

Size = tuple[int, ...]
Borders = tuple[Size, ...]  # for every dimension of a weight the sizes that it may have, rising
KERNEL = 2  # dimensions from here on are a kernel's: they grow around their middle


class Sliced(nn.Module):
    """The weights of one key, in every size that `nodes` have together; one of these is the largest in everything,
    and the others begin as parts of it."""

    def __init__(self, nodes: Sequence[Node], generator: torch.Generator) -> None:
        super().__init__()
        self.borders: dict[str, Borders] = {}  # by the name of the weight
        largest = build(max(nodes, key=_numbers), running=False)
        initialise(largest, generator)
        for name, weight in largest.named_parameters():
            sizes = [_sizes(node.op, node.in_shapes, node.shape)[name] for node in nodes]
            borders = self.borders[name] = tuple(tuple(sorted(set(numbers))) for numbers in zip(*sizes, strict=True))
            for position in itertools.product(*(range(len(numbers)) for numbers in borders)):
                part = weight.detach()[_grid(borders, position, tuple(weight.shape))]  # a copy
                self.register_parameter(_block(name, position), nn.Parameter(part.reshape(len(part), -1)))

    def part(self, node: Node) -> Callable[..., Tensor]:
        """The operation of a node of this key. Its weights are joined once, however often it is called."""
        size, tensors = (node.op, node.in_shapes, node.shape), self.tensors(node)
        made = (*size, maker(node.op))
        if made not in _own.modules:
            _own.modules[made] = _bare(*size)
        module = _own.modules[made]

        def run(*inputs: Tensor, **context: Any) -> Tensor:
            return functional_call(module, tensors, inputs, context)  # type: ignore[no-any-return]

        return run

    def tensors(self, node: Node) -> dict[str, Tensor]:
        """The weights of a node of this key, by their names in its module. Raises RuntimeError for another size."""
        sizes = _sizes(node.op, node.in_shapes, node.shape)
        return {name: self._joined(name, size) for name, size in sizes.items()}

    def _joined(self, name: str, size: Size) -> Tensor:
        borders = self.borders[name]
        if any(number not in known for number, known in zip(size, borders, strict=True)):
            raise RuntimeError(f"{name} must have one of the shared sizes {borders}, but the network has {size}")
        rows = [_cat([getattr(self, block) for block in row], 1) for row in _used(name, borders, size)]
        weight = _cat(rows, 0)  # [channels out, everything else block after block]
        moves = _moves(borders, size, weight.device)
        if moves is not None:
            weight = _Reordered.apply(weight, *moves)
        if len(size) <= KERNEL:
            return weight.view(size)
        out, channels, height, width = size
        return weight.view(out, height, width, channels).permute(0, 3, 1, 2)  # channels last, as all weights


class _Reordered(torch.autograd.Function):
    """The columns of a matrix in another order. Backward is the reverse order, without the sums of an indexing's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(reverse)
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (reverse,) = ctx.saved_tensors
        return grad.index_select(1, reverse), None, None


def _block(name: str, position: Size) -> str:
    """The name of a block's Parameter; dots are not allowed in it."""
    return f"{name.replace('.', '_')}/{'-'.join(map(str, position))}"


@functools.lru_cache(maxsize=65536)
def _used(name: str, borders: Borders, size: Size) -> tuple[tuple[str, ...], ...]:
    """The names of the blocks of a size: a row for each group of channels out."""
    first, *rest = (range(numbers.index(number) + 1) for numbers, number in zip(borders, size, strict=True))
    return tuple(tuple(_block(name, (row, *column)) for column in itertools.product(*rest)) for row in first)


@functools.lru_cache(maxsize=4096)
def _moves(borders: Borders, size: Size, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """How to bring joined columns into a weight's own order, and back. None: they are in it already.

    That order is (height, width, channels in) for a convolution.
    """
    if len(size) == 1:
        return None
    used = [range(numbers.index(number) + 1) for numbers, number in zip(borders, size, strict=True)]
    with torch.inference_mode(False):  # what is kept must also serve training
        place, start = torch.empty(size[1:], dtype=torch.int64), 0
        for position in itertools.product(*used[1:]):
            grid = tuple(indices[0] for indices in _grid(borders, (0, *position), size)[1:])
            count = grid[0].numel()
            place[grid] = torch.arange(start, start + count).view(grid[0].shape)
            start += count
        order = (place.permute(1, 2, 0) if len(size) > KERNEL else place).flatten()
        if torch.equal(order, torch.arange(len(order))):
            return None
        return order.to(device), order.argsort().to(device)


@functools.lru_cache(maxsize=4096)
def _grid(borders: Borders, position: Size, size: Size) -> tuple[Tensor, ...]:
    """Where a block lies in a weight of this size: what to index the weight with."""
    places = []
    for d, (numbers, i) in enumerate(zip(borders, position, strict=True)):
        lower, upper = numbers[i - 1] if i else 0, numbers[i]
        if d < KERNEL:
            places.append(torch.arange(lower, upper))
            continue
        inner = torch.arange((size[d] - upper) // 2, (size[d] + upper) // 2)
        half = (upper - lower) // 2  # of the ring, on either side of what it surrounds
        places.append(torch.cat([inner[:half], inner[-half:]]) if lower else inner)
    return tuple(torch.meshgrid(*places, indexing="ij"))


def _numbers(node: Node) -> int:
    """How many numbers a node's weights have."""
    return sum(map(math.prod, _sizes(node.op, node.in_shapes, node.shape).values()))


def _cat(tensors: Sequence[Tensor], dim: int) -> Tensor:
    return torch.cat(list(tensors), dim) if len(tensors) > 1 else tensors[0]


class _Own(threading.local):
    """A thread's modules without data, by operation, shapes and maker: while one runs, its weights hang on it."""

    def __init__(self) -> None:
        self.modules: dict[tuple[str, tuple[Shape, ...], Shape, Maker], nn.Module] = {}


_own = _Own()


def _bare(op: str, in_shapes: tuple[Shape, ...], shape: Shape) -> nn.Module:
    """The module of a node, with weights that have a size but no data."""
    with torch.inference_mode(False), torch.device("meta"):
        return build(Node(op, (), "", in_shapes, shape), running=False)


@functools.lru_cache(maxsize=65536)
def _sizes(op: str, in_shapes: tuple[Shape, ...], shape: Shape) -> dict[str, Size]:
    return {name: tuple(weight.shape) for name, weight in _bare(op, in_shapes, shape).named_parameters()}
