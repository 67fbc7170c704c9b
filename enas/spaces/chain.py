"""Space `chain` (Zoph & Le 2017, sections 3.1, 3.3 and 4.1): how many layers, and each of them in full.

A layer is a convolution, whose filter height, width, number and stride are chosen, followed by batch norm and ReLU,
or 3x3 max pooling at stride 2. With skip connections a convolution chooses which earlier layers it reads. Section 3.3
says how that stays a network: a layer that chooses none reads the images; inputs are joined along their channels,
smaller ones padded with zeros (here on the right and below) to the size of the largest; and the layers that nobody
reads are joined before the classifier.

A convolution of joined inputs is the sum of a convolution for each input, and that is how it stands in the graph:
every pair of layers has weights of its own, which many architectures share, in several sizes (`enas.sliced`). The
classifier takes the mean over the pixels of each unread layer, so a small one counts as much as a large one.

A pooling reads the layer before it alone: of joined inputs it would pass on all channels, and several in a row
would multiply them. The first layer is a convolution. Sizes are divided by strides and rounded up, so an image of
any size suits any architecture; the smallest resolution is one pixel, where strides do nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from enas.config import ChainOptions
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder, Node, Shape
from enas.spaces.base import Architecture, Decision
from enas.spaces.sketch import INPUT, MAIN, OUTPUT, SKIP, Box, Edge, Sketch
from enas.spaces.stem import add_halvings

CONV = "conv"
POOL = "max_pool_3x3"
TYPES = (CONV, POOL)
MOST_LAYERS = 32  # the bound of `max_layers`

T = TypeVar("T")


class Layer(NamedTuple):
    """One layer. sources: the layers that it reads, 0 the images. The numbers are a convolution's alone."""

    type: str
    sources: tuple[int, ...]
    height: int = 0
    width: int = 0
    filters: int = 0
    stride: int = 0


