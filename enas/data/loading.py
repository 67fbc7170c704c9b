"""From a DataConfig to a DataSet: the one place where the settings' defaults are resolved."""

from __future__ import annotations

import os
import warnings

import torch
from torch import Tensor

from enas.config import DataConfig
from enas.data import digits
from enas.data.arrays import ENDING, load_arrays
from enas.data.folder import load_folder
from enas.data.listing import printable
from enas.data.named import SETS, data_folder, load_named
from enas.data.sets import Augmentation, DataSet
from enas.errors import UserError

# What --data takes, for messages
CHOICES = f"digits, {', '.join(SETS)} or a folder with train/<class>/*"

# Names that people try because other programs know these sets.
KNOWN_ELSEWHERE = ("emnist", "stl10", "imagenet", "imagenette", "imagenet16120", "tinyimagenet")


def load(config: DataConfig, device: torch.device) -> DataSet:
    """Load the images that `config` names onto `device` and resolve what follows from them.

    `digits` is the set that ships with the package; the names in SETS are downloaded where they are not
    there yet; anything else is a folder with train/<class>/* and, optionally, test/<class>/*. Raises
    UserError for everything that is wrong with the settings or the files; warns (UserWarning) where it
    goes on.
    """
    if config.name is None:
        raise UserError(f"a search needs images, but none were named; give --data digits or another of: {CHOICES}")
    if config.folder is not None and config.name not in SETS:
        warnings.warn(f"--data-folder is not used: --data {printable(config.name)} is not kept there", stacklevel=2)
    if config.name == "digits":
        name, classes, flip = "digits", digits.CLASSES, False  # a mirrored digit is not a digit
        train, test = digits.load_digits(config.image_size, config.memory_limit_gib)
    elif config.name in SETS:
        name, flip = config.name, SETS[config.name].flip
        classes, train, test = load_named(config.name, config)
    elif is_file_of_arrays(config.name):
        name, flip = printable(os.path.basename(config.name)), True
        classes, train, test = load_arrays(config.name, config)
    else:
        path = _folder(config.name)
        name, flip = printable(os.path.basename(path)), True
        classes, train, test = load_folder(path, config)
    mean, std = channel_statistics(train.images)
    varied = augmentation(config, train.images.shape[1], flip)
    return DataSet(name, classes, train.to(device), test.to(device), mean, std, varied)


def places(config: DataConfig) -> dict[str, str | None]:
    """The settings that say where the images are, whatever folder they are read in."""
    name, folder = config.name, config.folder
    if name is not None and name not in ("digits", *SETS):
        name = os.path.abspath(name) if is_file_of_arrays(name) else _folder(name)
    return {"name": name, "folder": str(data_folder(config)) if folder else folder}


def is_file_of_arrays(name: str) -> bool:
    """Whether this names a file that may be one of `enas.data.arrays`."""
    return name.endswith(ENDING) and os.path.isfile(name)


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
        raise UserError(f"--data must be {CHOICES}, but {name!r} is a file; unpack it first")
    plain = _plain(name)
    for known in ("digits", *SETS):
        if plain == _plain(known):
            raise UserError(f"--data must be {CHOICES}, but got {name!r}; give --data {known}")
    if plain in KNOWN_ELSEWHERE:
        raise UserError(
            f"--data must be {CHOICES}, but got {name!r}, which is not downloaded; unpack its images into such a "
            f"folder and give the folder"
        )
    raise UserError(f"--data must be {CHOICES}, but there is no folder {name!r}; check the path")


def _plain(name: str) -> str:
    """The name as it is compared with those that people may have meant."""
    return "".join(filter(str.isalnum, name.lower()))


def augmentation(config: DataConfig, size: int, flip: bool) -> Augmentation:
    """The resolved augmentation for square images of `size`, or UserError if it leaves nothing to see."""
    padding = max(1, size // 8) if config.crop_padding is None else config.crop_padding
    for setting, value in (("--cutout", config.cutout), ("data.crop_padding", padding)):
        if value >= size:
            raise UserError(
                f"{setting} must be smaller than the images' {size} pixels, but got {value}; give a smaller number"
            )
    return Augmentation(padding, flip if config.flip is None else config.flip, config.cutout, config.trivial_augment)
