"""Seeded, stratified splits. Which images are held out depends on the labels and the seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from enas.data.sets import ImageSet
from enas.errors import UserError


def split(train: ImageSet, fraction: float, seed: int, *, classes: Sequence[str] = ()) -> tuple[ImageSet, ImageSet]:
    """Hold out a share of every class: (the rest, the held-out images), both shuffled.

    Of a class with n images round(n * fraction) are held out, at least 1 and at most n - 1. The
    images are shuffled because evaluation goes through them in order and batch norm uses the
    statistics of each batch: images in the order of their classes would spoil them.

    `classes` only names the classes in the message. Raises UserError if a class has fewer than two images.
    """
    labels = train.labels.cpu()
    order = shuffled(len(labels), seed)
    shuffled_labels = labels[order]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.bincount().nonzero().squeeze(1).tolist():
        members = (shuffled_labels == label).nonzero().squeeze(1)
        if len(members) < 2:
            name = repr(classes[label]) if label < len(classes) else label
            raise UserError(
                f"every class must have at least 2 images to be split in two, but class {name} has "
                f"{len(members)}; add images or remove the class"
            )
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held_out[members[:count]] = True
    return train.subset(order[~held_out]), train.subset(order[held_out])


def shuffled(count: int, seed: int) -> Tensor:
    """A seeded permutation, int64 [count], on the CPU so that it is the same for every device."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
