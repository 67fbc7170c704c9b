"""Batches from images that live on the device: shuffle, TrivialAugment, crop, mirror, cut out, normalise.

All of it is a handful of tensor operations per batch: no worker processes, no loop over images, no
synchronisation with the device. Random numbers are drawn up front, an epoch at a time, from the
generator that is passed in, and travel to the device together. TrivialAugment, where it is on, changes
the bytes of many batches at a time.

Shapes: N images of the set, B of a batch, H W C. A batch is float32 [B, C, H, W] in channels-last
memory format. Crop and cutout fill with the mean colour, which is exactly 0 after normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from enas.data.sets import Augmentation, ImageSet

Batch = tuple[Tensor, Tensor]  # float32 [B, C, H, W] channels last, int64 [B]
BLOCK_BYTES = 2**25  # images that TrivialAugment changes at a time; the more, the faster, until caches are full


def training_steps(count: int, batch_size: int) -> int:
    """How many batches `training_batches` gives for `count` images."""
    return max(1, count // batch_size)


def training_images(count: int, batch_size: int) -> int:
    """How many images those batches hold."""
    return training_steps(count, batch_size) * min(count, batch_size)


def training_batches(
    images: ImageSet,
    batch_size: int,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
    generator: torch.Generator,
) -> Iterator[Batch]:
    """One epoch: shuffled, augmented batches of `batch_size`; the incomplete last one is dropped.

    A set smaller than one batch is one batch. All draws happen in this call, not while iterating:
    the generator's state decides the epoch, whatever else draws from it meanwhile. It may live on
    the CPU or on the images' device.
    """
    count, height, width, _ = images.images.shape
    device = images.images.device
    order = _permutation(count, generator, device)
    draws = draw_augmentation(count, height, width, augmentation, generator).to(device, non_blocking=True)
    size, steps = min(batch_size, count), training_steps(count, batch_size)
    if augmentation.trivial_augment:
        sources = _varied(images.images, order[: steps * size], size, generator)
    else:
        sources = ((images.images, chosen) for chosen in torch.split(order, size))

    def batches() -> Iterator[Batch]:
        for step, (source, chosen) in zip(range(steps), sources, strict=False):
            part = slice(step * size, (step + 1) * size)
            augmented = augment(source, chosen, draws[:, part], augmentation, mean, std)
            yield augmented, images.labels[order[part]]

    return batches()


def _varied(images: Tensor, order: Tensor, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """For each batch of `size` images changed by TrivialAugment, and where the batch lies in them.

    images uint8 [N, H, W, C], order int64 [N'] -> pairs of uint8 [M, H, W, C] and int64 [size]. M is a
    multiple of `size`: a block is changed when its first batch is asked for. Draws happen in this call.
    """
    from enas.data.trivial import draw_trivial, trivial_augment  # loading torchvision takes a second

    _, height, width, channels = images.shape
    draws = draw_trivial(len(order), height, width, generator)
    block = max(1, BLOCK_BYTES // (size * height * width * channels)) * size

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        for chosen, drawn in zip(torch.split(order, block), torch.split(draws, block), strict=True):
            varied = trivial_augment(images, chosen, drawn)
            for places in torch.split(torch.arange(len(chosen), device=images.device), size):
                yield varied, places

    return blocks()


def evaluation_batches(
    images: ImageSet, batch_size: int, mean: Sequence[float], std: Sequence[float]
) -> Iterator[Batch]:
    """All images once, in order, as they are, in the fewest batches of at most `batch_size`.

    Sizes differ by at most one: batch norm uses each batch's own statistics at search time, and a
    last batch of a few images would have bad ones.
    """
    count = len(images)
    steps = -(-count // batch_size)
    for step in range(steps):
        part = slice(step * count // steps, (step + 1) * count // steps)
        yield normalise(images.images[part], mean, std), images.labels[part]


def random_batch(
    images: ImageSet, batch_size: int, mean: Sequence[float], std: Sequence[float], generator: torch.Generator
) -> Batch:
    """`batch_size` different images as they are, in random order; all of them if there are fewer."""
    chosen = _permutation(len(images), generator, images.images.device)[:batch_size]
    return normalise(images.images[chosen], mean, std), images.labels[chosen]


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [B, H, W, C] -> float32 [B, C, H, W], channels last: (x / 255 - mean) / std."""
    return _channels_last(_normalised_rows(images, mean, std), images.shape)


def draw_augmentation(
    count: int, height: int, width: int, augmentation: Augmentation, generator: torch.Generator
) -> Tensor:
    """The random numbers of `augment` for `count` images: int64 [5, count] on the generator's device.

    Rows: shift down and right (-padding..padding), mirrored (0 or 1), centre row and column of the
    cutout. What the augmentation does not use is 0 and costs no draw.
    """
    draws = torch.zeros(5, count, dtype=torch.int64, device=generator.device)
    padding = augmentation.crop_padding
    if padding:
        draws[:2].random_(-padding, padding + 1, generator=generator)
    if augmentation.flip:
        draws[2].random_(0, 2, generator=generator)
    if augmentation.cutout:
        draws[3].random_(0, height, generator=generator)
        draws[4].random_(0, width, generator=generator)
    return draws


def augment(
    images: Tensor,
    chosen: Tensor,
    draws: Tensor,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """The images at `chosen`, cropped, mirrored, cut out and normalised. Nothing random happens here.

    images uint8 [N, H, W, C], chosen int64 [B], draws int64 [5, B] -> float32 [B, C, H, W], channels last.

    Choosing, cropping and mirroring are one gather of pixels. Positions outside of the image read
    its border and are zeroed after the normalisation: 0 is the mean colour there, to the last bit.
    """
    if not (augmentation.crop_padding or augmentation.flip or augmentation.cutout):
        return normalise(images[chosen], mean, std)
    count, height, width, channels = images.shape
    down, right, mirrored, cut_row, cut_column = draws[:, :, None]  # each [B, 1]
    rows, columns = _positions(height, width, images.device)  # [H], [W]

    source_rows = rows + down  # [B, H]
    source_columns = torch.where(mirrored == 1, width - 1 - columns, columns) + right  # [B, W]
    inside_rows = source_rows.clamp(0, height - 1)
    inside_columns = source_columns.clamp(0, width - 1)
    pixels = ((chosen[:, None] * height + inside_rows) * width)[:, :, None] + inside_columns[:, None, :]  # [B, H, W]
    gathered = images.reshape(-1, channels).index_select(0, pixels.view(-1))  # [B * H * W, C]
    result = _normalised_rows(gathered.view(-1, height, width, channels), mean, std)  # [B, H, W * C]

    if augmentation.crop_padding:
        result.mul_((source_rows == inside_rows)[:, :, None])
        result.mul_(_per_channel(source_columns == inside_columns, channels)[:, None, :])
    if augmentation.cutout:
        # the centre is uniform over the image and the square may stick out (DeVries & Taylor 2017)
        in_rows = _within(rows, cut_row, augmentation.cutout)  # [B, H]
        in_columns = _within(columns, cut_column, augmentation.cutout)  # [B, W]
        result.mul_(~(in_rows[:, :, None] & _per_channel(in_columns, channels)[:, None, :]))
    return _channels_last(result, (len(chosen), height, width, channels))


def _within(positions: Tensor, centre: Tensor, length: int) -> Tensor:
    """Which positions [L] lie on the stretch of `length` around each centre [B, 1]: bool [B, L]."""
    start = centre - length // 2
    return (positions >= start) & (positions < start + length)


def _per_channel(mask: Tensor, channels: int) -> Tensor:
    """bool [B, W] -> bool [B, W * C]."""
    return mask[:, :, None].expand(-1, -1, channels).reshape(len(mask), -1)


def _normalised_rows(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [B, H, W, C] -> float32 [B, H, W * C].

    Channels are folded into the rows because broadcasting over a last axis of 3 is 8x slower on a CPU.
    """
    batch, height, width, channels = images.shape
    offset, scale = _row_constants(tuple(mean), tuple(std), width, images.device)
    return images.reshape(batch, height, width * channels).float().sub_(offset).mul_(scale)


def _channels_last(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """[B, H, W * C] -> [B, C, H, W] without a copy; `shape` is (B, H, W, C)."""
    batch, height, width, channels = shape
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


# Constants on the device are kept: making them anew for each batch would make the host wait for the device.
@lru_cache(maxsize=16)
def _row_constants(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """255 * mean and 1 / (255 * std), repeated for a row of pixels: two of float32 [W * C]."""
    offset = torch.tensor(mean, dtype=torch.float64) * 255
    scale = 1 / (torch.tensor(std, dtype=torch.float64) * 255)
    return offset.float().repeat(width).to(device), scale.float().repeat(width).to(device)


@lru_cache(maxsize=16)
def _positions(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """int64 [H] and [W]: 0, 1, 2, ..."""
    return torch.arange(height, device=device), torch.arange(width, device=device)


def _permutation(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """A random order, int64 [count] on `device`, drawn where the generator lives."""
    order = torch.randperm(count, generator=generator, device=generator.device)
    return order.to(device, non_blocking=True)
