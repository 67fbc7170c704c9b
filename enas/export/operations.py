"""How each operation of `enas.ops` stands in an exported module: the part that it needs, and the line that runs it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from enas.errors import UserError
from enas.graph import Graph, Node
from enas.ops.layers import stride_between

MODULE, INPUT = "@module", "@x"  # in `Code.value`: the part, and the sum of the inputs


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a part. keyword: whether its name is written; an int that is the default is left out."""

    name: str
    value: int | str
    keyword: bool = False
    default: int | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """How a node is written.

    module: the part that it needs, empty for none. value: what computes it. inner: which module within that of
    `enas.ops` the part is, empty for the whole. training: whether it asks the network for its dropout.
    """

    value: str
    module: str = ""
    arguments: tuple[Argument, ...] = ()
    inner: str = ""
    training: bool = False


def unwritable(graph: Graph) -> list[str]:
    """The operations of a graph that cannot be written as text: those of the user's own, of which only a trace can be
    made."""
    names = (node.op.partition(":")[0] for node in graph.nodes[1:])
    return sorted({name for name in names if name not in CODES})


def code(node: Node) -> Code:
    """Raises UserError for an operation that cannot be exported."""
    name, _, numbers = node.op.partition(":")
    if name not in CODES:
        raise UserError(f"an exported network must be made of known operations, but it has {name!r}")
    return CODES[name](node, *map(int, filter(None, numbers.split(","))))


def _channels(node: Node) -> tuple[Argument, ...]:
    return Argument("in_channels", node.in_shapes[0][0]), Argument("channels", node.shape[0])


def _stride(node: Node) -> Argument:
    return Argument("stride", stride_between(node.in_shapes[0], node.shape), keyword=True, default=1)


def _number(name: str, value: int) -> Argument:
    return Argument(name, value, keyword=True)


def _flag(name: str, value: bool) -> Argument:
    return Argument(name, str(value), keyword=True)


def _convolution(module: str, node: Node, kernel: int, *more: Argument) -> Code:
    """A part with a convolution; a 1x1 convolution at a stride gets the pixels that it reads, see `StridedConv`."""
    arguments, value, stride = (*_channels(node), _number("kernel", kernel)), f"{MODULE}({INPUT})", _stride(node)
    if kernel == 1 and stride.value != 1:
        value = f"{MODULE}({_pixels(int(stride.value))})"
    else:
        arguments = (*arguments, stride)
    return Code(value, module, (*arguments, *more))


def _pixels(stride: int) -> str:
    return f"{INPUT}[:, :, ::{stride}, ::{stride}]"


def _conv_norm(node: Node, *, kernel: int, relu: bool) -> Code:
    return _convolution("ConvNorm", node, kernel, _flag("relu", relu))


def _relu_conv_norm(node: Node, *, kernel: int) -> Code:
    return _convolution("ReluConvNorm", node, kernel)


def _part(node: Node, *, module: str, kernel: int | None = None) -> Code:
    """A part that knows its channels, and its kernel where it has one."""
    kernels = () if kernel is None else (_number("kernel", kernel),)
    return Code(f"{MODULE}({INPUT})", module, (*_channels(node), *kernels))


def _projected_pool(node: Node, *, maximum: bool) -> Code:
    return Code(f"{MODULE}({INPUT})", "Pool", (*_channels(node), _flag("maximum", maximum)))


def _pool(node: Node, *, function: str) -> Code:
    stride = stride_between(node.in_shapes[0], node.shape)
    return Code(f"{function}({INPUT})" if stride == 1 else f"{function}({INPUT}, {stride})")


def _sum(node: Node) -> Code:
    return Code(INPUT)


def _sum_relu(node: Node) -> Code:
    return Code(f"F.relu({INPUT})")


def _sum_norm(node: Node, *, relu: bool = False) -> Code:
    value = f"{MODULE}({INPUT})"
    channels = Argument("channels", node.shape[0])
    return Code(f"F.relu({value})" if relu else value, "nn.BatchNorm2d", (channels,), "norm")


def _cell_input(node: Node) -> Code:
    return Code(f"{MODULE}({INPUT})", "CellInput", (*_channels(node), _stride(node)))


def _cell_sep_conv(node: Node, *, kernel: int) -> Code:
    return Code(f"{MODULE}({INPUT})", "CellSepConv", (*_channels(node), _number("kernel", kernel), _stride(node)))


def _loose_end(node: Node) -> Code:
    value = f"{MODULE}(F.relu({INPUT}))"
    if stride_between(node.in_shapes[0], node.shape) == 2:
        return Code(value, "Halving", _channels(node), "pointwise")
    arguments = (*_channels(node), Argument("kernel", "1"), Argument("bias", "False", keyword=True))
    return Code(value, "nn.Conv2d", arguments, "pointwise")


def _mobile_conv(node: Node, *, kernel: int, expansion: int) -> Code:
    numbers = _number("kernel", kernel), _number("expansion", expansion), _stride(node)
    return Code(f"{MODULE}({INPUT})", "MobileConv", (*_channels(node), *numbers))


