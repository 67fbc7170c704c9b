"""Downloading a data set with torchvision, so that either all of its files are in place or nothing has changed.

torchvision writes where the files will be read, and takes some of what an interrupted download left
for good. Here it works in a folder of its own, and complete files are moved.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from enas.errors import UserError

PATIENCE_S = 60  # without a byte; urllib would wait for ever


def download(name: str, dataset: Any, files: Sequence[str], archives: Mapping[str, str], folder: Path) -> None:
    """Get the `files` of a torchvision.datasets class that `folder` lacks; what is there is not touched.

    Archives that are in the folder and have the right MD5 are unpacked instead of downloaded. Progress is
    shown on stderr. Raises UserError, after removing what it wrote, where it fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # beside its destination: moving a file within one file system cannot stop half-way
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as staging:
            _offer(archives, folder, Path(staging))
            # older versions of torchvision report on stdout, which is for results
            with _patience(), contextlib.redirect_stdout(sys.stderr):
                _get(dataset, staging)
            for file in files:
                if not os.path.exists(folder / file):
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(Path(staging) / file, folder / file)
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        copy = " and ".join(dict.fromkeys(file.partition("/")[0] for file in files))
        packed = "".join(f" or {archive}" for archive in archives if "/" not in archive)
        raise UserError(
            f"--data {name} must be downloaded once, but that failed ({_reason(error)}); put {copy}{packed} into "
            f"{str(folder)!r}, name its folder with --data-folder, or give --data digits or a folder of images"
        ) from None


def _get(dataset: Any, folder: str) -> None:
    """Let the class download, check and unpack its files below `folder`."""
    if hasattr(dataset, "split_list"):
        for split in ("train", "test"):
            dataset(folder, split=split, download=True)
    else:
        dataset(folder, download=True)


def _offer(archives: Mapping[str, str], folder: Path, staging: Path) -> None:
    """Link the archives that are intact into the staging folder, where torchvision finds them."""
    from torchvision.datasets.utils import check_integrity

    for file, md5 in archives.items():
        # a damaged one must not be linked: torchvision would write the right one over the user's file
        if check_integrity(folder / file, md5):
            (staging / file).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(folder / file, staging / file)
            except OSError:  # file systems without links
                shutil.copyfile(folder / file, staging / file)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    """The error in one short line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300] or type(error).__name__
