"""The types of the data layer: a set of images on a device, and a data set of two of them.

Shapes: N images, H W C. Images stay uint8 with the channels last until a batch is made of them.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from enas.errors import UserError

GIB = 2**30


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images that live as a whole on one device. Raises ValueError where shapes disagree."""

    images: Tensor  # uint8 [N, H, W, C]
    labels: Tensor  # int64 [N]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 [N, H, W, C], got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 [{len(self.images)}], got {self.labels.dtype} {list(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> ImageSet:
        """A copy of the images at `indices` (int64 [M], on any device), in that order."""
        indices = indices.to(self.images.device)
        return ImageSet(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> ImageSet:
        """The same images on `device`; no copy where they are there already."""
        return ImageSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied, all of it resolved: nothing here means "default"."""

    crop_padding: int  # largest shift of the random crop in pixels; 0: none
    flip: bool  # mirror every other image, left to right
    cutout: int  # side of the blanked square in pixels; 0: none
    trivial_augment: bool = False  # one random operation for each image, before all of these

    def scaled(self, factor: float) -> Augmentation:
        """The same for images whose sides are so many times as long."""
        padding, cutout = (
            max(1, round(factor * length)) if length else 0 for length in (self.crop_padding, self.cutout)
        )
        return replace(self, crop_padding=padding, cutout=cutout)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Everything that a search needs to know of its images. Both sets are in a shuffled order."""

    name: str
    classes: tuple[str, ...]  # their position is the label
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]  # [C], in 0..1, from the training images
    std: tuple[float, ...]  # [C]
    augmentation: Augmentation

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image as the network sees it."""
        height, width, channels = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def fingerprint(self) -> str:
        """A hash of all images, labels and classes, to tell data sets apart; where they lie does not matter."""
        return self._fingerprint

    @functools.cached_property  # it reads every byte, on a GPU after a copy; nobody changes the images
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.test):
            for tensor in (part.images, part.labels):
                digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]


def check_memory(count: int, size: int, channels: int, limit_gib: float) -> None:
    """Raise UserError if `count` decoded images of [size, size, channels] bytes exceed the limit."""
    needed_gib = count * size * size * channels / GIB
    if needed_gib > limit_gib:
        raise UserError(
            f"the images must fit in data.memory_limit_gib={limit_gib:g}, but {count} images of "
            f"{size}x{size}x{channels} take {needed_gib:.3g} GiB; give a smaller --image-size or a larger limit"
        )
