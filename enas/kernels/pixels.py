"""Every k-th pixel, with a backward pass that keeps the memory layout.

The gradient of a slice is made of zeros in torch's default layout, whatever the layout of what was cut: next to
channels-last tensors each sum of gradients is then a transposition, several times as long as the convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from enas.kernels import compiled
from enas.kernels.limits import are_off


def strided_pixels(x: Tensor, stride: int) -> Tensor:
    """x [N, C, H, W] -> [N, C, ceil(H / stride), ceil(W / stride)]: what a 1x1 kernel reads at this stride."""
    if stride == 1:
        return x
    if are_off():
        return x[:, :, ::stride, ::stride]
    return _Pixels.apply(x, stride, (0,))[0]  # type: ignore[no-any-return]


def even_and_odd_pixels(x: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels in even rows and columns (from 0) [N, C, ceil(H / 2), ceil(W / 2)], and those in odd ones, rounded
    down."""
    if are_off():
        return x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]
    return _Pixels.apply(x, 2, (0, 1))  # type: ignore[no-any-return]


class _Pixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, starts: tuple[int, ...]) -> tuple[Tensor, ...]:
        ctx.stride, ctx.starts, ctx.shape = stride, starts, x.shape
        last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        ctx.set_materialize_grads(False)
        if last and compiled.serves(x):
            return tuple(_compiled(x, stride, start) for start in starts)
        return tuple(x[:, :, start::stride, start::stride].contiguous(memory_format=ctx.layout) for start in starts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        known = [(start, grad) for start, grad in zip(ctx.starts, grads, strict=True) if grad is not None]
        if not known:
            return None, None, None
        first = known[0][1]
        result = torch.empty(ctx.shape, dtype=first.dtype, device=first.device, memory_format=ctx.layout)
        if ctx.layout == torch.channels_last and compiled.serves(result):
            dense = {start: grad.contiguous(memory_format=torch.channels_last) for start, grad in known}
            compiled.call("pixels_backward", result, dense.get(0), dense.get(1), *ctx.shape, ctx.stride)
            return result, None, None
        result.zero_()
        for start, grad in known:
            result[:, :, start :: ctx.stride, start :: ctx.stride] = grad
        return result, None, None


def _compiled(x: Tensor, stride: int, start: int) -> Tensor:
    """The pixels from `start` on, 0 or 1, channels last."""
    n, channels, height, width = x.shape
    size = n, channels, -(-(height - start) // stride), -(-(width - start) // stride)
    y = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
    compiled.call("pixels", x, y, *x.shape, stride, start)
    return y
