"""Depthwise convolution whose backward pass is as fast as its forward pass, also in bfloat16 on a CPU.

oneDNN's bfloat16 gradients of depthwise convolutions fall back to slow reference code in two cases: the
weights of 5x5 kernels, and the input at stride 2. Both can be had from fast cases: the taps of a 5x5
kernel are those of four 3x3 kernels on shifted inputs, and a stride is a stride of 1 whose skipped outputs
have no gradient. Forward and backward pass of 128 images of 16x32x32 on two cores of an AMD EPYC, torch
2.14 (benchmarks/depthwise.py): 5x5 26 ms by torch, 6.0 ms here; 3x3 at stride 2 15 ms and 1.3 ms.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CORNERS = ((0, 0), (0, 2), (2, 0), (2, 2))  # first row and column of the 3x3 kernels that cover a 5x5 kernel


def depthwise(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """One k x k kernel for each channel, padded to keep the size at stride 1; k odd.

    x [N, C, H, W], weight [C, 1, k, k] -> [N, C, ceil(H / stride), ceil(W / stride)]. Follows autocast.
    """
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        x, weight = x.to(kind), weight.to(kind)
    if x.device.type == "cpu" and x.dtype == torch.bfloat16 and torch.is_grad_enabled():
        return _Depthwise.apply(x, weight, stride)  # type: ignore[no-any-return]
    return depthwise_plain(x, weight, stride)


def depthwise_plain(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """The same by torch's own backward pass: what `depthwise` is tested against."""
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, weight.shape[0])


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
            grad_x = _input_gradient(x, weight, grad, ctx.stride)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, weight, grad, ctx.stride)
        return grad_x, grad_weight, None


def _input_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> Tensor:
    if stride > 1:
        spread = torch.zeros_like(x)  # as large as the output would be at stride 1
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    return _backward(x, weight, grad, 1, weight.shape[-1] // 2, (True, False))[0]


def _weight_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> Tensor:
    if weight.shape[-1] != 5:
        return _backward(x, weight, grad, stride, weight.shape[-1] // 2, (False, True))[1]
    padded = F.pad(x, (2, 2, 2, 2))
    height, width = (stride * (size - 1) + 3 for size in grad.shape[2:])
    result = torch.empty_like(weight)
    for row, column in _CORNERS:  # where two overlap they agree
        part = padded[:, :, row : row + height, column : column + width]
        taps = result[:, :, row : row + 3, column : column + 3]
        taps.copy_(_backward(part, taps, grad, stride, 0, (False, True))[1])
    return result


def _backward(
    x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Gradients of a depthwise convolution: of the input and of the weight, where wanted."""
    by_input, by_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], x.shape[1], [*wanted, False]
    )
    return by_input, by_weight
