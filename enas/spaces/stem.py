"""How every network begins: a 3x3 convolution, after halvings where the images are large."""

from __future__ import annotations

from enas.graph import GraphBuilder, Shape

LARGE = 64  # images of this side or more are halved until they are smaller; the spaces were drawn for 32


def stem_shape(input_shape: Shape, channels: int) -> Shape:
    """The stem's output for images of `input_shape`."""
    _, height, width = input_shape
    for _ in range(_halvings(input_shape)):
        height, width = (height + 1) // 2, (width + 1) // 2
    return channels, height, width


def add_stem(builder: GraphBuilder, channels: int, op: str = "conv_bn_3x3") -> int:
    """Add the stem, which ends with a convolution `op`; returns its position."""
    x = add_halvings(builder, channels)
    return builder.add(op, (x,), stem_shape(builder.shape(0), channels), "stem")


def add_halvings(builder: GraphBuilder, channels: int) -> int:
    """Add the halvings alone, of small images none; returns the position of the last one."""
    x = 0
    for i in range(1, _halvings(builder.shape(0)) + 1):
        _, height, width = builder.shape(x)
        shape = (channels, (height + 1) // 2, (width + 1) // 2)
        x = builder.add("conv_bn_relu_3x3", (x,), shape, f"stem/halving{i}")
    return x


def _halvings(input_shape: Shape) -> int:
    side, count = min(input_shape[1:]), 0
    while side >= LARGE:
        side, count = (side + 1) // 2, count + 1
    return count
