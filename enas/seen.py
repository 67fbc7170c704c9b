"""The images as shared weights or finalists see them: the search's, or smaller ones, which train several times as fast.

Costs of architectures are those of the images' own size, and so are the weights: a network for smaller images is the
same network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from enas import searchers
from enas.config import WEIGHTS_SIZE, check_image_size
from enas.cost import cost
from enas.data import Augmentation, DataSet, ImageSet, resize
from enas.errors import UserError
from enas.graph import Graph, Shape
from enas.ops.layers import stride_between
from enas.runtime import generator
from enas.spaces import SearchSpace

COMPARED = 16  # uniform architectures whose operations are counted at both sizes


@dataclass(frozen=True)
class Seen:
    """shape: (C, H, W) of one image."""

    train: ImageSet
    validation: ImageSet
    shape: Shape
    augmentation: Augmentation


def seen(data: DataSet, train: ImageSet, validation: ImageSet, size: int | None) -> Seen:
    """The two parts of the data's training images with sides of `size` pixels, or as they are.

    Random crops shift by the same share of the image, and what cutout blanks is the same share of it. Raises UserError
    where images are smaller than that.
    """
    shape = shape_of(data, size)
    if shape == data.input_shape:
        return Seen(train, validation, shape, data.augmentation)
    shrunk = [ImageSet(_shrunk(part.images, shape[1]), part.labels) for part in (train, validation)]
    return Seen(shrunk[0], shrunk[1], shape, data.augmentation.scaled(shape[1] / data.input_shape[1]))


def _shrunk(images: Tensor, size: int) -> Tensor:
    """On the CPU, where bytes stay bytes."""
    return resize(images.cpu(), size).to(images.device)


def resized(graph: Graph, shape: Shape, setting: str = WEIGHTS_SIZE) -> Graph:
    """The same network on images of `shape`: each operation keeps its stride, by which it divides, rounding up.

    What enlarges its input, with zeros, does so to what has become of images of that size. Raises UserError where there
    were none, or where no pixel is left before all of them become one. setting: that asks for these images.
    """
    if graph.nodes[0].shape == shape:
        return graph
    nodes = [dataclasses.replace(graph.nodes[0], shape=shape)]
    known = {graph.nodes[0].shape[1:]: shape[1:]}  # what has become of each size
    for node in graph.nodes[1:]:
        inputs = tuple(nodes[i].shape for i in node.inputs)
        stride = stride_between(node.in_shapes[0], node.shape)
        enlarges = node.shape[1] > node.in_shapes[0][1]
        if enlarges and node.shape[1:] not in known:
            before, after = node.in_shapes[0][1], node.shape[1]
            raise UserError(
                f"{setting} needs operations that enlarge images to a size that an earlier one has, but {node.op} of "
                f"{node.key or 'no weights'} makes {after} pixels of {before}; leave it out"
            )
        height, width = known[node.shape[1:]] if enlarges else inputs[0][1:]
        if height < stride and node.shape[1] > 1:
            raise UserError(
                f"{setting} must leave a pixel after every halving of the network, but {shape[1]} is too small; give a "
                "larger one"
            )
        height, width = -(-height // stride), -(-width // stride)
        known[node.shape[1:]] = height, width
        nodes.append(dataclasses.replace(node, in_shapes=inputs, shape=(node.shape[0], height, width)))
    return Graph(tuple(nodes), graph.auxiliary)


def relative_cost(space: SearchSpace, shape: Shape, than: Shape, setting: str = WEIGHTS_SIZE) -> float:
    """Multiply-accumulates of an image of `shape` as multiples of those of one of the shape `than`.

    setting: that asks for the images that are not of the space's own size.
    """
    if shape == than:
        return 1.0
    graphs = [space.graph(arch) for arch in searchers.uniform(space, COMPARED, generator(0, "sizes"))]
    ours, theirs = (sum(cost(resized(graph, each, setting)).macs for graph in graphs) for each in (shape, than))
    return ours / theirs


def shape_of(data: DataSet, size: int | None, setting: str = WEIGHTS_SIZE) -> Shape:
    """(C, H, W) of the data's images with sides of `size` pixels, or as they are. setting: that says so.

    Raises UserError where they have fewer.
    """
    channels, height, _ = data.input_shape
    check_image_size(size, height, setting)
    return data.input_shape if size is None or size == height else (channels, size, size)
