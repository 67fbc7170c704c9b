"""Batch norm by the batch's statistics, with the ReLU that may follow, whose cost on a CPU does not depend on the
number of channels.

torch's channels-last kernels go over the channels of one pixel at a time: with 36 channels that fills no vector of
32 bfloat16 numbers, and the backward pass of two threads takes up to ten times as long as that of one. The same
numbers, read as rows of several pixels each, are the same problem with more channels, a multiple of a vector's
length. Only the statistics have to be brought together again: sums of a few hundred numbers. The kernels in C++ read
them so, twice in each direction; those in Python have torch's kernels do it, in more passes over memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from enas.kernels import compiled
from enas.kernels.limits import VECTOR, is_easy, is_left_to_torch

ROW = 128  # a row should have so many numbers at least: below it is the kernels' overhead that takes the time
NEARLY_ZERO = 1e-30  # added to a variance of 1, as some releases of torch refuse an eps of 0


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
    reuse: bool = False,
) -> Tensor:
    """x [N, C, H, W] normalised by its own mean and variance, scaled by weight [C] and shifted by bias [C], and ReLU
    where asked for. running: mean and variance [C] that are moved towards the batch's by `momentum`. reuse: nobody
    else reads x, so the result may take its place where no gradient is asked for."""
    vectors = (weight, bias, *(running or ()))
    several = x.numel() > x.shape[1]  # of one number there is no variance, as torch says
    if several and compiled.serves(x) and compiled.are_floats((x.shape[1],), *vectors):
        if torch.is_grad_enabled():
            return _CompiledBatchNorm.apply(x, weight, bias, running, momentum, eps, relu)  # type: ignore[no-any-return]
        return _compiled(x, weight, bias, running, momentum, eps, relu, reuse)[0]
    if is_left_to_torch(x) or is_easy(x):
        return batch_norm_plain(x, weight, bias, running, momentum, eps, relu)
    if torch.is_grad_enabled():
        return _BatchNorm.apply(x, weight, bias, running, momentum, eps, relu)  # type: ignore[no-any-return]
    rows = _rows(x)
    y, *_ = _normalised(rows, weight, bias, running, momentum, eps, relu, rows if reuse else None)
    return _image(y, x)


def batch_norm_plain(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> Tensor:
    """The same by torch's own kernels: what `batch_norm` is tested against."""
    mean, variance = running or (None, None)
    y = F.batch_norm(x, mean, variance, weight, bias, True, momentum, eps)
    return F.relu(y) if relu else y


