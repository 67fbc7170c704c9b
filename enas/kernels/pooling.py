"""3x3 pooling, which torch's channels-last kernels do slowly on a CPU.

In C++ three columns are joined first, then three lines. In Python an average is a depthwise convolution with ones, and
a maximum is the maximum of whole tensors, of three columns, then of three rows. The gradient of a maximum goes to the
first pixel, row by row, that is the largest, as torch's does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from enas.kernels import compiled
from enas.kernels.depthwise import depthwise_plain, input_gradient
from enas.kernels.limits import is_left_to_torch

KERNEL = 3
DIMENSIONS = (3, 2)  # columns, then rows
AWKWARD = 8  # channels beyond a multiple of so many cost torch's bfloat16 maxima most of their time


def average_pool(x: Tensor, stride: int = 1) -> Tensor:
    """Means over 3x3 pixels of x [N, C, H, W], padded to keep the size at stride 1; padding does not count."""
    if compiled.serves(x, stride):
        return _CompiledPool.apply(x, stride, False)  # type: ignore[no-any-return]
    if is_left_to_torch(x):
        return average_pool_plain(x, stride)
    return _Average.apply(x, stride)  # type: ignore[no-any-return]


def average_pool_plain(x: Tensor, stride: int = 1) -> Tensor:
    """The same by torch's own kernel: what `average_pool` is tested against."""
    return F.avg_pool2d(x, KERNEL, stride, KERNEL // 2, count_include_pad=False)


def maximum_pool(x: Tensor, stride: int = 1) -> Tensor:
    """Maxima over 3x3 pixels of x [N, C, H, W], padded to keep the size at stride 1; padding does not count."""
    if compiled.serves(x, stride):
        return _CompiledPool.apply(x, stride, True)  # type: ignore[no-any-return]
    learns = torch.is_grad_enabled() and x.requires_grad
    # torch's backward pass is the faster one, its forward pass is not: by too much where few channels fit a vector
    awkward = x.dtype == torch.bfloat16 and x.shape[1] % AWKWARD > 0 and stride == 1
    if is_left_to_torch(x) or (learns and not awkward):
        return maximum_pool_plain(x, stride)
    for dim in DIMENSIONS:
        x = _MaximumOfThree.apply(x, dim) if learns else _maximum_of_three(x, dim, stride)
    return x


def maximum_pool_plain(x: Tensor, stride: int = 1) -> Tensor:
    """The same by torch's own kernel: what `maximum_pool` is tested against."""
    return F.max_pool2d(x, KERNEL, stride, KERNEL // 2)


class _CompiledPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, maximum: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.options = stride, maximum
        ctx.save_for_backward(x)  # of an average its shape: what comes before it keeps it anyway
        n, channels, height, width = x.shape
        size = n, channels, -(-height // stride), -(-width // stride)
        y = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        compiled.call("maximum_pool" if maximum else "average_pool", x, y, *x.shape, stride)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        stride, maximum = ctx.options
        grad, grad_x = grad.contiguous(memory_format=torch.channels_last), torch.empty_like(x)
        if maximum:
            compiled.call("maximum_pool_backward", grad, x, grad_x, *x.shape, stride)
        else:
            compiled.call("average_pool_backward", grad, grad_x, *x.shape, stride)
        return grad_x, None, None


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        ctx.stride = stride
        ctx.save_for_backward(x)  # for its shape and layout: what comes before it keeps it anyway
        with torch.autocast("cpu", enabled=False):  # which leaves pooling alone, unlike convolutions
            return _divide(depthwise_plain(x, _ones(x), stride), x.shape, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return input_gradient(x, _ones(x), _divide(grad.clone(), x.shape, ctx.stride), ctx.stride), None


def _ones(x: Tensor) -> Tensor:
    return x.new_ones(x.shape[1], 1, KERNEL, KERNEL)


def _divide(sums: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """Sums over windows as means, in place. shape: that of the images."""
    sums.mul_(1 / KERNEL**2)
    for dim in DIMENSIONS:
        for i in {0, sums.shape[dim] - 1}:  # the others have no padding
            first, after = max(0, stride * i - 1), min(shape[dim], stride * i + 2)
            if after - first < KERNEL:
                sums.select(dim, i).mul_(KERNEL / (after - first))
    return sums


def _maximum_of_three(x: Tensor, dim: int, stride: int) -> Tensor:
    """The maximum of each number that a stride reaches and its two neighbours along one dimension."""
    before, at, after = _neighbours(x, dim, stride)
    result = at.clone()
    for part, place in ((before, _with_before(result, before, dim)), (after, _with_after(result, after, dim))):
        torch.maximum(place, part, out=place)
    return result


class _MaximumOfThree(torch.autograd.Function):
    """The same at stride 1, with a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        result = _maximum_of_three(x, dim, 1)
        ctx.save_for_backward(x, result)
        ctx.dim = dim
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, result = ctx.saved_tensors
        dim = ctx.dim
        before, at, after = _neighbours(x, dim, 1)
        # the first one that is as large as the result takes the gradient, the others what it leaves
        taken = _where_equal(_with_before(grad, before, dim), before, _with_before(result, before, dim))
        rest = grad.clone()
        _with_before(rest, before, dim).sub_(taken)
        grad_x = _where_equal(rest, at, result)
        rest.sub_(grad_x)
        to_before, _, to_after = _neighbours(grad_x, dim, 1)
        to_before.add_(taken)
        to_after.add_(_with_after(rest, after, dim))
        return grad_x, None


def _where_equal(grad: Tensor, part: Tensor, result: Tensor) -> Tensor:
    """The gradient where a part is its maximum, else 0: without a tensor of bools, whose kernels are not vectorised."""
    return torch.ops.aten.threshold_backward(grad, part - result, -1e-38)  # type: ignore[no-any-return]


def _neighbours(x: Tensor, dim: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of the numbers before, at and after the places that a stride reaches. The first place has none before it,
    the last may have none after it."""
    places = -(-x.shape[dim] // stride)
    rest: tuple[slice, ...] = (slice(None),) * dim
    before = x[(*rest, slice(stride - 1, stride * (places - 1), stride))]
    return before, x[(*rest, slice(0, None, stride))], x[(*rest, slice(1, None, stride))]


def _with_before(places: Tensor, before: Tensor, dim: int) -> Tensor:
    """The places that have a number before them."""
    return places.narrow(dim, places.shape[dim] - before.shape[dim], before.shape[dim])


def _with_after(places: Tensor, after: Tensor, dim: int) -> Tensor:
    """The places that have a number after them."""
    return places.narrow(dim, 0, after.shape[dim])
