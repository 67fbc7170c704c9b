"""Small image folders and image sets that several test files use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from enas.config import DataConfig
from enas.data import Augmentation, DataSet, ImageSet, load, training_batches
from enas.errors import UserError

CPU = torch.device("cpu")
MEAN, STD = (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)


def pixels(seed: int, height: int = 8, width: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def make_folder(
    root: Path, train: dict[str, int], test: dict[str, int] | None = None, image: Callable[[int], Image.Image] = pixels
) -> Path:
    """A folder of PNG images: so many for each class, each of another seed."""
    seed = 0
    for part, counts in (("train", train), ("test", test or {})):
        for name, count in counts.items():
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                image(seed).save(root / part / name / f"{i}.png")
                seed += 1
    return root


def two_classes(root: Path) -> Path:
    """11 training images of two classes, and 2 test images of one."""
    return make_folder(root, {"cat": 6, "dog": 5}, {"dog": 2})


def load_folder(path: Path, **changes: object) -> DataSet:
    return load(DataConfig(name=str(path), **changes), CPU)  # type: ignore[arg-type]


def as_bytes(images: ImageSet) -> list[tuple[bytes, int]]:
    """Images and labels as a sorted list, to compare as sets do."""
    return sorted((i.numpy().tobytes(), int(n)) for i, n in zip(images.images, images.labels, strict=True))


def random_set(count: int, size: int = 8, channels: int = 3, classes: int = 3, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, size, size, channels), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.randint(0, classes, (count,), generator=generator))


def rejected(match: str, path: Path | str, **changes: object) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load(DataConfig(name=str(path), **changes), CPU)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)  # the remedy


def list_epoch(images: ImageSet, batch_size: int, seed: int, augmentation: Augmentation) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return list(training_batches(images, batch_size, augmentation, MEAN, STD, generator))
