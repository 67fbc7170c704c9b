"""The images that ship with the package."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_tensors
from torch import Tensor

from enas.config import DataConfig
from enas.data import Augmentation, load
from enas.data.resize import resize
from tests.images import CPU, random_set


def make_digits() -> dict[str, Tensor]:
    """What enas/data/digits.safetensors holds, made again: save_file(make_digits(), PATH) wrote it."""
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    digits = sklearn_datasets.load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)
    parts = train_test_split(np.arange(1797), test_size=600, stratify=digits.target, random_state=0)
    tensors = {}
    for part, rows in zip(("train", "test"), parts, strict=True):
        tensors[f"{part}_images"] = torch.from_numpy(images[rows])
        tensors[f"{part}_labels"] = torch.from_numpy(digits.target[rows].astype(np.uint8))
        tensors[f"{part}_rows"] = torch.from_numpy(rows.astype(np.int64))
    return tensors


def test_shipped_digits_equal_scikit_learns() -> None:
    shipped = load_tensors((resources.files("enas.data") / "digits.safetensors").read_bytes())
    made = make_digits()
    assert shipped.keys() == made.keys()
    for name, tensor in made.items():
        assert torch.equal(shipped[name], tensor), name


def test_digits_are_split_and_stratified() -> None:
    data = load(DataConfig(name="digits"), CPU)
    assert (len(data.train), len(data.test)) == (1197, 600)
    assert data.input_shape == (1, 8, 8) and data.num_classes == 10 and data.classes == tuple("0123456789")
    train, test = data.train.labels.bincount(), data.test.labels.bincount()
    assert (train + test).sum() == 1797
    assert ((test - (train + test) * 600 / 1797).abs() < 1).all()
    assert data.augmentation == Augmentation(crop_padding=1, flip=False, cutout=0)
    assert data.train.images.max() == 255 and data.train.images.min() == 0
    scaled = data.train.images.double() / 255
    assert data.mean == pytest.approx([scaled.mean().item()], abs=1e-9)
    assert data.std == pytest.approx([scaled.std(correction=0).item()], abs=1e-9)


def test_digits_resize() -> None:
    small, large = load(DataConfig(name="digits"), CPU), load(DataConfig(name="digits", image_size=16), CPU)
    assert large.input_shape == (1, 16, 16) and large.augmentation.crop_padding == 2
    means = large.train.images.double().mean((1, 2, 3)) - small.train.images.double().mean((1, 2, 3))
    assert means.abs().max() < 8  # the same pictures


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 8, 11, 32, 40])
def test_resizing_equals_pillows(channels: int, size: int) -> None:
    """As images in folders are resized."""
    images = random_set(9, size=16, channels=channels).images
    expected = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, channels)
        for image in (images if channels == 3 else images[..., 0]).numpy()
    ]
    resized = resize(images, size)
    assert (resized.int() - torch.from_numpy(np.stack(expected)).int()).abs().max() <= (0 if size in (8, 32) else 2)
    assert resized.dtype == torch.uint8 and resized.is_contiguous()
    assert resize(images, 16) is images
