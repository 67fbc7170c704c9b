"""Operations of the macro space (ENAS section 2.3), and of residual networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from enas.graph import Shape
from enas.kernels import relu, total
from enas.ops.context import Context
from enas.ops.layers import BatchNorm, Depthwise, Halving, conv, pool, stride_between


class ConvNorm(nn.Module):
    """k x k convolution, batch norm, and ReLU where asked for; the stride follows from the shapes."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int, relu: bool) -> None:
        super().__init__()
        self.conv = conv(in_shapes[0][0], shape[0], kernel, stride_between(in_shapes[0], shape))
        self.norm = BatchNorm(shape[0], running)
        self.relu = relu

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.norm(self.conv(x), context, self.relu, reuse=True)  # type: ignore[no-any-return]


class _Projection(ConvNorm):
    """1x1 convolution, batch norm, ReLU: how every candidate operation of the macro space begins."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__(in_shapes, shape, running, kernel=1, relu=True)


class Conv(nn.Module):
    """1x1 projection, then k x k convolution, batch norm, ReLU (authors' macro search block)."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int) -> None:
        super().__init__()
        self.project = _Projection(in_shapes, shape, running)
        self.conv = conv(shape[0], shape[0], kernel)
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.conv(self.project(x, context))
        return self.norm(x, context, relu=True, reuse=True)  # type: ignore[no-any-return]


class SepConv(nn.Module):
    """1x1 projection, then depthwise k x k and pointwise convolution, batch norm, ReLU."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int) -> None:
        super().__init__()
        self.project = _Projection(in_shapes, shape, running)
        self.depthwise = Depthwise(shape[0], kernel)
        self.pointwise = conv(shape[0], shape[0], 1)
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.depthwise(self.project(x, context))
        return self.norm(self.pointwise(x), context, relu=True, reuse=True)  # type: ignore[no-any-return]


class Pool(nn.Module):
    """1x1 projection, then 3x3 average or maximum at stride 1; padding never counts."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, maximum: bool) -> None:
        super().__init__()
        self.project = _Projection(in_shapes, shape, running)
        self.maximum = maximum

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return pool(self.project(x, context), 1, self.maximum)


class SumNorm(nn.Module):
    """The sum of the inputs, then batch norm, and ReLU where asked for: how a layer of the macro space takes in
    its skips."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, relu: bool = False) -> None:
        super().__init__()
        self.norm = BatchNorm(shape[0], running)
        self.relu = relu

    def forward(self, *inputs: Tensor, context: Context) -> Tensor:
        return self.norm(total(inputs), context, self.relu, reuse=len(inputs) > 1)  # type: ignore[no-any-return]


class SumRelu(nn.Module):
    """The sum of the inputs, then ReLU: the end of a residual block."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()

    def forward(self, *inputs: Tensor, context: Context) -> Tensor:
        return relu(total(inputs))


class PaddedShortcut(nn.Module):
    """Every second pixel, and zeros for the channels that the input lacks (He et al. 2016, option A)."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        missing = shape[0] - in_shapes[0][0]
        self.before, self.after = missing // 2, missing - missing // 2

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class FactorizedReduction(nn.Module):
    """Halves the resolution without losing every second pixel, then batch norm."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.halve = Halving(in_shapes[0][0], shape[0])
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.norm(self.halve(x), context, reuse=True)  # type: ignore[no-any-return]
