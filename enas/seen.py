"""The images as shared weights see them: those of the search, or smaller ones, which train several times as fast.

Costs of architectures and the training of finalists are of the images' own size, and so are the weights: a network for
smaller images is the same network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from enas import searchers
from enas.config import check_image_size
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
    channels, height, _ = data.input_shape
    if size is None or size == height:
        return Seen(train, validation, data.input_shape, data.augmentation)
    check_image_size(size, height)
    shrunk = [ImageSet(_shrunk(part.images, size), part.labels) for part in (train, validation)]
    return Seen(shrunk[0], shrunk[1], (channels, size, size), data.augmentation.scaled(size / height))


def _shrunk(images: Tensor, size: int) -> Tensor:
    """On the CPU, where bytes stay bytes."""
    return resize(images.cpu(), size).to(images.device)


def resized(graph: Graph, shape: Shape) -> Graph:
    """The same network on images of `shape`: each operation keeps its stride, by which it divides, rounding up.

    What enlarges its input, with zeros, does so to what has become of images of that size. Raises UserError where there
    were none, or where no pixel is left before all of them become one.
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
                "weights.image_size needs operations that enlarge images to a size that an earlier one has, but "
                f"{node.op} of {node.key or 'no weights'} makes {after} pixels of {before}; leave it out"
            )
        height, width = known[node.shape[1:]] if enlarges else inputs[0][1:]
        if height < stride and node.shape[1] > 1:
            raise UserError(
                f"weights.image_size must leave a pixel after every halving of the network, but {shape[1]} is too "
                "small; give a larger one"
            )
        height, width = -(-height // stride), -(-width // stride)
        known[node.shape[1:]] = height, width
        nodes.append(dataclasses.replace(node, in_shapes=inputs, shape=(node.shape[0], height, width)))
    return Graph(tuple(nodes), graph.auxiliary)


def larger(space: SearchSpace, shape: Shape) -> float:
    """Forward passes of an image of `shape` that one of the space's own size takes, by multiply-accumulates."""
    if shape == space.input_shape:
        return 1.0
    graphs = [space.graph(arch) for arch in searchers.uniform(space, COMPARED, generator(0, "sizes"))]
    return sum(cost(graph).macs for graph in graphs) / sum(cost(resized(graph, shape)).macs for graph in graphs)
