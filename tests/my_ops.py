"""A user's file: a space with an operation of its own, sizes that follow from choices, and a branch."""

from __future__ import annotations

from torch import Tensor, nn

import enas
from enas.ops import Context

CHANNELS = ("4", "6")


class Squeeze(nn.Module):
    """A convolution with batch norm, weighed channel by channel by the image's own mean."""

    def __init__(self, in_shapes: list[tuple[int, int, int]], shape: tuple[int, int, int], running: bool, k: int):
        super().__init__()
        self.conv = nn.Conv2d(in_shapes[0][0], shape[0], k, padding=k // 2, bias=False)
        self.norm = enas.BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        y = self.norm(self.conv(x), context)
        return y * y.mean((2, 3), keepdim=True).sigmoid()


enas.register_op("squeeze", Squeeze)


class Branches(enas.CustomSpace):
    name = "branches"

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, width: int = 4) -> None:
        super().__init__(input_shape, num_classes)
        self.width = width
        self.decisions = [
            enas.Decision("left/op", ("squeeze:1", "squeeze:3", "conv_bn_3x3"), "op", 0),
            enas.Decision("left/channels", CHANNELS, "channels", 0, (), 0, (2,)),
            enas.Decision("right/op", ("squeeze:1", "squeeze:3", "conv_bn_3x3"), "op", 1),
        ]

    def graph(self, arch: enas.Architecture) -> enas.Graph:
        chosen, builder = self.chosen(arch), enas.GraphBuilder(self.input_shape)
        x = enas.add_stem(builder, self.width)
        shape = builder.shape(x)
        op = chosen["left/op"]
        middle = (int(chosen["left/channels"]), *shape[1:])
        left = builder.add(op, [x], middle, f"left/{op.replace(':', '_')}")
        left = builder.add("conv_bn_1x1", [left], shape, "left/out")
        right = builder.add(chosen["right/op"], [x], shape, f"right/{chosen['right/op'].replace(':', '_')}")
        both = builder.add("sum", [left, right], shape)
        builder.add("classifier", [both], (self.num_classes, 1, 1), "classifier")
        return builder.graph()