@dataclass(frozen=True)
class ChainSpace:
    """Decisions: the depth; then of each layer its type, height, width, filters, stride, and a bit for each earlier
    layer. What has one choice is no decision; what lies beyond the depth or a pooling does not have is inactive."""

    options: ChainOptions
    input_shape: Shape
    num_classes: int

    def __post_init__(self) -> None:
        self.options.check()
        decisions = _decisions(self.options)
        object.__setattr__(self, "decisions", decisions)
        object.__setattr__(self, "_positions", {decision.name: d for d, decision in enumerate(decisions)})

    decisions: tuple[Decision, ...] = dataclasses.field(init=False, repr=False, compare=False)
    _positions: dict[str, int] = dataclasses.field(init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.options.name

    def graph(self, arch: Architecture) -> Graph:
        builder, layers = GraphBuilder(self.input_shape), self.layers(arch)
        outputs = self._outputs(builder, layers)
        self._classifier(builder, [(i, outputs[i]) for i in loose_ends(layers)])
        behind = -(-2 * len(layers) // 3)  # two thirds of the way; of one or two layers that is the end
        return builder.graph(outputs[behind] if behind < len(layers) else None)

    def candidates(self) -> tuple[Node, ...]:
        options, builder = self.options, GraphBuilder(self.input_shape)
        images = self._images(builder)
        self._classifier(builder, [(0, images)])
        nodes = [node for node in builder.nodes() if node.key and node.op != "mean_linear"]
        # sizes that have every number of filters, kernel and stride at least once
        lists = (options.filters, options.kernels, options.strides)
        for t in range(max(map(len, lists))):
            filters, kernel, stride = (values[min(t, len(values) - 1)] for values in lists)
            shape, op = (filters, *builder.shape(images)[1:]), _rect_conv(kernel, kernel, stride)
            for i in range(1, options.max_layers + 1):
                for source in self._possible_sources(i):
                    in_shape = shape if source else builder.shape(images)
                    nodes.append(Node(op, (0,), f"layer{i}/from{source}", (in_shape,), shape))
                nodes.append(Node("sum_norm_relu", (0,), f"layer{i}/norm", (shape,), shape))
                if options.skips or i >= options.min_layers:
                    nodes.append(Node("mean_linear", (0,), f"classifier/from{i}", (shape,), self._units()))
        return tuple(dict.fromkeys(nodes))

    def layers(self, arch: Architecture) -> tuple[Layer, ...]:
        """The layers of the network, the first one first."""
        options = self.options
        layers: list[Layer] = []
        for i in range(1, self._chosen(arch, "depth", _depths(options)) + 1):
            name = f"layer{i}"
            kind = self._chosen(arch, f"{name}/type", TYPES)
            if kind != CONV:
                layers.append(Layer(kind, (i - 1,)))
                continue
            chosen = tuple(j for j in range(1, i) if self._chosen(arch, f"{name}/skip{j}", (False, True)))
            layers.append(
                Layer(
                    kind,
                    (chosen or (0,)) if options.skips else (i - 1,),
                    self._chosen(arch, f"{name}/height", options.kernels),
                    self._chosen(arch, f"{name}/width", options.kernels),
                    self._chosen(arch, f"{name}/filters", options.filters),
                    self._chosen(arch, f"{name}/stride", options.strides),
                )
            )
        return tuple(layers)

    def describe(self, arch: Architecture) -> list[str]:
        lines, layers = [], self.layers(arch)
        for i, layer in enumerate(layers, start=1):
            line = f"layer {i}: {_label(layer)}"
            if layer.type == CONV:
                line += f", {layer.filters} filters, stride {layer.stride}"
                line += f", from {_listed(layer.sources)}" if self.options.skips else ""
            lines.append(line)
        hidden = f", {self.options.hidden} hidden units" if self.options.hidden else ""
        lines.append(f"classifier{hidden}: from {_listed(loose_ends(layers))}")
        return lines

    def scaled(self, **changes: Any) -> ChainSpace:
        """The space with all numbers of filters in proportion, the smallest being `width`; depth is part of the
        decisions and cannot be scaled."""
        unknown = set(changes) - {"width"}
        if unknown:
            raise UserError(f"space chain scales by width alone, but got {', '.join(sorted(unknown))}")
        smallest = self.options.filters[0]
        filters = tuple((2 * number * changes["width"] + smallest) // (2 * smallest) for number in self.options.filters)
        return dataclasses.replace(self, options=dataclasses.replace(self.options, filters=filters))

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        builder, layers = GraphBuilder(self.input_shape), self.layers(arch)
        shapes = [builder.shape(output) for output in self._outputs(builder, layers)]
        channels, height, width = self.input_shape
        names = ["images", *(f"layer {i}" for i in range(1, len(layers) + 1)), "classifier"]
        boxes = [Box(names[0], names[0], INPUT, detail=f"{height}x{width}x{channels}")]
        edges = []
        for i, layer in enumerate(layers, start=1):
            label, (channels, height, width) = _label(layer), shapes[i]
            kind = label.replace(" ", "_")  # what other spaces call the operation
            boxes.append(Box(names[i], label, kind, tag=f"{i}", detail=f"{channels} channels, {height}x{width}"))
            edges += [Edge(names[j], names[i], MAIN if j == i - 1 else SKIP) for j in layer.sources]
        boxes.append(Box(names[-1], names[-1], OUTPUT, detail=f"{self.num_classes} classes"))
        edges += [Edge(names[i], names[-1], MAIN if i == len(layers) else SKIP) for i in loose_ends(layers)]
        title = f"{self.name}, {len(layers)} layer{'s' if len(layers) > 1 else ''}"
        return (Sketch(title, tuple(boxes), tuple(edges)),)

    @staticmethod
    def options_of(arch: Architecture, options: ChainOptions) -> ChainOptions:
        """`options`, with the most layers for which they have as many decisions as the architecture has choices, if
        there is such a number; what the choices stand for only the options can say."""
        for layers in (options.max_layers, *range(1, MOST_LAYERS + 1)):
            least = min(options.min_layers, layers)
            changed = dataclasses.replace(options, min_layers=least, max_layers=layers)
            if len(_decisions(changed)) == len(arch.choices):
                return changed
        return options

    def _chosen(self, arch: Architecture, name: str, values: Sequence[T]) -> T:
        """What the decision of this name chooses; where there is no such decision, the only value or "no"."""
        position = self._positions.get(name)
        return values[0 if position is None else arch.choices[position]]

    def _possible_sources(self, layer: int) -> range:
        """What a convolution in this place may read."""
        return range(0 if self.options.skips else layer - 1, layer)

    def _images(self, builder: GraphBuilder) -> int:
        """What stands for the images: themselves, or large ones halved until they are small."""
        return add_halvings(builder, self.options.filters[0])

    def _outputs(self, builder: GraphBuilder, layers: Sequence[Layer]) -> list[int]:
        """Add the layers; returns the position of the images and of each layer's output."""
        outputs = [self._images(builder)]
        for i, layer in enumerate(layers, start=1):
            if layer.type == CONV:
                outputs.append(_convolution(builder, i, layer, [outputs[source] for source in layer.sources]))
                continue
            channels, height, width = builder.shape(outputs[-1])
            if height == width == 1:  # nothing to pool
                outputs.append(outputs[-1])
            else:
                shape = (channels, -(-height // 2), -(-width // 2))
                outputs.append(builder.add("halving_max_pool_3x3", outputs[-1:], shape))
        return outputs

    def _units(self) -> Shape:
        """What the mean over the pixels of a layer leads to: the hidden units, or the classes."""
        return self.options.hidden or self.num_classes, 1, 1

    def _classifier(self, builder: GraphBuilder, ends: Sequence[tuple[int, int]]) -> None:
        """Add what follows the layers. ends: numbers and positions of those that nobody reads."""
        units = self._units()
        parts = [builder.add("mean_linear", (x,), units, f"classifier/from{i}") for i, x in ends]
        if self.options.hidden:
            parts = [builder.add("sum_bias", parts, units, "hidden")]
        builder.add("relu_linear" if self.options.hidden else "sum_bias", parts, (self.num_classes, 1, 1), "classifier")


def loose_ends(layers: Sequence[Layer]) -> list[int]:
    """The layers that no other reads; the last one always is."""
    read = {source for layer in layers for source in layer.sources}
    return [i for i in range(1, len(layers) + 1) if i not in read]


def _convolution(builder: GraphBuilder, number: int, layer: Layer, inputs: Sequence[int]) -> int:
    """Add a convolution of the joined inputs, its batch norm and ReLU."""
    height, width = (max(builder.shape(x)[side] for x in inputs) for side in (1, 2))
    # beyond the image's size a stride changes nothing; equal networks should be equal graphs
    stride = min(layer.stride, max(height, width))
    shape = (layer.filters, -(-height // stride), -(-width // stride))
    parts = []
    for source, x in zip(layer.sources, inputs, strict=True):
        channels, *size = builder.shape(x)
        if size != [height, width]:
            x = builder.add("pad", (x,), (channels, height, width))
        op = _rect_conv(layer.height, layer.width, stride)
        parts.append(builder.add(op, (x,), shape, f"layer{number}/from{source}"))
    return builder.add("sum_norm_relu", parts, shape, f"layer{number}/norm")


def _rect_conv(height: int, width: int, stride: int) -> str:
    return f"rect_conv:{height},{width},{stride}"


@functools.lru_cache(maxsize=256)
def _decisions(options: ChainOptions) -> tuple[Decision, ...]:
    decisions, depths = [], _depths(options)
    if len(depths) > 1:
        decisions.append(Decision("depth", tuple(map(str, depths)), "depth", 0))
    lists = {
        "height": options.kernels,
        "width": options.kernels,
        "filters": options.filters,
        "stride": options.strides,
    }
    for i in range(1, options.max_layers + 1):
        # the decision that this layer hangs on, and the choices of it under which there is such a layer
        parent: tuple[int | None, tuple[int, ...]] = (None, ())
        if i > depths[0]:
            parent = (0, tuple(k for k, depth in enumerate(depths) if depth >= i))
        if options.pooling and i > 1:
            decisions.append(Decision(f"layer{i}/type", TYPES, "layer_type", i, (), *parent))
            parent = (len(decisions) - 1, (TYPES.index(CONV),))
        for name, values in lists.items():
            if len(values) > 1:
                decisions.append(Decision(f"layer{i}/{name}", tuple(map(str, values)), name, i, (), *parent))
        if options.skips:
            decisions += [Decision(f"layer{i}/skip{j}", ("no", "yes"), "skip", i, (j,), *parent) for j in range(1, i)]
    return tuple(decisions)


def _depths(options: ChainOptions) -> range:
    return range(options.min_layers, options.max_layers + 1)


def _label(layer: Layer) -> str:
    return f"conv {layer.height}x{layer.width}" if layer.type == CONV else layer.type


def _listed(layers: Sequence[int]) -> str:
    *head, last = map(str, layers)
    if last == "0":
        return "the images"
    return f"layers {', '.join(head)} and {last}" if head else f"layer {last}"
