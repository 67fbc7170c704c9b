"""The images as shared weights see them: those of the search, or smaller ones, which train several times as fast.

Costs of architectures and the training of finalists are of the images' own size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from enas import spaces
from enas.data import Augmentation, DataSet, ImageSet, resize
from enas.errors import UserError
from enas.graph import Shape
from enas.spaces import SearchSpace


@dataclass(frozen=True)
class Seen:
    """larger: forward passes of one of these images that one of the search's own takes, about."""

    train: ImageSet
    validation: ImageSet
    shape: Shape  # (C, H, W) of one image
    augmentation: Augmentation
    larger: int


def seen(data: DataSet, train: ImageSet, validation: ImageSet, size: int | None) -> Seen:
    """The two parts of the data's training images with sides of `size` pixels, or as they are.

    Random crops shift by the same share of the image, and what cutout blanks is the same share of it. Raises UserError
    where images are smaller than that.
    """
    channels, height, width = data.input_shape
    if size is None or size == height:
        return Seen(train, validation, data.input_shape, data.augmentation, 1)
    if size > height:
        raise UserError(
            f"weights.image_size must be at most the images' {height} pixels, but got {size}; give a smaller number, "
            "or a larger --image-size"
        )
    shrunk = [ImageSet(_shrunk(part.images, size), part.labels) for part in (train, validation)]
    augmentation = data.augmentation.scaled(size / height)
    return Seen(shrunk[0], shrunk[1], (channels, size, size), augmentation, round((height / size) ** 2))


def space_seen(space: SearchSpace, images: Seen) -> SearchSpace:
    """The search space for such images. Raises UserError where it has other decisions then."""
    if images.shape == space.input_shape:
        return space
    small = spaces.build(space.options, images.shape, space.num_classes)
    if small.decisions != space.decisions:
        raise UserError(
            f"{space.name} must have the same decisions for images of {images.shape[1]} pixels, which "
            f"weights.image_size asks for, as for those of {space.input_shape[1]}, but it has others; leave it out"
        )
    return small


def _shrunk(images: Tensor, size: int) -> Tensor:
    """On the CPU, where bytes stay bytes."""
    return resize(images.cpu(), size).to(images.device)
