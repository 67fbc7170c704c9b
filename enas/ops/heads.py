"""Classifiers: from features to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from enas.graph import Shape
from enas.kernels import relu
from enas.ops.context import Context
from enas.ops.layers import BatchNorm, conv


class Classifier(nn.Module):
    """(ReLU,) mean over the pixels, dropout, linear layer. Gives logits [G*N, classes]."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, relu: bool = False) -> None:
        super().__init__()
        self.relu = relu
        self.linear = nn.Linear(in_shapes[0][0], shape[0])

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.linear(features(relu(x) if self.relu else x, context))  # type: ignore[no-any-return]


class AuxiliaryClassifier(nn.Module):
    """A second classifier on an inner node, for training alone: a shorter way for the gradient
    (authors' micro network, where its own weights are left out of the optimiser)."""

    def __init__(self, shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(shape[0], 128, 1), BatchNorm(128, running=False)
        # the authors pool 5x5 at stride 3, which leaves 2x2 of their 8x8 pixels
        self.conv2, self.norm2 = nn.Conv2d(128, 768, 2, bias=False), BatchNorm(768, running=False)
        self.linear = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes] of features [N, C, H, W]."""
        x = _quadrants(relu(x))
        x = self.norm1(self.conv1(x), Context(), relu=True)
        x = self.norm2(self.conv2(x), Context(), relu=True)
        return self.linear(x.flatten(1))  # type: ignore[no-any-return]


def features(x: Tensor, context: Context) -> Tensor:
    """Means over the pixels of x [G*N, C, H, W], with dropout: [G*N, C]."""
    x = x.mean(dim=(2, 3))
    if context.noise is None or not context.noise.dropout:
        return x
    mask = context.noise.mask(context.key, context.noise.dropout, (x.shape[0] // context.groups, x.shape[1]), x.device)
    return x * mask.repeat(context.groups, 1)


def _quadrants(x: Tensor) -> Tensor:
    """Means of the four quarters of x [N, C, H, W]: [N, C, 2, 2]; they share the middle of an odd side.

    What adaptive average pooling does, whose backward pass has no deterministic version on GPUs.
    """
    height, width = x.shape[2:]
    rows = slice(0, (height + 1) // 2), slice(height // 2, height)
    columns = slice(0, (width + 1) // 2), slice(width // 2, width)
    quarters = [x[:, :, row, column].mean(dim=(2, 3)) for row in rows for column in columns]
    return torch.stack(quarters, dim=-1).view(*x.shape[:2], 2, 2)
