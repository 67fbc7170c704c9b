"""Image folders: train/<class>/* and, optionally, test/<class>/*."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from enas.config import DataConfig
from enas.data import cache
from enas.data.cache import Decoded
from enas.data.decode import Header, decode, probe
from enas.data.listing import Listing, list_folder
from enas.data.sets import ImageSet, check_memory
from enas.data.splitting import shuffled, split
from enas.errors import UserError

# The side that the settings allow (DataConfig.image_size), and what images of many sizes become.
SMALLEST, LARGEST, USUAL = 4, 1024, 64


def load_folder(path: str, config: DataConfig) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """(classes, train, test) of the folder at the absolute `path`, on the CPU, in a seeded random order.

    A folder without test/ gives up a stratified share of train/. Raises UserError, see the parts.
    """
    listing = list_folder(path)
    cached = cache.cache_path(listing, config.image_size)
    decoded = cache.read(cached, len(listing.files))
    if decoded is None:
        decoded = _decode(listing, config)
        cache.write(cached, decoded)
    count, size, _, channels = decoded.images.shape
    check_memory(count, size, channels, config.memory_limit_gib)
    _report(listing, decoded.failures, config.skip_unreadable)

    kept = [i for i in range(len(listing.files)) if i not in decoded.failures]
    labels = torch.tensor([listing.labels[i] for i in kept], dtype=torch.int64)
    num_train = sum(i < listing.num_train for i in kept)
    everything = ImageSet(decoded.images, labels)
    if not listing.has_test:
        _check_classes(listing, labels)
        train, test = split(everything, config.test_fraction, config.split_seed, classes=listing.classes)
        return listing.classes, train, test
    _check_classes(listing, labels[:num_train])
    if num_train == len(kept):
        raise UserError(f"test/ must have at least one readable image, but {path!r} has none; add some or remove test/")
    order = shuffled(num_train, config.split_seed)
    order_test = num_train + shuffled(len(kept) - num_train, config.split_seed)
    return listing.classes, everything.subset(order), everything.subset(order_test)


def _decode(listing: Listing, config: DataConfig) -> Decoded:
    """Decode all files of the listing. Raises UserError above the memory limit, before decoding."""
    paths = [file.path for file in listing.files]
    headers = probe(paths)
    failures = {i: header for i, header in enumerate(headers) if isinstance(header, str)}
    readable = [i for i in range(len(paths)) if i not in failures]
    known = [header for header in headers if isinstance(header, Header)]
    if not known:
        raise UserError(f"some images must be readable, but {_describe(listing, failures)}; replace them")
    size = config.image_size or _own_size(known)
    channels = 1 if all(header.grey for header in known) else 3
    check_memory(len(readable), size, channels, config.memory_limit_gib)

    images, broken = decode([paths[i] for i in readable], known, size, channels)
    failures |= {readable[i]: reason for i, reason in broken.items()}
    if broken:
        images = np.delete(images, list(broken), axis=0)
    if not len(images):
        raise UserError(f"some images must be readable, but {_describe(listing, failures)}; replace them")
    pixels = torch.from_numpy(images)
    if channels == 3 and torch.equal(pixels[..., 0], pixels[..., 1]) and torch.equal(pixels[..., 0], pixels[..., 2]):
        pixels = pixels[..., :1].contiguous()  # grey images in colour files, as many MNIST folders are
    return Decoded(pixels, dict(sorted(failures.items())))


def _own_size(headers: list[Header]) -> int:
    """The side of the images if all are squares of one size, else the usual one; UserError if it is not allowed."""
    width, height, _ = headers[0]
    if width != height or any(header[:2] != (width, height) for header in headers):
        return USUAL
    if not SMALLEST <= width <= LARGEST:
        raise UserError(
            f"images must be {SMALLEST} to {LARGEST} pixels wide to be used as they are, but all are "
            f"{width}x{width}; give --image-size, and they are resized"
        )
    return width


def _report(listing: Listing, failures: dict[int, str], skip: bool) -> None:
    """Raise UserError for unreadable files, or warn if they are to be skipped."""
    if failures and skip:
        warnings.warn(f"{_describe(listing, failures)}; they are left out", stacklevel=2)
    elif failures:
        raise UserError(
            f"all images must be readable, but {_describe(listing, failures)}; remove them or set "
            f"data.skip_unreadable=true"
        )


def _describe(listing: Listing, failures: dict[int, str]) -> str:
    first = min(failures)
    return (
        f"{len(failures)} of {len(listing.files)} images cannot be read, first "
        f"{listing.files[first].path!r} ({failures[first]})"
    )


def _check_classes(listing: Listing, labels: torch.Tensor) -> None:
    """Raise UserError if a class has lost all of its images to `skip_unreadable`."""
    counts = torch.bincount(labels, minlength=len(listing.classes)).tolist()
    for name, count in zip(listing.classes, counts, strict=True):
        if not count:
            raise UserError(
                f"every class must have at least one readable image, but {name!r} has none; add images or remove it"
            )
