"""Images: the shipped digits, folders and their errors, the cache, splits, and batches against a plain twin."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load as load_tensors
from torch import Tensor

from enas.config import DataConfig
from enas.data import (
    Augmentation,
    DataSet,
    ImageSet,
    augment,
    draw_augmentation,
    evaluation_batches,
    load,
    normalise,
    random_batch,
    split,
    training_batches,
    training_steps,
)
from enas.data import cache as cache_module
from enas.data.cache import cache_folder
from enas.errors import UserError

CPU = torch.device("cpu")
MEAN, STD = (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ENAS_CACHE", str(folder))
    return folder


def pixels(seed: int, height: int = 8, width: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def make_folder(
    root: Path, train: dict[str, int], test: dict[str, int] | None = None, image: Callable[[int], Image.Image] = pixels
) -> Path:
    """A folder of PNG images: so many for each class, each of another seed."""
    seed = 0
    for part, counts in (("train", train), ("test", test or {})):
        for name, count in counts.items():
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                image(seed).save(root / part / name / f"{i}.png")
                seed += 1
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "images", {"cat": 6, "dog": 5}, {"dog": 2})


def load_folder(path: Path, **changes: object) -> DataSet:
    return load(DataConfig(name=str(path), **changes), CPU)  # type: ignore[arg-type]


def as_bytes(images: ImageSet) -> list[tuple[bytes, int]]:
    """Images and labels as a sorted list, to compare as sets do."""
    return sorted((i.numpy().tobytes(), int(n)) for i, n in zip(images.images, images.labels, strict=True))


def random_set(count: int, size: int = 8, channels: int = 3, classes: int = 3, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, size, size, channels), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.randint(0, classes, (count,), generator=generator))


# ----------------------------------------------------------------------------------------- digits


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


# ------------------------------------------------------------------------------- folders: the images


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


# ------------------------------------------------------------------------------- folders: the errors


def rejected(match: str, path: Path | str, **changes: object) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load(DataConfig(name=str(path), **changes), CPU)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)  # the remedy


def test_no_name() -> None:
    with pytest.raises(UserError, match="give --data digits or"):
        load(DataConfig(), CPU)


@pytest.mark.parametrize("name", ["cifar10", "CIFAR-10", "fashion_mnist"])
def test_known_names_are_not_downloaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rejected("nothing is ever downloaded", name)


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


# ------------------------------------------------------------------------------------------ cache


def same(a: DataSet, b: DataSet) -> bool:
    return torch.equal(a.train.images, b.train.images) and torch.equal(a.test.images, b.test.images)


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enas.data.folder.probe", lambda *_: pytest.fail("decoded again"))


def test_cache_hit(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_folder(folder)
    assert [path.suffix for path in own_cache.iterdir()] == [".safetensors"]
    no_decoding(monkeypatch)
    assert same(load_folder(folder), first)


def test_changed_folder_is_decoded_again_and_the_old_cache_removed(folder: Path, own_cache: Path) -> None:
    load_folder(folder)
    load_folder(folder, image_size=16)
    before = set(own_cache.iterdir())
    pixels(77).save(folder / "train" / "cat" / "0.png")
    assert (pixels(77).tobytes(), 0) in as_bytes(load_folder(folder).train)
    after = set(own_cache.iterdir())
    assert len(before) == len(after) == 2 and len(before & after) == 1


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other", "folder"])
def test_damaged_cache_is_rebuilt(folder: Path, own_cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_folder(folder)
    (file,) = own_cache.iterdir()
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[:-10])
    elif damage == "flipped":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other":
        file.write_bytes((resources.files("enas.data") / "digits.safetensors").read_bytes())
    elif damage == "folder":
        file.unlink()
        file.mkdir()
        with pytest.warns(UserWarning, match="decoded again next time"):
            assert same(load_folder(folder), first)
        return
    assert same(load_folder(folder), first)
    no_decoding(monkeypatch)
    assert same(load_folder(folder), first)


def test_unwritable_cache_is_only_a_warning(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_folder(folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENAS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="set ENAS_CACHE"):
        assert same(load_folder(folder), first)


def test_full_disk_leaves_nothing_behind(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: str, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "save_file", full)
    with pytest.warns(UserWarning, match="No space left"):
        load_folder(folder)
    assert list(own_cache.iterdir()) == []


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENAS_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.setenv("ENAS_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/enas")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_folder() == Path("/c/.cache/enas")


# ------------------------------------------------------------------------------------------ splits


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**31 - 1),
)
def test_split_is_stratified_disjoint_and_complete(counts: list[int], fraction: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    numbers = torch.arange(len(labels), dtype=torch.int32).view(torch.uint8).view(-1, 1, 1, 4)  # each image is unique
    whole = ImageSet(numbers, labels)
    rest, held_out = split(whole, fraction, seed)
    for label, count in enumerate(counts):
        expected = min(max(round(count * fraction), 1), count - 1)
        assert (held_out.labels == label).sum() == expected
        assert (rest.labels == label).sum() == count - expected
    assert sorted(as_bytes(rest) + as_bytes(held_out)) == as_bytes(whole)
    again_rest, again_held_out = split(whole, fraction, seed)
    assert torch.equal(again_rest.images, rest.images) and torch.equal(again_held_out.images, held_out.images)


def test_split_depends_on_the_seed_and_mixes_the_classes() -> None:
    whole = ImageSet(random_set(100).images, torch.arange(100) // 50)
    rest, held_out = split(whole, 0.5, 0)
    assert as_bytes(held_out) != as_bytes(split(whole, 0.5, 1)[1])
    for part in (rest, held_out):
        assert 5 < part.labels[:25].sum() < 20


def test_split_needs_two_images_of_a_class() -> None:
    lonely = ImageSet(random_set(5).images, torch.tensor([0, 0, 1, 2, 2]))
    with pytest.raises(UserError, match="class 1 has 1"):
        split(lonely, 0.5, 0)
    with pytest.raises(UserError, match="class 'dog' has 1"):
        split(lonely, 0.5, 0, classes=("cat", "dog", "cow"))


def test_image_set_checks_its_shapes() -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        ImageSet(torch.zeros(2, 4, 4, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels must be int64 \[2\]"):
        ImageSet(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


# ------------------------------------------------------------------------------------------ batches


def augment_one(image: Tensor, draw: list[int], augmentation: Augmentation) -> Tensor:
    """The plain twin: normalise, pad with zeros, crop, mirror, blank a square. uint8 [H, W, C] -> [C, H, W]."""
    down, right, mirrored, cut_row, cut_column = draw
    height, width, channels = image.shape
    p = augmentation.crop_padding
    padded = torch.zeros(channels, height + 2 * p, width + 2 * p)
    mean, std = torch.tensor(MEAN[:channels]), torch.tensor(STD[:channels])
    padded[:, p : p + height, p : p + width] = (image.permute(2, 0, 1) / 255 - mean[:, None, None]) / std[:, None, None]
    result = padded[:, p + down : p + down + height, p + right : p + right + width].clone()
    if mirrored:
        result = result.flip(2)
    if augmentation.cutout:
        top, left = cut_row - augmentation.cutout // 2, cut_column - augmentation.cutout // 2
        result[:, max(top, 0) : top + augmentation.cutout, max(left, 0) : left + augmentation.cutout] = 0
    return result


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 3),
    flip=st.booleans(),
    cutout=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_augment_matches_one_by_one(
    height: int, width: int, channels: int, padding: int, flip: bool, cutout: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (7, height, width, channels), generator=generator, dtype=torch.uint8)
    augmentation = Augmentation(padding, flip, cutout)
    chosen = torch.randint(0, 7, (20,), generator=generator)
    draws = draw_augmentation(20, height, width, augmentation, generator)
    fast = augment(images, chosen, draws, augmentation, MEAN[:channels], STD[:channels])
    plain = torch.stack(
        [augment_one(images[i], d, augmentation) for i, d in zip(chosen, draws.T.tolist(), strict=True)]
    )
    # same formula, other order of the divisions: a few ulp of values up to 2
    torch.testing.assert_close(fast, plain, rtol=0, atol=2e-6)
    assert torch.equal(fast == 0, plain == 0)  # blanks are exactly the mean, and only they
    assert fast.dtype == torch.float32 and fast.is_contiguous(memory_format=torch.channels_last)


def test_draws_cover_their_ranges_evenly() -> None:
    draws = draw_augmentation(20_000, 8, 6, Augmentation(2, True, 3), torch.Generator().manual_seed(0))
    for row, low, high in zip(draws, (-2, -2, 0, 0, 0), (2, 2, 1, 7, 5), strict=True):
        counts = (row - low).bincount(minlength=high - low + 1)
        expected = 20_000 / (high - low + 1)
        assert len(counts) == high - low + 1
        assert (counts - expected).abs().max() < 5 * math.sqrt(expected)  # five standard deviations
    assert not draw_augmentation(9, 8, 8, Augmentation(0, False, 0), torch.Generator()).any()


def test_normalise() -> None:
    images = random_set(3).images
    result = normalise(images, MEAN, STD)
    expected = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalised_digits_have_mean_0_and_deviation_1() -> None:
    data = load(DataConfig(name="digits"), CPU)
    result = normalise(data.train.images, data.mean, data.std)
    assert abs(result.mean().item()) < 1e-5 and abs(result.std().item() - 1) < 1e-3


def test_constant_channel_does_not_divide_by_zero(tmp_path: Path) -> None:
    data = load_folder(make_folder(tmp_path / "i", {"a": 2, "b": 2}, image=lambda _: Image.new("RGB", (8, 8))))
    assert normalise(data.train.images, data.mean, data.std).eq(0).all()


def list_epoch(images: ImageSet, batch_size: int, seed: int, augmentation: Augmentation) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return list(training_batches(images, batch_size, augmentation, MEAN, STD, generator))


def test_training_batches_are_one_shuffled_epoch() -> None:
    images = random_set(50)
    batches = list_epoch(images, 8, 0, Augmentation(0, False, 0))
    assert len(batches) == training_steps(50, 8) == 6
    assert all(x.shape == (8, 3, 8, 8) and y.shape == (8,) for x, y in batches)
    seen = torch.cat([x for x, _ in batches])
    matches = (seen[:, None] == normalise(images.images, MEAN, STD)[None]).flatten(2).all(2)  # [48, 50]
    rows = matches.int().argmax(1)
    assert matches.sum(1).eq(1).all() and len(set(rows.tolist())) == 48  # no image twice
    assert torch.equal(images.labels[rows], torch.cat([y for _, y in batches]))
    assert rows.tolist() != sorted(rows.tolist())


def test_set_smaller_than_a_batch_is_one_batch() -> None:
    ((x, y),) = list_epoch(random_set(5), 8, 0, Augmentation(1, True, 2))
    assert x.shape == (5, 3, 8, 8) and y.shape == (5,) and training_steps(5, 8) == 1


@pytest.mark.parametrize("augmentation", [Augmentation(2, True, 3), Augmentation(0, False, 0)])
def test_same_generator_state_gives_the_same_batches(augmentation: Augmentation) -> None:
    images = random_set(40)
    first, again = list_epoch(images, 8, 3, augmentation), list_epoch(images, 8, 3, augmentation)
    assert all(torch.equal(a, b) and torch.equal(m, n) for (a, m), (b, n) in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], list_epoch(images, 8, 4, augmentation)[0][0])
    # all draws are made by the call: what is drawn between two batches does not matter
    generator = torch.Generator().manual_seed(3)
    batches = training_batches(images, 8, augmentation, MEAN, STD, generator)
    torch.randn(3, generator=generator)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, batches, strict=True))


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 60), batch_size=st.integers(1, 70))
def test_evaluation_batches_are_in_order_and_nearly_equal(count: int, batch_size: int) -> None:
    images = random_set(count, size=4)
    batches = list(evaluation_batches(images, batch_size, MEAN, STD))
    sizes = [len(y) for _, y in batches]
    assert len(sizes) == math.ceil(count / batch_size)
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([y for _, y in batches]), images.labels)
    assert torch.equal(torch.cat([x for x, _ in batches]), normalise(images.images, MEAN, STD))


def test_random_batch_has_no_image_twice() -> None:
    images = random_set(20)
    everything = normalise(images.images, MEAN, STD)
    for batch_size in (7, 20, 99):
        x, y = random_batch(images, batch_size, MEAN, STD, torch.Generator().manual_seed(0))
        matches = (x[:, None] == everything[None]).flatten(2).all(2)
        rows = matches.int().argmax(1)
        assert len(set(rows.tolist())) == len(x) == min(batch_size, 20)
        assert torch.equal(y, images.labels[rows]) and matches.sum(1).eq(1).all()
        again, _ = random_batch(images, batch_size, MEAN, STD, torch.Generator().manual_seed(0))
        assert torch.equal(x, again)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_batches_equal_cpu_batches_and_never_synchronise() -> None:
    images, augmentation = random_set(40), Augmentation(2, True, 3)
    on_gpu = images.to(torch.device("cuda"))
    expected = list_epoch(images, 8, 3, augmentation)
    list_epoch(on_gpu, 8, 3, augmentation)  # makes the constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list_epoch(on_gpu, 8, 3, augmentation)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (a, m), (b, n) in zip(expected, batches, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=2e-6)
        assert torch.equal(m, n.cpu())
