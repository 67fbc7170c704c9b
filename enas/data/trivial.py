"""TrivialAugment (Mueller & Hutter 2021, the "wide" space): each image gets one random operation at a random strength.

The operations are torchvision's. They take one strength for all images of a call, and a call costs 0.1 ms
even for one image, so images are sorted by operation and strength, and the more come at a time the fewer
calls each needs: 8 to 10 ms for 128 images of 32x32x3 alone, 2.5 ms among 10,000 (one thread).

Shapes: N images of a set, M of a block, H W C.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

STRENGTHS = 31  # equally spaced, both ends included
LARGEST_SHIFT = 32  # pixels; the paper's images are 32 wide, smaller ones are shifted by their own width at most

Apply = Callable[[Tensor, float], Tensor]  # uint8 [M, C, H, W] -> the same shape


class Operation(NamedTuple):
    """One operation and what the strengths mean to it."""

    apply: Apply
    least: float  # the value at the smallest strength
    most: float  # ... and at the largest
    signed: bool  # whether half of the images get minus the value


def _affine(images: Tensor, *, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Shift in pixels, right and down; shear by tangents, from the upper left corner. What comes in is black."""
    degrees = [math.degrees(math.atan(tangent)) for tangent in shear]
    centre = [0.0, 0.0] if any(shear) else None
    changed: Tensor = F.affine(images, 0.0, list(shift), 1.0, degrees, center=centre)
    return changed


def operations(height: int, width: int) -> tuple[Operation, ...]:
    """The 14 operations, for images of this size."""
    right, down = float(min(LARGEST_SHIFT, width)), float(min(LARGEST_SHIFT, height))
    return (
        Operation(lambda images, _: images, 0, 0, False),
        Operation(lambda images, tangent: _affine(images, shear=(tangent, 0.0)), 0, 0.99, True),
        Operation(lambda images, tangent: _affine(images, shear=(0.0, tangent)), 0, 0.99, True),
        Operation(lambda images, pixels: _affine(images, shift=(int(pixels), 0)), 0, right, True),
        Operation(lambda images, pixels: _affine(images, shift=(0, int(pixels))), 0, down, True),
        Operation(F.rotate, 0, 135, True),  # degrees
        Operation(lambda images, more: F.adjust_brightness(images, 1 + more), 0, 0.99, True),
        Operation(lambda images, more: F.adjust_saturation(images, 1 + more), 0, 0.99, True),
        Operation(lambda images, more: F.adjust_contrast(images, 1 + more), 0, 0.99, True),
        Operation(lambda images, more: F.adjust_sharpness(images, 1 + more), 0, 0.99, True),
        Operation(lambda images, bits: F.posterize(images, round(bits)), 8, 2, False),
        Operation(lambda images, start: F.solarize(images, 255 * start), 1, 0, False),  # above it, pixels are inverted
        Operation(lambda images, _: F.autocontrast(images), 0, 0, False),
        Operation(lambda images, _: F.equalize(images), 0, 0, False),
    )


def draw_trivial(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """For each of `count` images a uniform operation, strength and direction: int64 [count], on the CPU."""
    _, same = _choices(height, width)
    draws = torch.randint(len(same), (count,), generator=generator, device=generator.device)
    return same[draws.cpu()]


def trivial_augment(images: Tensor, chosen: Tensor, draws: Tensor) -> Tensor:
    """The images at `chosen`, each changed as `draws` says. Nothing random happens here.

    images uint8 [N, H, W, C] with C 1 or 3, chosen int64 [M] on their device, draws int64 [M] on the CPU
    -> uint8 [M, H, W, C].
    """
    _, height, width, _ = images.shape
    choices, _ = _choices(height, width)
    order = draws.argsort(stable=True)
    counts = draws.bincount(minlength=len(choices)).tolist()
    order = order.to(images.device, non_blocking=True)
    block = images[chosen[order]].permute(0, 3, 1, 2)  # [M, C, H, W], equal draws side by side
    start = 0
    for (apply, value), count in zip(choices, counts, strict=True):
        if count:
            part = block[start : start + count]
            part.copy_(apply(part, value))
            start += count
    rows = block.permute(0, 2, 3, 1)
    return torch.empty_like(rows).index_copy_(0, order, rows)


@lru_cache(maxsize=16)
def _choices(height: int, width: int) -> tuple[tuple[tuple[Apply, float], ...], Tensor]:
    """All operation-strength-direction triples, and for each the first one that does the same: int64 [868].

    What makes no difference (the direction of an unsigned operation, any strength of one that has none)
    is merged, so that images that get the same treatment get it in the same call.
    """
    choices: list[tuple[Apply, float]] = []
    first: dict[tuple[int, float], int] = {}
    same: list[int] = []
    for number, operation in enumerate(operations(height, width)):
        values = torch.linspace(operation.least, operation.most, STRENGTHS).tolist()
        for strength in range(STRENGTHS):
            for sign in (1, -1) if operation.signed else (1, 1):
                value = sign * values[strength]
                same.append(first.setdefault((number, value), len(choices)))
                choices.append((operation.apply, value))
    return tuple(choices), torch.tensor(same)
