"""What is wrong with a data set is said in one line, before work starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enas.config import DataConfig
from enas.data import Augmentation, load
from enas.errors import UserError
from tests.images import CPU, as_bytes, load_folder, make_folder, pixels, rejected, two_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "images")


def test_no_name() -> None:
    with pytest.raises(UserError, match="give --data digits or"):
        load(DataConfig(), CPU)


@pytest.mark.parametrize("name", ["", "missing/folder", "a\0b", "x" * 5000, "~nobody-of-this-name/x"])
def test_missing_folder(name: str) -> None:
    rejected("there is no folder", name)


def test_path_is_a_file(folder: Path) -> None:
    rejected("is a file", folder / "train" / "cat" / "0.png")


def test_no_train(folder: Path) -> None:
    rejected(r"has no train/ \(it holds 'cat', 'dog'\)|has no train/ \(it holds 'dog', 'cat'\)", folder / "train")


def test_train_without_classes(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    pixels(0).save(tmp_path / "train" / "0.png")
    rejected("one folder for each class", tmp_path)


def test_one_class(tmp_path: Path) -> None:
    rejected("at least two classes, but .* only 'a'", make_folder(tmp_path, {"a": 2}))


@pytest.mark.parametrize("part", ["train", "test"])
def test_class_without_images(folder: Path, part: str) -> None:
    (folder / part / "cat").mkdir(exist_ok=True)
    for path in (folder / part / "cat").iterdir():
        path.rename(path.with_suffix(".txt"))
    rejected("at least one image .*cat' has none", folder)


def test_empty_test(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "dog")
    rejected("test/ must contain", folder)


def test_unknown_test_class(folder: Path) -> None:
    (folder / "test" / "dog").rename(folder / "test" / "dogs")
    rejected("'dogs' is not", folder)


def test_validation_folder_is_ignored_with_a_warning(folder: Path) -> None:
    (folder / "val").mkdir()
    with pytest.warns(UserWarning, match="'.*/val' is not read"):
        load_folder(folder)


def spoil(folder: Path) -> None:
    """Three unreadable images of class cat: truncated, no image, link to nowhere."""
    cat = folder / "train" / "cat"
    (cat / "1.png").write_bytes((cat / "1.png").read_bytes()[:100])
    (cat / "2.png").write_text("not an image")
    (cat / "3.png").unlink()
    (cat / "3.png").symlink_to("nowhere.png")


def test_unreadable_images(folder: Path) -> None:
    spoil(folder)
    for _ in range(2):  # decoded, then from the cache
        rejected(r"3 of 13 images cannot be read, first '.*1\.png' \(.*skip_unreadable=true", folder)
        with pytest.warns(UserWarning, match="3 of 13 .* left out"):
            data = load_folder(folder, skip_unreadable=True)
        expected = [(pixels(i).tobytes(), int(i >= 6)) for i in (0, 4, 5, 6, 7, 8, 9, 10)]
        assert as_bytes(data.train) == sorted(expected)
        assert len(data.test) == 2


def test_nothing_left_of_a_class(folder: Path) -> None:
    for path in (folder / "train" / "dog").iterdir():
        path.write_text("not an image")
    with pytest.warns(UserWarning, match="left out"):
        rejected("at least one readable image, but 'dog'", folder, skip_unreadable=True)


def test_nothing_readable_at_all(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_text("not an image")
    rejected("some images must be readable, but 13 of 13", folder, skip_unreadable=True)


def test_no_readable_test_image(folder: Path) -> None:
    for path in (folder / "test" / "dog").iterdir():
        path.write_text("not an image")
    with pytest.warns(UserWarning, match="left out"):
        rejected("test/ must have at least one readable", folder, skip_unreadable=True)


def test_decompression_bombs_are_unreadable(folder: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(folder / "train" / "cat" / "bomb.png")
    Image.new("1", (15_000, 15_000)).save(folder / "train" / "cat" / "bomb2.png")
    rejected("2 of 15 .*pixels", folder)


def test_floating_point_images_are_unreadable(folder: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "train" / "cat" / "float.tif")
    rejected("1 of 14 .*floating-point", folder)


def test_memory_limit_before_and_after_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_folder(folder)
    rejected("13 images of 8x8x3 take .* GiB; give a smaller --image-size", folder, memory_limit_gib=1e-6)
    monkeypatch.setattr("enas.data.folder.decode", lambda *_: pytest.fail("decoded"))
    rejected("13 images of 512x512x3 take 0.00952 GiB", folder, memory_limit_gib=0.005, image_size=512)
    rejected("images of 512x512x1", "digits", memory_limit_gib=0.1, image_size=512)


def test_too_few_images_to_split(tmp_path: Path) -> None:
    rejected("at least 2 images .* class 'b' has 1", make_folder(tmp_path, {"a": 3, "b": 1}))


@pytest.mark.parametrize("side", [3, 1025])
def test_own_size_out_of_bounds(tmp_path: Path, side: int) -> None:
    path = make_folder(tmp_path / "i", {"a": 2, "b": 2}, image=lambda _: Image.new("L", (side, side)))
    rejected(f"4 to 1024 pixels wide .* {side}x{side}; give --image-size", path)
    assert load_folder(path, image_size=8).input_shape == (1, 8, 8)


@pytest.mark.parametrize(("setting", "value"), [("cutout", 8), ("crop_padding", 8), ("cutout", 99)])
def test_augmentation_smaller_than_the_image(setting: str, value: int) -> None:
    rejected(f"{setting} must be smaller than the images' 8 pixels", "digits", **{setting: value})


def test_augmentation_settings_are_taken() -> None:
    data = load(DataConfig(name="digits", crop_padding=0, flip=True, cutout=7), CPU)
    assert data.augmentation == Augmentation(0, True, 7)
