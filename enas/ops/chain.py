"""Operations of the chain space (Zoph & Le 2017): a convolution of joined inputs as the sum of one for each input.

Each has one input's weights, so that what is shared, counted and inherited goes by input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas.graph import Shape
from enas.kernels import total
from enas.ops.context import Context
from enas.ops.heads import features
from enas.ops.layers import StridedConv, pool


class RectConv(StridedConv):
    """height x width convolution (odd sizes) at a stride, nothing else: sizes are divided and rounded up."""

    # Batch norm cancels the scale of these weights, but the smaller they are the further a step turns them, and shared
    # ones have few steps each. Space of preset `quick`, digits, 400 steps of 2 architectures, means of three seeds: 20
    # uniform architectures reach 0.63 proxy accuracy; without `MeanLinear.gain` 0.54, without both 0.35. Networks on
    # their own reach the same with and without.
    gain = 0.3

    def __init__(
        self, in_shapes: Sequence[Shape], shape: Shape, running: bool, height: int, width: int, stride: int
    ) -> None:
        padding = (height // 2, width // 2)
        super().__init__(in_shapes[0][0], shape[0], (height, width), stride, padding, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class HalvingPool(nn.Module):
    """3x3 maximum at stride 2; padding never counts."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return pool(x, 2, maximum=True)


class Pad(nn.Module):
    """Zeros on the right and below, up to the output's size."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.below, self.right = shape[1] - in_shapes[0][1], shape[2] - in_shapes[0][2]

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return F.pad(x, (0, self.right, 0, self.below))


class MeanLinear(nn.Linear):
    """Mean over the pixels, dropout, linear layer without bias: what one loose end adds. [G*N, units]."""

    gain = 0.1  # the ends add up, however many they are: each begins by adding little

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__(in_shapes[0][0], shape[0], bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        return super().forward(features(x, context))


class SumBias(nn.Module):
    """The sum of the inputs, [G*N, units] with or without a pixel's two dimensions, and a bias. [G*N, units]."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape[0]))

    def forward(self, *inputs: Tensor, context: Context) -> Tensor:
        return total(inputs).flatten(1) + self.bias


class ReluLinear(nn.Linear):
    """ReLU and a linear layer: from a hidden layer's units, as in `SumBias`, to logits [G*N, classes]."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__(in_shapes[0][0], shape[0])

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        return super().forward(F.relu(x.flatten(1)))
