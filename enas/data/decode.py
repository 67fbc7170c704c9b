"""Image files to bytes: of any format, mode, depth and orientation, to squares of one size.

A file that cannot be decoded never stops the others: its reason is returned in its place.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

T = TypeVar("T")

# Grey as the file says. Grey pixels in a colour file are found after decoding.
GREY_MODES = {"1", "L", "LA", "La"}
GREY_16_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N"}  # Pillow reads 16-bit PGM files as "I"
# Pillow warns above this; a file of a few kB can claim it and take all memory.
MAX_PIXELS = 89_478_485
WHITE = (255, 255, 255, 255)


class Header(NamedTuple):
    """What a file says about its image before it is decoded."""

    width: int
    height: int
    grey: bool


def probe(paths: Sequence[str]) -> list[Header | str]:
    """Read the files' headers: for each a Header, or the reason why there is none."""
    return _in_threads(lambda i: _attempt(_probe_one, paths[i]), len(paths), 2, "reading headers")


def decode(
    paths: Sequence[str], headers: Sequence[Header], size: int, channels: int
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Decode files with good headers to uint8 [len(paths), size, size, channels], channels 1 or 3.

    The aspect is kept: the shorter side is resized to `size`, the longer one cropped to its centre.
    Also returns the reasons of those that could not be decoded, by position; their pixels are undefined.
    """
    images = np.empty((len(paths), size, size, channels), np.uint8)

    def decode_into(i: int) -> str | None:
        pixels = _attempt(lambda path: _decode_one(path, size, channels), paths[i])
        if isinstance(pixels, str):
            return pixels
        images[i] = pixels
        return None

    # Images of 32x32 spend their time in Python, where two threads are 1.5x slower than one; photos gain
    pixels_each = sum(header.width * header.height for header in headers) / max(1, len(headers))
    threads = 1 if pixels_each < 64 * 64 else min(16, os.cpu_count() or 1)
    reasons = _in_threads(decode_into, len(paths), threads, "decoding images")
    return images, {i: reason for i, reason in enumerate(reasons) if reason is not None}


def _probe_one(path: str) -> Header:
    with Image.open(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width}x{height} is more than the {MAX_PIXELS} pixels that are safe to decode")
        if image.mode == "F":
            raise ValueError("floating-point pixels have no known range; convert them to 8 or 16 bits")
        return Header(width, height, image.mode in GREY_MODES | GREY_16_MODES)


def _decode_one(path: str, size: int, channels: int) -> NDArray[np.uint8]:
    """One file as uint8 [size, size, channels]."""
    with Image.open(path) as image:
        # JPEG can decode at a half, a quarter or an eighth; twice the wanted size keeps the resizing's quality
        image.draft(None, (2 * size, 2 * size))
        ImageOps.exif_transpose(image, in_place=True)
        pixels = np.asarray(_fit(_plain(image, channels), size))
    return pixels.reshape(size, size, channels)


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """The image in mode L (1 channel) or RGB (3), 16 bits scaled to 8, transparent parts white."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode in GREY_16_MODES:
        # Pillow's own conversion clips at 255, which makes nearly everything white
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        # Dropping alpha would show whatever colour hides there; white is what pages show behind it
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba)
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` (bilinear, antialiased) and crop the longer one to its centre."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def _attempt(work: Callable[[str], T], path: str) -> T | str:
    """`work(path)`, or in one line why it failed."""
    try:
        return work(path)
    # Broken files make Pillow raise nearly anything: OSError, SyntaxError, struct.error, IndexError, MemoryError ...
    except UnidentifiedImageError:
        return "not an image of a known format"
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return " ".join(reason.split()) or type(error).__name__


def _in_threads(work: Callable[[int], T], count: int, threads: int, title: str) -> list[T]:
    """[work(0), ..., work(count - 1)] in threads; a progress bar on stderr if it takes more than a second."""
    chunks = [range(start, min(start + 64, count)) for start in range(0, count, 64)]
    results: list[T] = []
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(max_workers=threads) as pool,
        # disable=None: no bar where stderr is not a terminal
        tqdm(total=count, desc=title, unit=" images", delay=1, leave=False, disable=None) as bar,
    ):
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files, one for each
        try:
            for part in pool.map(lambda chunk: [work(i) for i in chunk], chunks):
                results += part
                bar.update(len(part))
        except BaseException:  # Ctrl-C: leaving the pool would otherwise decode all that is queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results
