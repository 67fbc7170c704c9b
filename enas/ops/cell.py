"""Operations of cells (ENAS section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from enas.graph import Shape
from enas.kernels import relu, total
from enas.ops.context import Context
from enas.ops.layers import BatchNorm, Depthwise, conv, pointwise, pool, stride_between


class CellInput(nn.Module):
    """ReLU, 1x1 convolution, batch norm: brings a cell's input to the cell's channels and resolution."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.pointwise = pointwise(in_shapes[0], shape)
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.norm(self.pointwise(relu(x)), context, reuse=True)  # type: ignore[no-any-return]


class CellSepConv(nn.Module):
    """(ReLU, depthwise k x k, pointwise, batch norm) twice; a stride falls to the first."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int) -> None:
        super().__init__()
        self.depthwise1 = Depthwise(in_shapes[0][0], kernel, stride_between(in_shapes[0], shape))
        self.pointwise1 = conv(in_shapes[0][0], shape[0], 1)
        self.norm1 = BatchNorm(shape[0], running)
        self.depthwise2 = Depthwise(shape[0], kernel)
        self.pointwise2 = conv(shape[0], shape[0], 1)
        self.norm2 = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.norm1(self.pointwise1(self.depthwise1(x, relu=True)), context, relu=True, reuse=True)
        return self.norm2(self.pointwise2(self.depthwise2(x)), context, reuse=True)  # type: ignore[no-any-return]


class CellPool(nn.Module):
    """3x3 average or maximum, stride 1 or 2; padding never counts."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, maximum: bool) -> None:
        super().__init__()
        self.stride, self.maximum = stride_between(in_shapes[0], shape), maximum

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return pool(x, self.stride, self.maximum)


class Sum(nn.Module):
    """The sum of the inputs."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()

    def forward(self, *inputs: Tensor, context: Context) -> Tensor:
        return total(inputs)


class LooseEnd(nn.Module):
    """ReLU and a 1x1 convolution: one node's share in its cell's output. The shares are summed and
    normalised, which is the authors' 1x1 convolution of the concatenated loose ends, with the weights
    of each node apart."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.pointwise = pointwise(in_shapes[0], shape)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.pointwise(relu(x))  # type: ignore[no-any-return]
