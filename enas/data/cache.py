"""Decoded images on disk, so that a folder is decoded once. safetensors, never pickle.

A cache file is only ever a copy: if it is missing, stale or damaged the images are decoded again,
and if it cannot be written the run goes on with a warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from enas.cache import cache_folder
from enas.data.listing import Listing

VERSION = 1  # raise it when decoding changes, and old caches are not found any more


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images of a listing, in its order, less those that could not be decoded."""

    images: Tensor  # uint8 [len(files) - len(failures), S, S, C]
    failures: dict[int, str]  # position in the listing -> reason


def cache_path(listing: Listing, image_size: int | None) -> Path:
    """The cache file for these files at this size: another name as soon as any file changes."""
    place = _hash(f"{VERSION}\0{image_size}\0{listing.path}")
    start = len(listing.path)
    content = "\0".join(f"{path[start:]}\0{size}\0{mtime_ns}" for path, size, mtime_ns in listing.files)
    return cache_folder() / f"images-{place}-{_hash(content)}.safetensors"


def read(path: Path, count: int) -> Decoded | None:
    """What was written for a listing of `count` files, or None if it is not there or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            images = file.get_tensor("images")
        failures = {int(position): str(reason) for position, reason in json.loads(metadata["failures"]).items()}
        intact = (
            images.dtype == torch.uint8
            and images.ndim == 4
            and len(images) + len(failures) == count
            and zlib.crc32(images.numpy().data) == int(metadata["crc32"])
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError):
        return None
    return Decoded(images, failures) if intact else None


def write(path: Path, decoded: Decoded) -> None:
    """Write the cache file in one step and remove those of earlier states of the folder; warn on failure."""
    metadata = {"failures": json.dumps(decoded.failures), "crc32": str(zlib.crc32(decoded.images.numpy().data))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-", suffix=".tmp")
        os.close(handle)
        try:
            save_file({"images": decoded.images}, temporary, metadata)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        place = path.name.rpartition("-")[0]
        for stale in path.parent.glob(f"{place}-*.safetensors"):
            if stale != path:
                stale.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        warnings.warn(
            f"decoded images could not be kept in {str(path.parent)!r} and will be decoded again next time "
            f"({error}); set ENAS_CACHE to a folder with {decoded.images.nbytes / 2**20:.0f} MiB of space",
            stacklevel=2,
        )


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
