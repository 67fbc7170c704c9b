"""Decoded images are kept, and nothing that happens to them there changes a result."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import torch

from enas.data import DataSet
from enas.data import cache as cache_module
from enas.data.cache import cache_folder
from tests.images import as_bytes, load_folder, pixels, two_classes


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ENAS_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "images")


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
