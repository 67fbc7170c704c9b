"""The operations that graphs are made of: one module class each, used by supernet and network alike.

An operation is built from its input shapes and its output shape alone. `forward(*inputs, context)`
takes tensors [G*N, C, H, W]: G architectures that use the same weights on N images each, stacked.
Everything but batch norm and dropout treats the images independently, so only those look at G.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas.graph import Node, Shape


@dataclass(frozen=True)
class Noise:
    """Dropout for one pass. Masks depend on (seed, weight key, image) alone, so they are the same
    whether an architecture runs alone or merged with others."""

    rate: float
    seed: int

    def mask(self, key: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """0 or 1 / (1 - rate), of the given shape."""
        # one number below 2^32: torch's CPU generator ignores all higher bits of its seed
        generator = torch.Generator(device).manual_seed(zlib.crc32(f"{self.seed}/{key}".encode()))
        kept = torch.rand(shape, generator=generator, device=device) >= self.rate
        return kept.to(torch.float32) / (1 - self.rate)


@dataclass(frozen=True)
class Context:
    """What a pass tells its operations: G stacked architectures, and dropout (None: off)."""

    groups: int = 1
    noise: Noise | None = None


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

    def forward(self, x: Tensor, context: Context) -> Tensor:
        by_batch = self.training or self.running_mean is None
        parts = [
            F.batch_norm(
                part, self.running_mean, self.running_var, self.weight, self.bias, by_batch, self.momentum, self.eps
            )
            for part in (x.chunk(context.groups) if context.groups > 1 else (x,))
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)


class ConvNorm(nn.Module):
    """k x k convolution, batch norm, and ReLU where asked for; the stride follows from the shapes."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int, relu: bool) -> None:
        super().__init__()
        stride = -(-in_shapes[0][1] // shape[1])
        self.conv = _conv(in_shapes[0][0], shape[0], kernel, stride)
        self.norm = BatchNorm(shape[0], running)
        self.relu = relu

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.norm(self.conv(x), context)
        return F.relu(x) if self.relu else x


class _Projection(ConvNorm):
    """1x1 convolution, batch norm, ReLU: how every candidate operation of the macro space begins."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__(in_shapes, shape, running, kernel=1, relu=True)


class Conv(nn.Module):
    """1x1 projection, then k x k convolution, batch norm, ReLU (authors' macro search block)."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int) -> None:
        super().__init__()
        self.project = _Projection(in_shapes, shape, running)
        self.conv = _conv(shape[0], shape[0], kernel)
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return F.relu(self.norm(self.conv(self.project(x, context)), context))


class SepConv(nn.Module):
    """1x1 projection, then depthwise k x k and pointwise convolution, batch norm, ReLU."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, kernel: int) -> None:
        super().__init__()
        self.project = _Projection(in_shapes, shape, running)
        self.depthwise = _conv(shape[0], shape[0], kernel, groups=shape[0])
        self.pointwise = _conv(shape[0], shape[0], 1)
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.depthwise(self.project(x, context))
        return F.relu(self.norm(self.pointwise(x), context))


class Pool(nn.Module):
    """1x1 projection, then 3x3 average or maximum at stride 1; padding never counts."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool, *, maximum: bool) -> None:
        super().__init__()
        self.project = _Projection(in_shapes, shape, running)
        self.maximum = maximum

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.project(x, context)
        if self.maximum:
            return F.max_pool2d(x, 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class SumNorm(nn.Module):
    """The sum of the inputs, then batch norm: how a layer of the macro space takes in its skips."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.norm = BatchNorm(shape[0], running)

    def forward(self, *inputs: Tensor, context: Context) -> Tensor:
        return self.norm(_sum(inputs), context)  # type: ignore[no-any-return]


class SumRelu(nn.Module):
    """The sum of the inputs, then ReLU: the end of a residual block."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()

    def forward(self, *inputs: Tensor, context: Context) -> Tensor:
        return F.relu(_sum(inputs))


class PaddedShortcut(nn.Module):
    """Every second pixel, and zeros for the channels that the input lacks (He et al. 2016, option A)."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        missing = shape[0] - in_shapes[0][0]
        self.before, self.after = missing // 2, missing - missing // 2

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class FactorizedReduction(nn.Module):
    """Halves the resolution: two 1x1 convolutions of stride 2, the second shifted by one pixel, joined,
    then batch norm. An odd side is rounded up."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        first = shape[0] // 2
        self.even = _conv(in_shapes[0][0], first, 1, stride=2)
        self.odd = _conv(in_shapes[0][0], shape[0] - first, 1, stride=2)
        self.norm = BatchNorm(shape[0], running)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        shifted = F.pad(x, (-1, 1, -1, 1))  # drops the first row and column, adds zeros at the end
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1), context)  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """Mean over the pixels, dropout, linear layer. Gives logits [G*N, classes]."""

    def __init__(self, in_shapes: Sequence[Shape], shape: Shape, running: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(in_shapes[0][0], shape[0])

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = x.mean(dim=(2, 3))  # [G*N, C]
        if context.noise is not None:
            images = x.shape[0] // context.groups
            mask = context.noise.mask("classifier", (images, x.shape[1]), x.device)
            x = x * mask.repeat(context.groups, 1)
        return self.linear(x)  # type: ignore[no-any-return]


def _sum(inputs: Sequence[Tensor]) -> Tensor:
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return total


OPS: dict[str, Callable[[Sequence[Shape], Shape, bool], nn.Module]] = {
    "conv_3x3": functools.partial(Conv, kernel=3),
    "conv_5x5": functools.partial(Conv, kernel=5),
    "sep_conv_3x3": functools.partial(SepConv, kernel=3),
    "sep_conv_5x5": functools.partial(SepConv, kernel=5),
    "avg_pool_3x3": functools.partial(Pool, maximum=False),
    "max_pool_3x3": functools.partial(Pool, maximum=True),
    "sum_norm": SumNorm,
    "factorized_reduction": FactorizedReduction,
    "classifier": Classifier,
    "conv_bn_3x3": functools.partial(ConvNorm, kernel=3, relu=False),
    "conv_bn_relu_3x3": functools.partial(ConvNorm, kernel=3, relu=True),
    "padded_shortcut": PaddedShortcut,
    "sum_relu": SumRelu,
}


def build(node: Node, running: bool) -> nn.Module:
    """The module of one node. running: keep running statistics for batch norm (network, not supernet)."""
    return OPS[node.op](node.in_shapes, node.shape, running)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """He-normal convolutions (as ENAS), small uniform linear layer, in the module's own order."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
        elif isinstance(part, nn.Linear):
            bound = part.in_features**-0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            nn.init.zeros_(part.bias)
