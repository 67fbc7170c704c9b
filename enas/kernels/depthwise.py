"""Depthwise convolution whose backward pass on a CPU is about as fast as its forward pass.

oneDNN is fast in the forward pass. Its gradients fall back to slow reference code in two cases: the weights of kernels
that are wider than 3, and the input at stride 2 in bfloat16. The kernels in C++ compute both gradients, and a ReLU
before the convolution with them. Those in Python get them from oneDNN's fast cases: a 5x5 kernel is two 5x3 kernels on
shifted inputs, a stride is a stride of 1 whose skipped outputs have no gradient, and the gradient of the input at
stride 1 is a forward pass with the kernel turned round.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from enas.kernels import compiled
from enas.kernels.limits import is_foreign

COMPILED = (3, 5)  # widths of kernels in C++
WIDEST = 3  # columns of a kernel whose gradient oneDNN computes fast


def depthwise(x: Tensor, weight: Tensor, stride: int = 1, relu: bool = False) -> Tensor:
    """One k x k kernel for each channel, padded to keep the size at stride 1; k odd. ReLU before it where asked for.

    x [N, C, H, W], weight [C, 1, k, k] -> [N, C, ceil(H / stride), ceil(W / stride)]. Follows autocast.
    """
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    kernel = weight.shape[-1]
    if (
        kernel in COMPILED
        and compiled.serves(x, stride)
        and compiled.are_floats((x.shape[1], 1, kernel, kernel), weight)
    ):
        if torch.is_grad_enabled():
            return _CompiledDepthwise.apply(x, weight, stride, relu)  # type: ignore[no-any-return]
        return _compiled(x, weight, stride, relu)[0]
    if torch.is_grad_enabled() and not is_foreign(x):
        return _Depthwise.apply(F.relu(x) if relu else x, weight.to(x.dtype), stride)  # type: ignore[no-any-return]
    return depthwise_plain(x, weight.to(x.dtype), stride, relu)


def depthwise_plain(x: Tensor, weight: Tensor, stride: int = 1, relu: bool = False) -> Tensor:
    """The same by torch's own backward pass: what `depthwise` is tested against."""
    return F.conv2d(F.relu(x) if relu else x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])


def _compiled(x: Tensor, weight: Tensor, stride: int, relu: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The result, the images channels last, the weights as rounded as all is computed with them, in float32."""
    x, rounded = x.contiguous(memory_format=torch.channels_last), weight.to(x.dtype)
    weight = rounded.float()
    if stride > 1 or not relu:  # without the ReLU oneDNN is as fast, and faster at a stride
        return depthwise_plain(x, rounded, stride, relu), x, weight
    y = torch.empty_like(x)
    compiled.call("relu_depthwise", x, weight, y, *x.shape, weight.shape[-1])
    return y, x, weight


class _CompiledDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, relu: bool) -> Tensor:
        y, x, weight = _compiled(x, weight, stride, relu)
        ctx.save_for_backward(x, weight)
        ctx.options = stride, relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        sizes = *x.shape, weight.shape[-1], *ctx.options
        compiled.call("depthwise_backward", grad, x, weight, grad_x, grad_weight, *sizes)
        return grad_x, grad_weight, None, None


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return depthwise_plain(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(x, weight, grad, ctx.stride)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, weight, grad, ctx.stride)
        return grad_x, grad_weight, None


def input_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> Tensor:
    """The gradient of x, of which only shape and layout are read, from that of the output."""
    if stride > 1 and x.dtype != torch.bfloat16:
        return _backward(x, weight, grad, stride, (weight.shape[-1] // 2,) * 2, 0)
    if stride > 1:
        spread = torch.zeros_like(x)  # as large as the output would be at stride 1
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    return depthwise_plain(grad, weight.flip(2, 3))


def _weight_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> Tensor:
    kernel = weight.shape[-1]
    rows, outer = kernel // 2, kernel - WIDEST
    if outer <= 0:
        return _backward(x, weight, grad, stride, (rows, rows), 1)
    padded = F.pad(x, (rows, rows))
    width = stride * (grad.shape[3] - 1) + WIDEST
    result = torch.empty_like(weight)
    for column in (0, outer):  # where the two overlap they agree
        part = padded[:, :, :, column : column + width].contiguous(memory_format=torch.channels_last)
        taps = result[:, :, :, column : column + WIDEST]
        taps.copy_(_backward(part, taps, grad, stride, (rows, 0), 1))
    return result


def _backward(x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: tuple[int, int], wanted: int) -> Tensor:
    """oneDNN's gradient of a depthwise convolution's input (0) or weight (1), of which only the shape is then read."""
    mask = [wanted == 0, wanted == 1, False]
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], x.shape[1], mask
    )
    return gradients[wanted]  # type: ignore[no-any-return]
