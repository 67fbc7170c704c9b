"""Operations of NAS-Bench-201 (Dong & Yang 2020): those of a cell's edges, and of the blocks between stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas.graph import Shape
from enas.kernels import relu
from enas.ops.context import Context
from enas.ops.layers import BatchNorm, conv, stride_between


class ReluConvNorm(nn.Module):
    """ReLU, k x k convolution, batch norm; the stride follows from the shapes."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int) -> None:
        super().__init__()
        self.conv = conv(in_shapes[0][0], shape[0], kernel, stride_between(in_shapes[0], shape))
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.norm(self.conv(relu(x)), context, reuse=True)  # type: ignore[no-any-return]


class Zero(nn.Module):
    """Zeros in the shape of the input, which gets no gradient: what lies behind it alone does not train."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return torch.zeros_like(x)  # not x * 0, which is no number where x is infinite


class PooledShortcut(nn.Module):
    """The mean of 2x2 pixels, then a 1x1 convolution; at the end of an odd side the mean of those that there are."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.pointwise = conv(in_shapes[0][0], shape[0], 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        halved = F.avg_pool2d(x, 2, 2, ceil_mode=True)
        return self.pointwise(halved)  # type: ignore[no-any-return]
