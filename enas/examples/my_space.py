"""A space of one's own: three stages of blocks; each block chooses an operation and whether it has a shortcut.

enas search --space enas/examples/my_space.py:MySpace --set space.arguments.blocks=3
"""

from enas import Architecture, CustomSpace, Decision, Graph, GraphBuilder, add_stem

OPERATIONS = ("conv_3x3", "conv_5x5", "sep_conv_3x3", "sep_conv_5x5", "max_pool_3x3")


class MySpace(CustomSpace):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, width: int = 16, blocks: int = 2) -> None:
        super().__init__(input_shape, num_classes)
        self.width, self.names = width, [f"stage{s}-block{b}" for s in (1, 2, 3) for b in range(1, blocks + 1)]
        self.decisions = [  # name, labels, group (decisions of a group share what is learned), part
            decision
            for part, name in enumerate(self.names)
            for decision in (
                Decision(f"{name}/op", OPERATIONS, "op", part),
                Decision(f"{name}/shortcut", ("no", "yes"), "shortcut", part),
            )
        ]

    def graph(self, arch: Architecture) -> Graph:
        chosen, builder = self.chosen(arch), GraphBuilder(self.input_shape)
        x, stage = add_stem(builder, self.width), "stage1"
        for name in self.names:
            if not name.startswith(stage):  # a new stage: half the resolution, twice the channels
                stage = name.partition("-")[0]
                channels, height, width = builder.shape(x)
                shape = (2 * channels, (height + 1) // 2, (width + 1) // 2)
                x = builder.add("factorized_reduction", [x], shape, key=f"{stage}/reduction")
            op, shape = chosen[f"{name}/op"], builder.shape(x)
            y = builder.add(op, [x], shape, key=f"{name}/{op}")
            x = builder.add("sum", [x, y], shape) if chosen[f"{name}/shortcut"] == "yes" else y
        builder.add("classifier", [x], (self.num_classes, 1, 1), key="classifier")
        return builder.graph()