def _padded_shortcut(node: Node) -> Code:
    missing = node.shape[0] - node.in_shapes[0][0]
    return Code(f"F.pad({_pixels(2)}, (0, 0, 0, 0, {missing // 2}, {missing - missing // 2}))")


def _pad(node: Node) -> Code:
    below, right = node.shape[1] - node.in_shapes[0][1], node.shape[2] - node.in_shapes[0][2]
    return Code(f"F.pad({INPUT}, (0, {right}, 0, {below}))")


def _zero(node: Node) -> Code:
    return Code(f"torch.zeros_like({INPUT})")


def _rect_conv(node: Node, height: int, width: int, stride: int) -> Code:
    text, value = [("kernel", f"({height}, {width})", False)], f"{MODULE}({INPUT})"
    if stride > 1 and (height, width) == (1, 1):
        value = f"{MODULE}({_pixels(stride)})"
    elif stride > 1:
        text.append(("stride", str(stride), True))
    if (height, width) != (1, 1):
        text.append(("padding", f"({height // 2}, {width // 2})", True))
    text.append(("bias", "False", True))
    return Code(value, "nn.Conv2d", (*_channels(node), *(Argument(*part) for part in text)))


def _features(relu: bool) -> str:
    """What a linear layer reads of feature maps: means over the pixels, with dropout."""
    maps = f"F.relu({INPUT})" if relu else INPUT
    return f"F.dropout({maps}.mean(dim=(2, 3)), self.drop_rate, self.training)"


def _classifier(node: Node, *, relu: bool = False) -> Code:
    return Code(f"{MODULE}({_features(relu)})", "nn.Linear", _channels(node), "linear", training=True)


def _mean_linear(node: Node) -> Code:
    bias = Argument("bias", "False", keyword=True)
    return Code(f"{MODULE}({_features(False)})", "nn.Linear", (*_channels(node), bias), training=True)


def _relu_linear(node: Node) -> Code:
    return Code(f"{MODULE}(F.relu({INPUT}.flatten(1)))", "nn.Linear", _channels(node))


def _sum_bias(node: Node) -> Code:
    return Code(f"{MODULE}({INPUT})", "Bias", (Argument("units", node.shape[0]),))


CODES: dict[str, Callable[..., Code]] = {  # by the name in `enas.ops.OPS`
    "conv_3x3": functools.partial(_part, module="Conv", kernel=3),
    "conv_5x5": functools.partial(_part, module="Conv", kernel=5),
    "sep_conv_3x3": functools.partial(_part, module="SepConv", kernel=3),
    "sep_conv_5x5": functools.partial(_part, module="SepConv", kernel=5),
    "avg_pool_3x3": functools.partial(_projected_pool, maximum=False),
    "max_pool_3x3": functools.partial(_projected_pool, maximum=True),
    "sum_norm": _sum_norm,
    "sum_norm_relu": functools.partial(_sum_norm, relu=True),
    "sum_relu": _sum_relu,
    "sum": _sum,
    "factorized_reduction": functools.partial(_part, module="FactorizedReduction"),
    "conv_bn_1x1": functools.partial(_conv_norm, kernel=1, relu=False),
    "conv_bn_3x3": functools.partial(_conv_norm, kernel=3, relu=False),
    "conv_bn_relu_1x1": functools.partial(_conv_norm, kernel=1, relu=True),
    "conv_bn_relu_3x3": functools.partial(_conv_norm, kernel=3, relu=True),
    "relu_conv_bn_1x1": functools.partial(_relu_conv_norm, kernel=1),
    "relu_conv_bn_3x3": functools.partial(_relu_conv_norm, kernel=3),
    "cell_input": _cell_input,
    "cell_sep_conv_3x3": functools.partial(_cell_sep_conv, kernel=3),
    "cell_sep_conv_5x5": functools.partial(_cell_sep_conv, kernel=5),
    "cell_avg_pool_3x3": functools.partial(_pool, function="avg_pool"),
    "cell_max_pool_3x3": functools.partial(_pool, function="max_pool"),
    "halving_max_pool_3x3": lambda node: Code(f"max_pool({INPUT}, 2)"),
    "loose_end": _loose_end,
    "padded_shortcut": _padded_shortcut,
    "pooled_shortcut": functools.partial(_part, module="PooledShortcut"),
    "mbconv_3x3_e3": functools.partial(_mobile_conv, kernel=3, expansion=3),
    "mbconv_5x5_e6": functools.partial(_mobile_conv, kernel=5, expansion=6),
    "rect_conv": _rect_conv,
    "pad": _pad,
    "zero": _zero,
    "classifier": _classifier,
    "relu_classifier": functools.partial(_classifier, relu=True),
    "mean_linear": _mean_linear,
    "relu_linear": _relu_linear,
    "sum_bias": _sum_bias,
}
