"""Space `nasbench-macro` (Su et al. 2021): a chain of eight layers; every network of it was truly trained.

Each layer is the identity, an inverted bottleneck with 3x3 and threefold expansion, or one with 5x5 and sixfold.
The layers form stages of two, three and three; the first of a stage halves the resolution and doubles
the channels, there the identity is a 1x1 convolution of stride 2. Where a bottleneck keeps the shape it is a
residual branch. A 1x1 convolution to 1,280 channels and a linear layer end the network.

The published code of a network is the text form's: a digit a layer, such as 02012100. Within a stage an
identity has no place of its own, so that the 6,561 codes are only 3,969 different networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from enas.config import NasBenchMacroOptions
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.spaces.base import Architecture, Decision
from enas.spaces.sketch import NODE, Box, Sketch, chain, stage_of
from enas.spaces.stem import add_stem, stem_shape

OPERATIONS = ("identity", "mbconv_3x3_e3", "mbconv_5x5_e6")  # in the published order
STAGES = (2, 3, 3)  # layers
LAYERS = sum(STAGES)
FIRST_OF_STAGE = tuple(1 + sum(STAGES[:stage]) for stage in range(len(STAGES)))
HEAD = 40  # times the width, channels of the published head
SMALLEST_IMAGE = 8  # three stages leave one pixel
NAME = NasBenchMacroOptions.name


@dataclass(frozen=True)
class NasBenchMacroSpace:
    """Eight decisions of three operations: 6,561 codes."""

    options: NasBenchMacroOptions
    input_shape: Shape
    num_classes: int

    def __post_init__(self) -> None:
        if min(self.input_shape[1:]) < SMALLEST_IMAGE:
            raise UserError(f"images must be at least {SMALLEST_IMAGE} pixels wide, but got {self.input_shape[1:]}")

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return DECISIONS

    def graph(self, arch: Architecture) -> Graph:
        builder = GraphBuilder(self.input_shape)
        x = add_stem(builder, self.options.width, "conv_bn_relu_3x3")
        auxiliary = None
        for layer, choice, shape in zip(range(1, LAYERS + 1), arch.choices, self._shapes(), strict=True):
            x = _layer(builder, x, OPERATIONS[choice], shape, f"layer{layer}")
            if layer == FIRST_OF_STAGE[-1]:
                auxiliary = x
        x = builder.add("conv_bn_relu_1x1", (x,), (self.options.head, *builder.shape(x)[1:]), "head")
        builder.add("classifier", (x,), (self.num_classes, 1, 1), "classifier")
        return builder.graph(auxiliary)

    def candidates(self) -> tuple[Node, ...]:
        found: dict[str, Node] = {}
        for choice in range(len(OPERATIONS)):
            graph = self.graph(Architecture(self.name, (choice,) * LAYERS))
            found |= {node.key: node for node in graph.nodes if node.key}
        return tuple(found.values())

    def describe(self, arch: Architecture) -> list[str]:
        lines = []
        for layer, choice in enumerate(arch.choices, start=1):
            if layer in FIRST_OF_STAGE:
                lines.append("(resolution halved)")
            op = OPERATIONS[choice]
            known = "conv_1x1 for an identity" if op == "identity" and layer in FIRST_OF_STAGE else op
            lines.append(f"layer {layer}: {known}")
        return lines

    def scaled(self, **changes: Any) -> NasBenchMacroSpace:
        """The space with another `width` and a head in the published proportion to it; depth is fixed."""
        unknown = set(changes) - {"width"}
        if unknown:
            raise UserError(f"space {self.name} scales by width alone, but got {', '.join(sorted(unknown))}")
        width = changes.get("width", self.options.width)
        return dataclasses.replace(self, options=dataclasses.replace(self.options, width=width, head=HEAD * width))

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        stem = before = stem_shape(self.input_shape, self.options.width)
        parts, shortcuts = [], []
        for layer, choice, shape in zip(range(1, LAYERS + 1), arch.choices, self._shapes(), strict=True):
            op = OPERATIONS[choice]
            parts.append(Box(f"layer {layer}", op, op, tag=f"{layer}", stage=stage_of(shape)))
            shortcuts += [(layer - 1, layer)] if choice and shape == before else []
            before = shape
        head = (self.options.head, *before[1:])
        parts.append(Box("head", "conv_1x1", NODE, stage=stage_of(head)))
        return (chain(f"{self.name}, {LAYERS} layers", parts, shortcuts, self.input_shape, stem, self.num_classes),)

    def _shapes(self) -> Iterator[Shape]:
        """The output shape of each layer."""
        channels, height, width = stem_shape(self.input_shape, self.options.width)
        for layer in range(1, LAYERS + 1):
            if layer in FIRST_OF_STAGE:
                channels, height, width = 2 * channels, (height + 1) // 2, (width + 1) // 2
            yield channels, height, width


def to_published(arch: Architecture) -> str:
    """The published code, a digit a layer."""
    return "".join(map(str, arch.choices))


def from_published(code: str) -> Architecture:
    """The architecture with this published code. Raises UserError where it is none."""
    digits = [str(choice) for choice in range(len(OPERATIONS))]
    if len(code) != LAYERS or not set(code) <= set(digits):
        raise UserError(
            f"a code of NAS-Bench-Macro must be {LAYERS} digits, each one of {', '.join(digits)}, but got {code[:40]!r}"
        )
    return Architecture(NAME, tuple(map(int, code)))


def _layer(builder: GraphBuilder, x: int, op: str, shape: Shape, key: str) -> int:
    """Add one layer; returns its output's position."""
    same = builder.shape(x) == shape
    if op == "identity":
        return x if same else builder.add("conv_bn_1x1", (x,), shape, f"{key}/{op}")
    branch = builder.add(op, (x,), shape, f"{key}/{op}")
    return builder.add("sum", (branch, x), shape) if same else branch


# one part, so that the text form ends with the published code
DECISIONS = tuple(Decision(f"layer{layer}/op", OPERATIONS, "op", 0) for layer in range(1, LAYERS + 1))
