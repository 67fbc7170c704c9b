"""The operations that graphs are made of: one module class each, used by supernet and network alike.

An operation is built from its input shapes and its output shape, and from the numbers that stand behind its
name where it needs some (`rect_conv:3,5,2`). `forward(*inputs, context)`
takes tensors [G*N, C, H, W]: G architectures that use the same weights on N images each, stacked.
Everything but batch norm and dropout treats the images independently, so only those look at G.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import nn

from enas.graph import Node
from enas.ops.cell import CellInput, CellPool, CellSepConv, LooseEnd, Sum
from enas.ops.chain import HalvingPool, MeanLinear, Pad, RectConv, ReluLinear, SumBias
from enas.ops.context import Context, Noise, drop_path
from enas.ops.heads import AuxiliaryClassifier, Classifier
from enas.ops.layers import BatchNorm
from enas.ops.macro import Conv, ConvNorm, FactorizedReduction, PaddedShortcut, Pool, SepConv, SumNorm, SumRelu
from enas.ops.mobile import MobileConv
from enas.ops.nasbench201 import PooledShortcut, ReluConvNorm, Zero

__all__ = ["OPS", "AuxiliaryClassifier", "BatchNorm", "Context", "Noise", "build", "drop_path", "initialise"]

OPS: dict[str, Callable[..., nn.Module]] = {  # called with input shapes, shape, running, numbers
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
    "relu_classifier": functools.partial(Classifier, relu=True),
    "cell_input": CellInput,
    "cell_sep_conv_3x3": functools.partial(CellSepConv, kernel=3),
    "cell_sep_conv_5x5": functools.partial(CellSepConv, kernel=5),
    "cell_avg_pool_3x3": functools.partial(CellPool, maximum=False),
    "cell_max_pool_3x3": functools.partial(CellPool, maximum=True),
    "sum": Sum,
    "loose_end": LooseEnd,
    "padded_shortcut": PaddedShortcut,
    "sum_relu": SumRelu,
    "rect_conv": RectConv,
    "halving_max_pool_3x3": HalvingPool,
    "pad": Pad,
    "sum_norm_relu": functools.partial(SumNorm, relu=True),
    "mean_linear": MeanLinear,
    "sum_bias": SumBias,
    "relu_linear": ReluLinear,
    "zero": Zero,
    "relu_conv_bn_1x1": functools.partial(ReluConvNorm, kernel=1),
    "relu_conv_bn_3x3": functools.partial(ReluConvNorm, kernel=3),
    "pooled_shortcut": PooledShortcut,
    "conv_bn_1x1": functools.partial(ConvNorm, kernel=1, relu=False),
    "conv_bn_relu_1x1": functools.partial(ConvNorm, kernel=1, relu=True),
    "mbconv_3x3_e3": functools.partial(MobileConv, kernel=3, expansion=3),
    "mbconv_5x5_e6": functools.partial(MobileConv, kernel=5, expansion=6),
}


def build(node: Node, running: bool) -> nn.Module:
    """The module of one node. running: keep running statistics for batch norm (network, not supernet)."""
    name, _, numbers = node.op.partition(":")
    return OPS[name](node.in_shapes, node.shape, running, *map(int, filter(None, numbers.split(","))))


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """He-normal convolutions (as ENAS), small uniform linear layer, in the module's own order; where a module says
    so, smaller by its `gain`."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            if isinstance(part, RectConv):
                part.weight.data.mul_(part.gain)
        elif isinstance(part, nn.Linear):
            bound = part.in_features**-0.5 * (part.gain if isinstance(part, MeanLinear) else 1)
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
