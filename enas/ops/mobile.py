"""The inverted bottleneck of MobileNetV2 (Sandler et al. 2018), with ReLU as in NAS-Bench-Macro."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from enas.graph import Shape
from enas.ops.context import Context
from enas.ops.layers import BatchNorm, Depthwise, conv, stride_between


class MobileConv(nn.Module):
    """1x1 to `expansion` times the input's channels, depthwise k x k, 1x1; batch norm after each, ReLU after the
    first two. A stride falls to the depthwise one. The shortcut is the graph's."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int, expansion: int) -> None:
        super().__init__()
        channels = expansion * in_shapes[0][0]
        self.expand, self.norm1 = conv(in_shapes[0][0], channels, 1), BatchNorm(channels, running)
        self.depthwise = Depthwise(channels, kernel, stride_between(in_shapes[0], shape))
        self.norm2 = BatchNorm(channels, running)
        self.project, self.norm3 = conv(channels, shape[0], 1), BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.norm1(self.expand(x), context, relu=True, reuse=True)
        x = self.norm2(self.depthwise(x), context, relu=True, reuse=True)
        return self.norm3(self.project(x), context, reuse=True)  # type: ignore[no-any-return]
