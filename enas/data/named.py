"""Data sets by name: torchvision's classes know where they are, their checksums and how they are parsed.

They lie in one folder, laid out as torchvision does, so that copies are shared with other programs.
CIFAR comes as pickles, which could run anything: all files are compared with the checksums of the
originals before one of them is opened. MNIST and its likes are plain bytes; they have no checksums once
unpacked, so sizes and labels are checked. torchvision is imported late, as importing it takes a second.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from enas.cache import cache_folder
from enas.config import DataConfig
from enas.data.download import download
from enas.data.resize import resize
from enas.data.sets import ImageSet, check_memory
from enas.data.splitting import shuffled
from enas.errors import UserError


class Known(NamedTuple):
    """What has to be known of a set before it is there."""

    dataset: str  # the class in torchvision.datasets
    images: int  # training and test images together
    size: int  # side in pixels
    channels: int
    flip: bool  # whether a mirrored image may still be of its class; digits and letters are not


SETS = {
    "cifar10": Known("CIFAR10", 60_000, 32, 3, True),
    "cifar100": Known("CIFAR100", 60_000, 32, 3, True),
    "fashion-mnist": Known("FashionMNIST", 70_000, 28, 1, True),
    "kmnist": Known("KMNIST", 70_000, 28, 1, False),
    "mnist": Known("MNIST", 70_000, 28, 1, False),
    "svhn": Known("SVHN", 99_289, 32, 3, False),
}


@dataclass(frozen=True)
class Layout:
    """The files of a set, as paths below the data folder."""

    files: dict[str, str | None]  # all that is read -> MD5, or None where nobody has published one
    archives: dict[str, str]  # what the files are unpacked from -> MD5


def load_named(name: str, config: DataConfig) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """(classes, train, test) of the set `name`, one of SETS, on the CPU, in a seeded random order.

    Reads the copy in the data folder, without any network; where files are missing they are downloaded
    there first. Raises UserError above the memory limit, for a download that fails, and for damaged files.
    """
    known = SETS[name]
    size = config.image_size or known.size
    check_memory(known.images, size, known.channels, config.memory_limit_gib)
    from torchvision import datasets

    dataset = getattr(datasets, known.dataset)
    layout, folder = _layout(dataset), data_folder(config)
    if not all(os.path.exists(folder / file) for file in layout.files):
        download(name, dataset, list(layout.files), layout.archives, folder)
    _check_sums(name, layout, folder)
    parts = []
    for train in (True, False):
        images, labels, classes = _read_checked(name, dataset, layout, folder, train)
        order = shuffled(len(labels), config.split_seed)
        parts.append(ImageSet(resize(images, size), labels).subset(order))
    return classes, parts[0], parts[1]


def data_folder(config: DataConfig) -> Path:
    """Where data sets are kept: the setting's folder, else `datasets` in the cache folder. Absolute."""
    if config.folder:
        return Path(os.path.abspath(os.path.expanduser(config.folder)))
    return cache_folder().absolute() / "datasets"


def _layout(dataset: Any) -> Layout:
    """Where the class expects its files, and their checksums."""
    from torchvision import datasets

    if issubclass(dataset, datasets.CIFAR10):  # CIFAR100 too
        meta = (dataset.meta["filename"], dataset.meta["md5"])
        listed = (*dataset.train_list, *dataset.test_list, meta)
        files = {f"{dataset.base_folder}/{file}": md5 for file, md5 in listed}
        return Layout(files, {dataset.filename: dataset.tgz_md5})
    if issubclass(dataset, datasets.MNIST):
        archives = {f"{dataset.__name__}/raw/{file}": md5 for file, md5 in dataset.resources}
        return Layout({file.removesuffix(".gz"): None for file in archives}, archives)
    return Layout({file: md5 for _, file, md5 in (dataset.split_list[part] for part in ("train", "test"))}, {})


def _check_sums(name: str, layout: Layout, folder: Path) -> None:
    """Raise UserError unless every file is the original. torchvision looks too; here it must not depend on that."""
    from torchvision.datasets.utils import check_integrity

    for file, md5 in layout.files.items():
        try:
            reason = None if check_integrity(folder / file, md5) else "it is not the original's"
        except OSError as error:
            reason = error.strerror or type(error).__name__
        if reason:
            raise UserError(_damaged(name, layout, folder, f"checksum of {file}: {reason}"))


def _read_checked(
    name: str, dataset: Any, layout: Layout, folder: Path, train: bool
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """What `_read` returns, or UserError unless there are images of the set's shape, each with a possible label."""
    known = SETS[name]
    shape = [known.size, known.size, known.channels]
    try:
        images, labels, classes = _read(dataset, folder, train)
        if not len(images) or list(images.shape[1:]) != shape:
            raise ValueError(f"images must be [N, {', '.join(map(str, shape))}], got {list(images.shape)}")
        if labels.shape != images.shape[:1] or labels.min() < 0 or labels.max() >= len(classes):
            raise ValueError(f"{len(images)} images must each have a label below {len(classes)}")
    # plain bytes that were cut short or changed: torchvision checks them with whatever fails first
    except (OSError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(_damaged(name, layout, folder, str(error) or type(error).__name__)) from None
    return images, labels, classes


def _read(dataset: Any, folder: Path, train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images uint8 [N, H, W, C] and labels int64 [N] of one part, and the classes' names."""
    from torchvision import datasets
    from torchvision.datasets import mnist

    if issubclass(dataset, datasets.CIFAR10):
        part = dataset(folder, train=train)
        return torch.from_numpy(part.data).contiguous(), torch.tensor(part.targets), tuple(part.classes)
    if issubclass(dataset, datasets.MNIST):
        # not the class: it prefers a file of older versions, `processed/training.pt`, where there is one
        stem = folder / dataset.__name__ / "raw" / ("train" if train else "t10k")
        images = mnist.read_image_file(f"{stem}-images-idx3-ubyte")
        return images[..., None], mnist.read_label_file(f"{stem}-labels-idx1-ubyte"), tuple(dataset.classes)
    part = dataset(folder, split="train" if train else "test")
    images = torch.from_numpy(part.data).permute(0, 2, 3, 1).contiguous()
    return images, torch.from_numpy(part.labels), tuple("0123456789")


def _damaged(name: str, layout: Layout, folder: Path, reason: str) -> str:
    place = folder / next(iter(layout.files))
    what = place if place.parent == folder else place.parent
    reason = " ".join(reason.split())[:200]
    return (
        f"the files of {name} must be intact, but in {str(folder)!r} they are not ({reason}); remove "
        f"{str(what)!r}, and they are downloaded again"
    )
