"""The layers that operations are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas.graph import Shape
from enas.kernels import average_pool, batch_norm, depthwise, even_and_odd_pixels, maximum_pool, strided_pixels
from enas.ops.context import Context


class BatchNorm(nn.Module):
    """Batch normalisation with one set of statistics for each stacked architecture.

    running=False (supernet): always batch statistics, nothing is tracked. running=True (network):
    as usual, batch statistics in training and running ones in evaluation.
    """

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(self, channels: int, running: bool, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels) if running else None)
        self.register_buffer("running_var", torch.ones(channels) if running else None)

    def forward(self, x: Tensor, context: Context, relu: bool = False, reuse: bool = False) -> Tensor:
        """The norm of x [G*N, C, H, W], and ReLU where asked for. reuse: x may be overwritten, as nobody else
        reads it."""
        if context.groups > 1:
            return torch.cat([self._normalised(part, relu, reuse) for part in x.chunk(context.groups)])
        return self._normalised(x, relu, reuse)

    def _normalised(self, x: Tensor, relu: bool, reuse: bool) -> Tensor:
        running = None
        if self.running_mean is not None and self.running_var is not None:
            running = self.running_mean, self.running_var
        if self.training or running is None:
            return batch_norm(x, self.weight, self.bias, running, self.momentum, self.eps, relu, reuse)
        y = F.batch_norm(x, *running, self.weight, self.bias, eps=self.eps)
        return F.relu(y) if relu else y


class Depthwise(nn.Conv2d):
    """k x k convolution of each channel by itself, after a ReLU where asked for."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        return depthwise(x, self.weight, self.stride[0], relu)


class StridedConv(nn.Conv2d):
    """A convolution at a stride; a 1x1 convolution reads every second pixel itself.

    Given the stride, oneDNN computes a wrong gradient of 1x1 weights and writes beyond its memory, for a few channels
    in float32 with one thread on a processor with AVX2 alone (torch 2.14: jit_1x1:avx2, backward_weights).
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return super().forward(x)
        return F.conv2d(strided_pixels(x, self.stride[0]), self.weight)


class Halving(nn.Module):
    """Halves the resolution: 1x1 convolutions of the pixels in even and in odd rows and columns, joined.

    An odd side is rounded up; what the odd pixels then lack is zero.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.even = conv(in_channels, out_channels // 2, 1)
        self.odd = conv(in_channels, out_channels - out_channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        even, odd = even_and_odd_pixels(x)
        if height % 2 or width % 2:
            odd = F.pad(odd, (0, width % 2, 0, height % 2))
        return torch.cat([self.even(even), self.odd(odd)], dim=1)


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    kind = nn.Conv2d if stride == 1 else StridedConv
    return kind(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)


def pointwise(in_shape: Shape, shape: Shape) -> nn.Module:
    """1x1 convolution to `shape`, halving the resolution where that is asked for."""
    if stride_between(in_shape, shape) == 2:
        return Halving(in_shape[0], shape[0])
    return conv(in_shape[0], shape[0], 1)


def stride_between(in_shape: Shape, shape: Shape) -> int:
    """The stride that leads from one resolution to the other."""
    return -(-in_shape[1] // shape[1])


def pool(x: Tensor, stride: int, maximum: bool) -> Tensor:
    """3x3 average or maximum of x [N, C, H, W]; padding never counts."""
    return maximum_pool(x, stride) if maximum else average_pool(x, stride)
