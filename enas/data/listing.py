"""Which image files a folder holds and what they are labelled. Nothing is opened here.

The scan is our own rather than torchvision's because the cache needs sizes and times, which
`os.scandir` has at hand, because it must not trip over hidden files or circular links, and because
importing torchvision takes longer than loading CIFAR-10 from the cache.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import NamedTuple

from enas.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class ImageFile(NamedTuple):
    """One file, and what tells whether it has changed."""

    path: str
    size: int  # bytes; -1 for a link to nowhere, which then counts as unreadable
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of an image folder in a fixed order: first those of train/, then those of test/."""

    path: str
    classes: tuple[str, ...]
    files: list[ImageFile]
    labels: list[int]  # one per file
    num_train: int
    has_test: bool


def list_folder(path: str) -> Listing:
    """List `path`/train/<class>/** and, where it exists, `path`/test/<class>/**.

    Raises UserError unless there are at least two classes, each has an image wherever it has a folder,
    and test/ has no class that train/ lacks.
    """
    train, test = os.path.join(path, "train"), os.path.join(path, "test")
    if not os.path.isdir(train):
        found = ", ".join(repr(entry.name) for entry in _entries(path)[:5]) or "nothing"
        raise UserError(
            f"an image folder must contain train/<class>/*, but {path!r} has no train/ (it holds {found}); "
            f"put one folder for each class into {train!r}"
        )
    classes = _class_folders(train)
    if not classes:
        raise UserError(
            f"train/ must contain one folder for each class, but {train!r} has none; move the images into "
            f"{os.path.join(train, '<class>')!r}"
        )
    if len(classes) < 2:
        raise UserError(f"there must be at least two classes, but {train!r} has only {classes[0]!r}; add another")
    has_test = os.path.isdir(test)
    test_classes = _class_folders(test) if has_test else []
    if has_test and not test_classes:
        raise UserError(
            f"test/ must contain one folder for each class, but {test!r} has none; fill it or remove it, and a "
            f"part of train/ is set aside instead"
        )
    unknown = [name for name in test_classes if name not in classes]
    if unknown:
        raise UserError(
            f"the classes of test/ must be among those of train/, but {unknown[0]!r} is not "
            f"({len(unknown)} such); rename or remove {os.path.join(test, unknown[0])!r}"
        )
    for name in ("val", "valid", "validation"):
        if os.path.isdir(os.path.join(path, name)):
            remedy = "" if has_test else "; rename it to test/ if it is the test set"
            warnings.warn(
                f"{os.path.join(path, name)!r} is not read: validation images are split off train/{remedy}",
                stacklevel=2,
            )

    files: list[ImageFile] = []
    labels: list[int] = []
    for name in classes:
        _append(os.path.join(train, name), classes.index(name), files, labels)
    num_train = len(files)
    for name in test_classes:
        _append(os.path.join(test, name), classes.index(name), files, labels)
    return Listing(path, tuple(map(printable, classes)), files, labels, num_train, has_test)


def printable(name: str) -> str:
    """A file's name as valid text: bytes that are none could not be printed or encoded later."""
    return os.fsencode(name).decode("utf-8", "replace")


def _append(folder: str, label: int, files: list[ImageFile], labels: list[int]) -> None:
    """Append the images of one class folder, or raise UserError if it has none."""
    found = sorted(_images(folder, set()))
    if not found:
        raise UserError(
            f"every class must have at least one image ({' '.join(EXTENSIONS)}), but {folder!r} has none; "
            f"add images or remove the folder"
        )
    files += found
    labels += [label] * len(found)


def _images(folder: str, visited: set[tuple[int, int]]) -> list[ImageFile]:
    """All image files below a folder; each folder once, even where links make circles."""
    identity = os.stat(folder)
    if (identity.st_dev, identity.st_ino) in visited:
        return []
    visited.add((identity.st_dev, identity.st_ino))
    found: list[ImageFile] = []
    for entry in _entries(folder):
        if entry.is_dir():
            found += _images(entry.path, visited)
        elif entry.name.lower().endswith(EXTENSIONS):
            if entry.is_file():
                status = entry.stat()
                found.append(ImageFile(entry.path, status.st_size, status.st_mtime_ns))
            elif entry.is_symlink():
                found.append(ImageFile(entry.path, -1, 0))
    return found


def _class_folders(folder: str) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds, without hidden names (.ipynb_checkpoints, ._photo.jpg) and macOS archives' twin."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise UserError(
            f"image folders must be readable, but {folder!r} is not: {error.strerror}; change its permissions"
        ) from None
