"""Files of named data sets that somebody may have changed: never unpickled, and said in one line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.images import as_bytes
from tests.named_sets import Copy, expected, files, forbid_network, make_copy, named, pack_cifar, refused, serving


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)


class Poison:
    """Unpickling this makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def poison(copy: Copy, file: str, mark: Path) -> None:
    path = copy.folder / copy.dataset.base_folder / file
    path.write_bytes(pickle.dumps(Poison(mark)))
    pickle.loads(path.read_bytes())
    mark.rmdir()  # it does what it is said to do


@pytest.mark.parametrize("trusting", [False, True])
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_changed_pickles_are_never_opened(
    file: str, trusting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    copy, mark = make_copy("cifar10", tmp_path, monkeypatch), tmp_path / "mark"
    poison(copy, file, mark)
    if trusting:  # a torchvision that does not look
        monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    refused(f"{file}: it is not the original's", "cifar10", copy.folder)
    assert not mark.exists()


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_changed_pickles_in_an_archive_are_never_opened(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, mark, folder = make_copy("cifar10", tmp_path, monkeypatch), tmp_path / "mark", tmp_path / "new"
    poison(copy, file, mark)
    pack_cifar(copy, monkeypatch)
    with serving(copy, monkeypatch):
        refused("must be downloaded once, but .*corrupted", "cifar10", folder)
    assert not mark.exists() and not files(folder)


def test_changed_svhn_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    copy = make_copy("svhn", tmp_path, monkeypatch)
    with open(copy.folder / "test_32x32.mat", "ab") as file:
        file.write(b"x")
    monkeypatch.setattr("scipy.io.loadmat", lambda *_: pytest.fail("opened"))
    refused("test_32x32.mat: it is not .*; remove '.*/train_32x32.mat'", "svhn", copy.folder)


@pytest.mark.parametrize("damage", ["empty", "short", "header", "class", "count", "shape", "folder"])
def test_damaged_bytes(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    copy = make_copy("mnist", tmp_path, monkeypatch)
    labels, images = (copy.folder / "MNIST" / "raw" / f"t10k-{kind}-ubyte" for kind in ("labels-idx1", "images-idx3"))
    content = images.read_bytes()
    if damage == "empty":
        images.write_bytes(b"")
    elif damage == "short":
        images.write_bytes(content[:-1])
    elif damage == "header":
        images.write_bytes(b"\0\0\7" + content[3:])
    elif damage == "class":
        labels.write_bytes(labels.read_bytes()[:-1] + b"\x0a")
    elif damage == "count":
        labels.write_bytes(b"\0\0\x08\1\0\0\0\1\1")
    elif damage == "shape":
        images.write_bytes(content[:8] + content[12:16] * 0 + b"\0\0\0\x0e\0\0\0\x38" + content[16:])
    else:
        images.unlink()
        images.mkdir()
    refused("files of mnist must be intact, .*; remove '.*/MNIST/raw', and", "mnist", copy.folder)


def test_files_of_older_versions_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    copy = make_copy("mnist", tmp_path, monkeypatch)
    (copy.folder / "MNIST" / "processed").mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save(
            (torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3)), copy.folder / "MNIST" / "processed" / file
        )
    assert as_bytes(named("mnist", copy.folder).train) == expected(copy.train)
