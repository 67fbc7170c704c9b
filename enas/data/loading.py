"""From a DataConfig to a DataSet: the one place where the settings' defaults are resolved."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from enas.config import DataConfig
from enas.data import digits
from enas.data.folder import load_folder
from enas.data.listing import printable
from enas.data.sets import Augmentation, DataSet
from enas.errors import UserError

# Names that people try because other programs download these sets. This one never downloads.
KNOWN_ELSEWHERE = (
    "cifar10", "cifar100", "mnist", "fashionmnist", "kmnist", "emnist", "svhn", "stl10", "imagenet", "imagenette",
    "imagenet16120", "tinyimagenet",
)  # fmt: skip


def load(config: DataConfig, device: torch.device) -> DataSet:
    """Load the images that `config` names onto `device` and resolve what follows from them.

    `digits` is the set that ships with the package; anything else is a folder with train/<class>/*
    and, optionally, test/<class>/*. Raises UserError for everything that is wrong with the settings
    or the files; warns (UserWarning) where it goes on.
    """
    if config.name is None:
        raise UserError(
            "a search needs images, but none were named; give --data digits or --data FOLDER with train/<class>/*"
        )
    if config.name == "digits":
        name, classes, flip = "digits", digits.CLASSES, False  # a mirrored digit is not a digit
        train, test = digits.load_digits(config.image_size, config.memory_limit_gib)
    else:
        path = _folder(config.name)
        name, flip = printable(os.path.basename(path)), True
        classes, train, test = load_folder(path, config)
    mean, std = channel_statistics(train.images)
    augmentation = _augmentation(config, train.images.shape[1], flip)
    return DataSet(name, classes, train.to(device), test.to(device), mean, std, augmentation)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in 0..1, exact sums: uint8 [N, H, W, C] -> two of [C]."""
    count, height, width, channels = images.shape
    total = torch.zeros(height * width * channels, dtype=torch.float64)
    squares = torch.zeros_like(total)
    # 256 * 255^2 < 2^24: up to 256 squares add up in float32 without rounding, whatever the order
    for chunk in torch.split(images.reshape(count, -1), 256):
        values = chunk.float()
        total += values.sum(0)
        squares += values.square().sum(0)
    pixels = count * height * width
    mean = total.view(-1, channels).sum(0) / pixels
    variance = squares.view(-1, channels).sum(0) / pixels - mean.square()
    # one grey level is the smallest deviation: a channel that is constant must not divide by zero
    std = variance.clamp(min=1).sqrt()
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _folder(name: str) -> str:
    """The absolute path of the folder of images, or UserError if it is none."""
    path = os.path.abspath(os.path.expanduser(name)) if name else ""
    if os.path.isdir(path):
        return path
    if os.path.isfile(path):
        raise UserError(
            f"--data must be digits or a folder with train/<class>/*, but {name!r} is a file; unpack it first"
        )
    if "".join(filter(str.isalnum, name.lower())) in KNOWN_ELSEWHERE:
        raise UserError(
            f"--data must be digits or a folder with train/<class>/*, but got {name!r} and nothing is ever "
            f"downloaded; unpack its images into such a folder and give the folder"
        )
    raise UserError(
        f"--data must be digits or a folder with train/<class>/*, but there is no folder {name!r}; check the path"
    )


def _augmentation(config: DataConfig, size: int, flip: bool) -> Augmentation:
    """The resolved augmentation for square images of `size`, or UserError if it leaves nothing to see."""
    padding = max(1, size // 8) if config.crop_padding is None else config.crop_padding
    for setting, value in (("--cutout", config.cutout), ("data.crop_padding", padding)):
        if value >= size:
            raise UserError(
                f"{setting} must be smaller than the images' {size} pixels, but got {value}; give a smaller number"
            )
    return Augmentation(padding, flip if config.flip is None else config.flip, config.cutout)
