"""Images in arrays, as users of Python have them: kept as one safetensors file, which every command reads as data.

The file holds train_images uint8 [N, H, W, C] with H = W, train_labels int64 [N], and maybe the same for `test`; its
header says the classes' names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from enas import checkpoint
from enas.cache import cache_folder
from enas.config import DataConfig
from enas.data.resize import resize
from enas.data.sets import ImageSet, check_memory
from enas.data.splitting import shuffled, split
from enas.errors import UserError

ENDING = ".safetensors"
SMALLEST, LARGEST = 4, 1024  # sides, as DataConfig.image_size allows
PARTS = ("train", "test")


def keep_arrays(arrays: Sequence[Any], classes: Sequence[str] | None = None) -> Path:
    """Write (images, labels) or (images, labels, test images, test labels) into the cache folder; returns the file.

    images: uint8 [N, C, H, W], [N, H, W, C] or grey [N, H, W], square, of torch or numpy. labels: whole numbers [N]
    from 0. classes: their names (default: the numbers). Equal arrays become the same file. Raises UserError for others.
    """
    if len(arrays) not in (2, 4):
        raise UserError(
            f"data must be (images, labels) or (images, labels, test images, test labels), but got {len(arrays)} arrays"
        )
    tensors: dict[str, Tensor] = {}
    for part, i in zip(PARTS, range(0, len(arrays), 2), strict=False):
        images, labels = _images(arrays[i], part), _labels(arrays[i + 1], part)
        tensors |= {f"{part}_images": images, f"{part}_labels": labels}
    count = int(max(tensors[f"{part}_labels"].max() for part in PARTS if f"{part}_labels" in tensors)) + 1
    names = list(map(str, range(count) if classes is None else classes))
    _check(tensors, names)
    header = {"classes": json.dumps(names)}
    digest = hashlib.sha256(header["classes"].encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    path = cache_folder().absolute() / "arrays" / f"{digest.hexdigest()[:32]}{ENDING}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save_model(path, tensors, header)
    return path


def load_arrays(path: str, config: DataConfig) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """(classes, train, test) of such a file, on the CPU; without test images a stratified share of train is given up.

    Raises UserError for any other file, and above the memory limit.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        names = [str(name) for name in json.loads(header["classes"])]
        _check(tensors, names)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError, UserError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"--data must be a folder, a data set's name or a file of images that enas wrote, but {path!r}: {reason}; "
            "give another"
        ) from None
    count, size, _, channels = tensors["train_images"].shape
    size = config.image_size or size
    check_memory(count + len(tensors.get("test_images", ())), size, channels, config.memory_limit_gib)
    train, *test = (
        ImageSet(resize(tensors[f"{part}_images"], size), tensors[f"{part}_labels"])
        for part in PARTS
        if f"{part}_images" in tensors
    )
    if not test:
        return tuple(names), *split(train, config.test_fraction, config.split_seed, classes=names)
    first, second = (one.subset(shuffled(len(one), config.split_seed)) for one in (train, *test))
    return tuple(names), first, second


def _images(values: Any, part: str) -> Tensor:
    """As uint8 [N, H, W, C]."""
    tensor = _tensor(values, f"{part} images")
    if tensor.dtype != torch.uint8:
        raise UserError(f"{part} images must be bytes (uint8, 0 to 255), but got {_named(tensor)}; convert them")
    if tensor.ndim == 3:
        tensor = tensor[..., None]
    elif tensor.ndim == 4 and tensor.shape[-1] not in (1, 3):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.contiguous()


def _labels(values: Any, part: str) -> Tensor:
    tensor = _tensor(values, f"{part} labels")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or not tensor.numel():
        raise UserError(f"{part} labels must be whole numbers from 0, one for each image, but got {_named(tensor)}")
    return tensor.long().contiguous()


def _tensor(values: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{what} must be an array of torch or numpy, but got {type(values).__name__}: {error}"
        ) from None


def _named(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check(tensors: dict[str, Tensor], classes: Sequence[str]) -> None:
    """Raise UserError unless the tensors are what such a file holds."""
    shapes = set()
    for part in PARTS if "test_images" in tensors else PARTS[:1]:
        images, labels = tensors[f"{part}_images"], tensors[f"{part}_labels"]
        square = images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] in (1, 3)
        if images.dtype != torch.uint8 or not square or not SMALLEST <= images.shape[1] <= LARGEST:
            raise UserError(
                f"{part} images must be squares of {SMALLEST} to {LARGEST} pixels with 1 or 3 channels, but got "
                f"{_named(images)} (images, height, width, channels)"
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1] or not len(labels):
            raise UserError(f"{part} must have a label for each of {len(images)} images, but got {_named(labels)}")
        if labels.min() < 0 or labels.max() >= len(classes):
            raise UserError(
                f"{part} labels must be from 0 to {len(classes) - 1}, of {len(classes)} classes, but they are from "
                f"{int(labels.min())} to {int(labels.max())}"
            )
        shapes.add(tuple(images.shape[1:]))
    if len(shapes) > 1:
        raise UserError(f"test images must have the training images' shape, but got {sorted(shapes)}")
    missing = set(range(len(classes))) - set(tensors["train_labels"].tolist())
    if len(classes) < 2 or missing:
        raise UserError(
            f"there must be at least two classes, with training images of each, but got {len(classes)}"
            + (f", and none of class {min(missing)}" if missing else "")
        )
