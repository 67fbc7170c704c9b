"""Space `macro` (ENAS section 2.3): the operation and the skip connections of every layer.

Layer i (from 1) applies one of six operations to the output of layer i - 1 and adds the outputs of
the earlier layers that its skip bits choose; batch norm follows the sum. As in the paper, layer i
has i - 1 bits, one for each earlier layer, so a skip from layer i - 1 makes the operation a residual
branch. (In the authors' code the bits mean the stem and layers 1 to i - 2 instead.) Skips are summed
as in the authors' search code, not concatenated as in the paper's text and their final network: one
way of combining, in search and retraining alike.

After one third and two thirds of the layers the resolution is halved by factorised reductions, one
for each earlier layer that is still needed, as in the authors' code.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from enas.config import MacroOptions
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.spaces.base import Architecture, Decision
from enas.spaces.sketch import Box, Sketch, chain, stage_of
from enas.spaces.stem import add_stem, stem_shape

OPERATIONS = ("conv_3x3", "conv_5x5", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
SMALLEST_IMAGE = 4  # two reductions leave one pixel


@dataclass(frozen=True)
class MacroSpace:
    """L layers, 6^L operations and 2^(L(L-1)/2) sets of skip connections."""

    options: MacroOptions
    input_shape: Shape
    num_classes: int

    def __post_init__(self) -> None:
        if min(self.input_shape[1:]) < SMALLEST_IMAGE:
            raise UserError(f"images must be at least {SMALLEST_IMAGE} pixels wide, but got {self.input_shape[1:]}")
        # decisions are derived, but read in inner loops, so they are made once
        object.__setattr__(self, "decisions", _decisions(self.options.layers))

    decisions: tuple[Decision, ...] = dataclasses.field(init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.options.name

    def graph(self, arch: Architecture) -> Graph:
        builder = GraphBuilder(self.input_shape)
        outputs = [self._stem(builder)]  # outputs[i]: layer i at the current resolution; 0 is the stem
        position = 0
        for layer in range(1, self.options.layers + 1):
            op = OPERATIONS[arch.choices[position]]
            bits = arch.choices[position + 1 : position + layer]
            position += layer
            skips = [source for source, bit in enumerate(bits, start=1) if bit]
            x = self._at(builder, outputs, layer - 1, layer)
            branch = builder.add(op, (x,), self._shapes[layer], f"layer{layer}/{op}")
            summands = [branch] + [self._at(builder, outputs, source, layer) for source in skips]
            outputs.append(builder.add("sum_norm", summands, self._shapes[layer], f"layer{layer}/norm"))
        builder.add("classifier", (outputs[-1],), (self.num_classes, 1, 1), "classifier")
        # behind the first layer of the last stage; a network of one layer has no such place
        auxiliary = outputs[reductions[-1] + 1] if (reductions := self._reductions) else None
        return builder.graph(auxiliary)

    def candidates(self) -> tuple[Node, ...]:
        builder = GraphBuilder(self.input_shape)
        outputs = [self._stem(builder)]
        for layer in range(1, self.options.layers + 1):
            sources = range(min(layer - 1, 1), layer)  # the stem (0) feeds layer 1 alone
            inputs = [self._at(builder, outputs, source, layer) for source in sources]
            branches = [builder.add(op, (inputs[-1],), self._shapes[layer], f"layer{layer}/{op}") for op in OPERATIONS]
            outputs.append(builder.add("sum_norm", branches[:1], self._shapes[layer], f"layer{layer}/norm"))
        builder.add("classifier", (outputs[-1],), (self.num_classes, 1, 1), "classifier")
        return tuple(node for node in builder.nodes() if node.key)

    def describe(self, arch: Architecture) -> list[str]:
        lines = []
        position = 0
        for layer in range(1, self.options.layers + 1):
            line = f"layer {layer}: {OPERATIONS[arch.choices[position]]}"
            skips = [source for source in range(1, layer) if arch.choices[position + source]]
            if skips:
                line += f", skips from {_listed(skips)}"
            lines.append(line)
            if layer in self._reductions:
                lines.append("(resolution halved)")
            position += layer
        return lines

    def scaled(self, **changes: Any) -> MacroSpace:
        """The space with another `width`; depth is part of the decisions and cannot be scaled."""
        unknown = set(changes) - {"width"}
        if unknown:
            raise UserError(f"space macro scales by width alone, but got {', '.join(sorted(unknown))}")
        return dataclasses.replace(self, options=dataclasses.replace(self.options, **changes))

    @staticmethod
    def layers_of(arch: Architecture) -> int:
        """The number of layers of an architecture, from its number of choices, L(L+1)/2."""
        layers = 0
        while layers * (layers + 1) // 2 < len(arch.choices):
            layers += 1
        if layers == 0 or layers * (layers + 1) // 2 != len(arch.choices):
            raise UserError(
                "an architecture of space macro must have L(L+1)/2 choices (1, 3, 6, 10, ...: an operation and a bit "
                f"for each earlier layer), but got {len(arch.choices)}"
            )
        return layers

    @functools.cached_property
    def _reductions(self) -> tuple[int, ...]:
        """Layers after which the resolution is halved."""
        layers = self.options.layers
        return tuple(after for after in (layers // 3, 2 * layers // 3) if after > 0)

    @functools.cached_property
    def _shapes(self) -> tuple[Shape, ...]:
        """Output shapes of the layers, from 0, the stem."""
        channels, height, width = stem_shape(self.input_shape, self.options.width)
        shapes = []
        for layer in range(self.options.layers + 1):
            if layer - 1 in self._reductions:
                height, width = (height + 1) // 2, (width + 1) // 2
                channels *= 2 if self.options.double_width else 1
            shapes.append((channels, height, width))
        return tuple(shapes)

    def _stem(self, builder: GraphBuilder) -> int:
        return add_stem(builder, self.options.width)

    def _at(self, builder: GraphBuilder, outputs: list[int], source: int, layer: int) -> int:
        """The output of layer `source` at the resolution where layer `layer` works, reduced where needed."""
        node = outputs[source]
        for after in self._reductions:
            if source <= after < layer:
                key = f"reduction{after}/layer{source}"
                node = builder.add("factorized_reduction", (node,), self._shapes[after + 1], key)
        return node

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        layers, parts, skips = self.options.layers, [], []
        position = 0
        for layer in range(1, layers + 1):
            op = OPERATIONS[arch.choices[position]]
            parts.append(Box(f"layer {layer}", op, op, tag=f"{layer}", stage=stage_of(self._shapes[layer])))
            skips += [(source, layer) for source in range(1, layer) if arch.choices[position + source]]
            position += layer
        title = f"{self.name}, {layers} layer{'s' if layers > 1 else ''}"
        return (chain(title, parts, skips, self.input_shape, self._shapes[0], self.num_classes),)


def _decisions(layers: int) -> tuple[Decision, ...]:
    decisions = []
    for layer in range(1, layers + 1):
        decisions.append(Decision(f"layer{layer}/op", OPERATIONS, "op", layer - 1))
        decisions += [
            Decision(f"layer{layer}/skip{source}", ("no", "yes"), "skip", layer - 1, (source - 1,))
            for source in range(1, layer)
        ]
    return tuple(decisions)


def _listed(numbers: list[int]) -> str:
    *head, last = map(str, numbers)
    return f"{', '.join(head)} and {last}" if head else last
