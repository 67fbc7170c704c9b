"""ResNet-20 (He et al. 2016, section 4.2) as a space without decisions: the hand-drawn yardstick.

Its one architecture, `resnet20:`, is retrained, evaluated, counted and described by the same code as
searched ones. Shortcuts are option A: subsampled and padded with zeros, without weights.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from enas.config import ResNet20Options
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.spaces.base import Architecture, Decision
from enas.spaces.sketch import Box, Sketch, chain, stage_of
from enas.spaces.stem import add_stem, stem_shape

STAGES, BLOCKS = 3, 3


@dataclass(frozen=True)
class ResNet20Space:
    """The one-architecture space `resnet20`."""

    options: ResNet20Options
    input_shape: Shape
    num_classes: int
    decisions: tuple[Decision, ...] = dataclasses.field(default=(), init=False)

    @property
    def name(self) -> str:
        return self.options.name

    def graph(self, arch: Architecture) -> Graph:
        builder = GraphBuilder(self.input_shape)
        x = add_stem(builder, self.options.width, "conv_bn_relu_3x3")
        auxiliary = None
        for stage in range(STAGES):
            for block in range(BLOCKS):
                shape = builder.shape(x)
                if stage > 0 and block == 0:
                    shape = (2 * shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2)
                key = f"stage{stage + 1}/block{block + 1}"
                branch = builder.add("conv_bn_relu_3x3", (x,), shape, f"{key}/conv1")
                branch = builder.add("conv_bn_3x3", (branch,), shape, f"{key}/conv2")
                shortcut = x if builder.shape(x) == shape else builder.add("padded_shortcut", (x,), shape)
                x = builder.add("sum_relu", (branch, shortcut), shape)
                if stage == STAGES - 1 and block == 0:
                    auxiliary = x
        builder.add("classifier", (x,), (self.num_classes, 1, 1), "classifier")
        return builder.graph(auxiliary)

    def candidates(self) -> tuple[Node, ...]:
        return tuple(node for node in self.graph(Architecture(self.name, ())).nodes if node.key)

    def describe(self, arch: Architecture) -> list[str]:
        return [f"stage {stage + 1}: {BLOCKS} residual blocks of two conv_3x3" for stage in range(STAGES)]

    def scaled(self, **changes: Any) -> ResNet20Space:
        """The network with another `width` (channels of the first stage; 16 in the paper)."""
        unknown = set(changes) - {"width"}
        if unknown:
            raise UserError(f"resnet20 scales by width alone, but got {', '.join(sorted(unknown))}")
        return dataclasses.replace(self, options=dataclasses.replace(self.options, **changes))

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        shape = first = stem_shape(self.input_shape, self.options.width)
        parts = []
        for block in range(1, STAGES * BLOCKS + 1):
            if block > 1 and block % BLOCKS == 1:
                shape = (2 * shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2)
            parts.append(Box(f"block {block}", "2 x conv_3x3", "conv_3x3", tag=f"{block}", stage=stage_of(shape)))
        shortcuts = [(block - 1, block) for block in range(1, len(parts) + 1)]
        return (chain(self.name, parts, shortcuts, self.input_shape, first, self.num_classes),)
