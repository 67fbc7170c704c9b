"""Image folders: what is read of them, at which size, in which colours."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from enas.data import Augmentation
from tests.images import as_bytes, load_folder, make_folder, pixels, two_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "images")


def test_folder_with_test(folder: Path) -> None:
    data = load_folder(folder)
    assert data.name == "images" and data.classes == ("cat", "dog") and data.input_shape == (3, 8, 8)
    assert data.train.labels.bincount().tolist() == [6, 5] and data.test.labels.tolist() == [1, 1]
    assert data.augmentation == Augmentation(crop_padding=1, flip=True, cutout=0)
    expected = [(pixels(i).tobytes(), int(i >= 6)) for i in range(11)]
    assert as_bytes(data.train) == sorted(expected)
    assert as_bytes(data.test) == sorted((pixels(i).tobytes(), 1) for i in (11, 12))
    labels = data.train.labels.tolist()
    assert labels != sorted(labels)  # shuffled: evaluation goes in order and needs mixed batches


def test_folder_without_test_gives_up_a_stratified_share(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "images", {"a": 20, "b": 10, "c": 2})
    data = load_folder(path, test_fraction=0.25)
    assert data.train.labels.bincount().tolist() == [15, 8, 1]
    assert data.test.labels.bincount().tolist() == [5, 2, 1]
    everything = sorted((pixels(i).tobytes(), 0 if i < 20 else 1 if i < 30 else 2) for i in range(32))
    assert sorted(as_bytes(data.train) + as_bytes(data.test)) == everything
    again, other = load_folder(path, test_fraction=0.25), load_folder(path, test_fraction=0.25, split_seed=1)
    assert torch.equal(again.test.images, data.test.images) and torch.equal(again.train.images, data.train.images)
    assert as_bytes(other.test) != as_bytes(data.test)


def test_own_size_else_64(tmp_path: Path) -> None:
    assert load_folder(make_folder(tmp_path / "a", {"a": 2, "b": 2})).input_shape == (3, 8, 8)
    mixed = make_folder(tmp_path / "b", {"a": 2, "b": 2}, image=lambda seed: pixels(seed, 8 + seed, 8 + seed))
    assert load_folder(mixed).input_shape == (3, 64, 64)
    oblong = make_folder(tmp_path / "c", {"a": 2, "b": 2}, image=lambda seed: pixels(seed, 8, 9))
    assert load_folder(oblong).input_shape == (3, 64, 64)
    assert load_folder(oblong, image_size=16).input_shape == (3, 16, 16)


@pytest.mark.parametrize("upright", [False, True])
def test_aspect_is_kept_and_the_centre_cropped(tmp_path: Path, upright: bool) -> None:
    def oblong(seed: int) -> Image.Image:
        return pixels(seed, 64, 32) if upright else pixels(seed, 32, 64)

    data = load_folder(make_folder(tmp_path / "i", {"a": 1, "b": 1}, {"a": 1}, oblong), image_size=16)
    shrunk = oblong(0).resize((16, 32) if upright else (32, 16), Image.Resampling.BILINEAR)
    centre = shrunk.crop((0, 8, 16, 24) if upright else (8, 0, 24, 16))
    got = data.train.images[data.train.labels == 0][0].int()
    assert (got - torch.from_numpy(np.array(centre)).int()).abs().max() <= 1


def test_grey_and_colour(tmp_path: Path) -> None:
    grey = make_folder(tmp_path / "grey", {"a": 2, "b": 2}, image=lambda seed: pixels(seed).convert("L"))
    assert load_folder(grey).input_shape == (1, 8, 8)
    stored_as_rgb = make_folder(
        tmp_path / "rgb", {"a": 2, "b": 2}, image=lambda seed: pixels(seed).convert("L").convert("RGB")
    )
    assert as_bytes(load_folder(stored_as_rgb).train) == as_bytes(load_folder(grey).train)
    pixels(9).save(grey / "train" / "b" / "colour.png")
    assert load_folder(grey).input_shape == (3, 8, 8)


def single(tmp_path: Path, image: Image.Image, suffix: str = "png", **options: object) -> Tensor:
    """The one image as it is loaded, uint8 [H, W, C], next to a black test image and a black other class."""
    path = tmp_path / "images"
    black = Image.new(image.mode if image.mode in ("L", "I;16") else "RGB", image.size)
    for name in ("train/a", "train/b", "test/b"):
        (path / name).mkdir(parents=True)
        black.save(path / name / "black.png")
    os.unlink(path / "train/a/black.png")
    image.save(path / "train" / "a" / f"image.{suffix}", **options)  # type: ignore[arg-type]
    train = load_folder(path).train
    return train.images[train.labels == 0][0]


def test_16_bit_images_keep_their_range(tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    result = single(tmp_path, Image.fromarray(wide))
    assert result.shape == (8, 8, 1)
    assert (result[..., 0].double() - torch.from_numpy(wide / 257.0)).abs().max() <= 0.51


def test_transparent_is_white(tmp_path: Path) -> None:
    array = np.asarray(pixels(0).convert("RGBA")).copy()
    array[:4, :, 3] = 0
    result = single(tmp_path, Image.fromarray(array)).numpy()
    assert (result[:4] == 255).all() and (result[4:] == array[4:, :, :3]).all()


def test_palette_images(tmp_path: Path) -> None:
    image = pixels(0).quantize(256)
    assert np.array_equal(single(tmp_path, image).numpy(), np.asarray(image.convert("RGB")))


def test_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    expected = np.rot90(np.asarray(pixels(0)), -1)
    assert np.array_equal(single(tmp_path, pixels(0), exif=exif).numpy(), expected)


def test_hidden_files_other_files_and_circular_links_are_ignored(folder: Path) -> None:
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / "cat" / "._0.png").write_bytes(b"junk")
    (folder / "train" / "cat" / "notes.txt").write_text("x")
    (folder / "train" / "cat" / "more").mkdir()
    pixels(99).save(folder / "train" / "cat" / "more" / "deep.PNG")
    (folder / "train" / "cat" / "more" / "circle").symlink_to(folder / "train" / "cat")
    assert load_folder(folder).train.labels.bincount().tolist() == [7, 5]