def _compiled(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    eps: float,
    relu: bool,
    reuse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The result, the images channels last, the mean and 1 / standard deviation [C]."""
    x = x.contiguous(memory_format=torch.channels_last)
    y = x if reuse else torch.empty_like(x)
    channels = x.shape[1]
    mean, inverse = weight.new_empty(2, channels)
    sizes = x.numel() // channels, channels
    compiled.call(
        "batch_norm", x, y, weight, bias, *(running or (None, None)), mean, inverse, *sizes, momentum, eps, relu
    )
    return y, x, mean, inverse


class _CompiledBatchNorm(torch.autograd.Function):
    """Keeps the images alone: where the ReLU cut is computed again."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor] | None,
        momentum: float,
        eps: float,
        relu: bool,
    ) -> Tensor:
        y, x, mean, inverse = _compiled(x, weight, bias, running, momentum, eps, relu, False)
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.relu = relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight, grad_bias = torch.empty_like(weight), torch.empty_like(bias)
        sizes = x.numel() // len(weight), len(weight)
        gradients = grad_weight, grad_bias
        compiled.call("batch_norm_backward", grad, x, grad_x, weight, bias, mean, inverse, *gradients, *sizes, ctx.relu)
        return grad_x, grad_weight, grad_bias, None, None, None, None


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor] | None,
        momentum: float,
        eps: float,
        relu: bool,
    ) -> Tensor:
        y, mean, inverse = _normalised(_rows(x), weight, bias, running, momentum, eps, relu)
        y = _image(y, x)
        ctx.save_for_backward(x, weight, mean, inverse, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, y = ctx.saved_tensors
        x_rows, rows = _rows(x), _rows(grad)
        if y is not None:
            rows = torch.ops.aten.threshold_backward(rows, _rows(y), 0)
        grad_weight, grad_bias = _sums(rows, x_rows, mean)
        grad_weight = grad_weight * inverse
        grad_x = None
        if ctx.needs_input_grad[0]:
            count = x.numel() // len(weight)
            # one rounding for all three terms, so that the gradient stays orthogonal to what the norm takes away
            scale = (weight * inverse).to(x.dtype)
            by_x = -scale.to(inverse) * inverse * grad_weight / count
            constant = -scale.to(inverse) * grad_bias / count - by_x * mean
            grad_x = _image(_affine(x_rows, by_x, constant).addcmul_(rows, _repeated(scale, rows)), x)
        return grad_x, grad_weight, grad_bias, None, None, None, None


def _normalised(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    eps: float,
    relu: bool,
    into: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The result as rows, written to `into` if that is given; the mean and 1 / standard deviation [C]."""
    mean, variance = _moments(rows, len(weight))
    if running is not None:
        count = rows.numel() // len(weight)
        running[0].lerp_(mean, momentum)
        running[1].lerp_(variance * (count / (count - 1)), momentum)  # unbiased, as torch's
    inverse = torch.rsqrt(variance + eps)
    scale = weight * inverse
    y = _affine(rows, scale, bias - mean * scale, into)
    return (y.relu_() if relu else y), mean, inverse


def _rows(x: Tensor) -> Tensor:
    """x [N, C, H, W] as a matrix, each row several pixels with their channels [N*H*W / k, k*C]."""
    pixels, channels = x.numel() // x.shape[1], x.shape[1]
    k = 1
    while (k * channels < ROW or k * channels % VECTOR) and k < VECTOR and pixels % (2 * k) == 0:
        k *= 2
    return x.permute(0, 2, 3, 1).reshape(-1, k * channels)


def _image(rows: Tensor, like: Tensor) -> Tensor:
    """Rows as a tensor of the shape [N, C, H, W] of another, channels last."""
    n, channels, height, width = like.shape
    return rows.view(n, height, width, channels).permute(0, 3, 1, 2)


def _repeated(values: Tensor, rows: Tensor) -> Tensor:
    """Values of the channels [C] for each number of a row."""
    # `repeat` takes ten times as long; of one channel reshaping makes a view, which the kernels do not like
    return values.expand(rows.shape[1] // len(values), -1).reshape(-1).contiguous()


def _moments(rows: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel [C], in float32."""
    # the kernel's results have the type of running statistics, so it is given some, which nobody reads
    unused = rows.new_zeros(2, rows.shape[1], dtype=torch.promote_types(rows.dtype, torch.float32))
    means, variances = torch.ops.aten.batch_norm_update_stats(rows, unused[0], unused[1], 0.0)
    means, variances = means.view(-1, channels), variances.view(-1, channels)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


def _affine(rows: Tensor, scale: Tensor, shift: Tensor, into: Tensor | None = None) -> Tensor:
    """rows * scale + shift, with the channels' scale and shift [C] in float32; `into` may be the rows themselves."""
    # as a norm by statistics that are 0 and 1; no expanded ones, for which the kernel is ten times as slow
    zero, one = scale.new_zeros(rows.shape[1]), scale.new_ones(rows.shape[1])
    scale, shift = _repeated(scale, rows), _repeated(shift, rows)
    if into is None:
        return F.batch_norm(rows, zero, one, scale, shift, False, 0.0, NEARLY_ZERO)
    unused = scale.new_empty(0)
    torch.ops.aten.native_batch_norm.out(
        rows, scale, shift, zero, one, False, 0.0, NEARLY_ZERO, out=into, save_mean=unused, save_invstd=unused
    )
    return into


def _sums(grad: Tensor, rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """For each channel the sums of grad * (x - mean) and of grad [C], in float32."""
    means, ones = _repeated(mean, rows), mean.new_ones(rows.shape[1])
    _, products, sums = torch.ops.aten.native_batch_norm_backward(
        grad, rows, ones, means, ones, means, ones, False, 0.0, (False, True, True)
    )
    return products.view(-1, len(mean)).sum(0), sums.view(-1, len(mean)).sum(0)
