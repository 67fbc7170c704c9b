"""The operations that graphs are made of: one module class each, used by supernet and network alike.

An operation is built from its input shapes and its output shape, and from the numbers that stand behind its
name where it needs some (`rect_conv:3,5,2`). `forward(*inputs, context)`
takes tensors [G*N, C, H, W]: G architectures that use the same weights on N images each, stacked.
Everything but batch norm and dropout treats the images independently, so only those look at G.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping

import torch
from torch import nn

from enas.errors import UserError
from enas.graph import Node
from enas.ops.cell import CellInput, CellPool, CellSepConv, LooseEnd, Sum
from enas.ops.chain import HalvingPool, MeanLinear, Pad, RectConv, ReluLinear, SumBias
from enas.ops.context import Context, Noise, drop_path
from enas.ops.heads import AuxiliaryClassifier, Classifier
from enas.ops.layers import BatchNorm
from enas.ops.macro import Conv, ConvNorm, FactorizedReduction, PaddedShortcut, Pool, SepConv, SumNorm, SumRelu
from enas.ops.mobile import MobileConv
from enas.ops.nasbench201 import PooledShortcut, ReluConvNorm, Zero

__all__ = [
    "OPS",
    "AuxiliaryClassifier",
    "BatchNorm",
    "Context",
    "Maker",
    "Noise",
    "build",
    "by_key",
    "drop_path",
    "initialise",
    "maker",
    "register_op",
]

Maker = Callable[..., nn.Module]
OPS: dict[str, Maker] = {  # called with input shapes, shape, running, numbers
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


NAME = re.compile(r"[a-z][a-z0-9_]*")
BUILT_IN = frozenset(OPS)


def register_op(name: str, factory: Maker) -> None:
    """Add an operation that graphs can name. Called again with the same name, the new one replaces it.

    factory: called with (in_shapes, shape, running, *numbers): the shapes (C, H, W) of the inputs, that of the output,
        whether batch norm keeps running statistics (in a network of its own, not in the supernet), and the whole
        numbers behind the name of a node's operation (`my_op:3,5`). It returns a module.

    The module's `forward(*inputs, context)` takes one tensor [G*N, C, H, W] for each input: G architectures that use
    the same weights on N images each, stacked. It returns [G*N, *shape], and treats images independently; what looks
    at a whole batch has to look at each architecture's N images alone, as `enas.ops.BatchNorm` does (called with
    (x, context)), which is the only batch norm allowed. Convolutions and linear layers are initialised from the run's
    seed; other parameters must begin with fixed numbers. Half of what torch's counter of operations counts are its
    MACs. Full training runs it in other processes: call this in the file of the space.

    Raises UserError where the name is none, or that of an operation of enas.
    """
    if not NAME.fullmatch(name) or name in BUILT_IN:
        raise UserError(
            f"the name of an operation must be of lower-case letters, digits and _, and none of enas' own, but got "
            f"{name!r}; give another name"
        )
    if not callable(factory):
        raise UserError(f"the factory of operation {name} must be callable, but got {type(factory).__name__}")
    OPS[name] = factory


def maker(op: str) -> Maker:
    """What makes the modules of an operation, named as in a node. Raises UserError where nothing does."""
    name = op.partition(":")[0]
    if name not in OPS:
        raise UserError(
            f"operations must be known, but {name!r} is not; register it in the space's file (enas.register_op), or "
            f"name one of {', '.join(OPS)}"
        )
    return OPS[name]


def build(node: Node, running: bool) -> nn.Module:
    """The module of one node. running: keep running statistics for batch norm (network, not supernet).

    Raises UserError for an operation that is not known, and for one of the user's that cannot be made.
    """
    make = maker(node.op)
    name, _, numbers = node.op.partition(":")
    arguments = node.in_shapes, node.shape, running, *map(int, filter(None, numbers.split(",")))
    if name in BUILT_IN:
        return make(*arguments)
    try:
        module = make(*arguments)
    except Exception as error:
        raise UserError(
            f"operation {name} must be possible from {node.in_shapes} to {node.shape}, but its factory raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"the factory of operation {name} must return a module, but got {type(module).__name__}")
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        raise UserError(f"operation {name} must use enas.ops.BatchNorm, which keeps architectures apart, not torch's")
    return module


def by_key(modules: Mapping[str, nn.Module], what: str) -> nn.ModuleDict:
    """The modules in a ModuleDict. Raises UserError for a name that torch keeps for itself. what: has that name."""
    found = nn.ModuleDict()
    for name, module in modules.items():
        try:
            found[name] = module
        except KeyError:
            raise UserError(f"{what} must not be called {name!r}, which torch keeps for itself; rename it") from None
    return found


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
