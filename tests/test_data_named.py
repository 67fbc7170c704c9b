"""Data sets by name: the copy that is there, downloads and how they fail, names."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from enas.cli import main
from enas.config import DataConfig, SearchConfig, plain
from enas.data import load, places
from enas.data.named import SETS, data_folder
from tests.images import CPU, as_bytes, make_folder, rejected
from tests.named_sets import expected, files, forbid_network, make_copy, named, refused, serving

FAULTS = ("refused", "cut short", "changed", "unreachable")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder and a cache of the test's own: nothing is downloaded into the user's."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ENAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)


# ------------------------------------------------------------------------------- what is there already


@pytest.mark.parametrize("name", SETS)
def test_existing_copy_is_read_without_a_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    copy = make_copy(name, tmp_path, monkeypatch)
    data, known = named(name, copy.folder), SETS[name]
    assert data.name == name and data.input_shape == (known.channels, known.size, known.size)
    assert as_bytes(data.train) == expected(copy.train) and as_bytes(data.test) == expected(copy.test)
    assert len(data.classes) == data.num_classes == (100 if name == "cifar100" else 10)
    assert len(set(data.classes)) == data.num_classes and all(isinstance(c, str) for c in data.classes)
    assert data.augmentation.flip == (name in ("cifar10", "cifar100", "fashion-mnist"))
    assert data.train.images.is_contiguous()


def test_order_is_shuffled_by_the_split_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = make_copy("cifar10", tmp_path, monkeypatch)
    first, again = named("cifar10", copy.folder), named("cifar10", copy.folder)
    other = named("cifar10", copy.folder, split_seed=1)
    assert torch.equal(first.train.images, again.train.images)
    assert first.train.labels.tolist() not in (copy.train[1], other.train.labels.tolist())
    assert first.test.labels.tolist() != copy.test[1]


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
@pytest.mark.parametrize("size", [16, 40])
def test_other_size(name: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = make_copy(name, tmp_path, monkeypatch)
    own, resized = named(name, copy.folder), named(name, copy.folder, image_size=size)
    assert resized.input_shape == (SETS[name].channels, size, size)
    assert torch.equal(own.train.labels, resized.train.labels)
    difference = own.train.images.double().mean((1, 2)) - resized.train.images.double().mean((1, 2))
    assert difference.abs().max() < 4  # the same pictures in the same order
    assert named(name, copy.folder, image_size=SETS[name].size).fingerprint() == own.fingerprint()


def test_memory_limit_comes_before_everything(tmp_path: Path, offline: None) -> None:
    refused("60000 images of 512x512x3 take 43.9 GiB; give a smaller", "cifar10", tmp_path, image_size=512)
    assert not files(tmp_path)


def test_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_folder(DataConfig()) == tmp_path / "cache" / "datasets"
    assert data_folder(DataConfig(folder="below")) == tmp_path / "here" / "below"
    monkeypatch.setenv("HOME", "/c")
    assert data_folder(DataConfig(folder="~/d")) == Path("/c/d")
    with pytest.warns(UserWarning, match="--data-folder is not used"):
        named("digits", tmp_path)


# -------------------------------------------------------------------------------------------- downloads


@pytest.mark.parametrize("name", SETS)
def test_download_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = make_copy(name, tmp_path, monkeypatch)
    with serving(copy, monkeypatch):
        data = named(name, None)
    output = capsys.readouterr()
    assert output.out == "" and "100%" in output.err
    folder = tmp_path / "cache" / "datasets"
    assert files(folder) == files(copy.folder) and len(list(folder.iterdir())) == len(list(copy.folder.iterdir()))
    assert as_bytes(data.train) == expected(copy.train) and as_bytes(data.test) == expected(copy.test)
    with serving(copy, monkeypatch, "refused"):
        assert named(name, None).fingerprint() == data.fingerprint()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn"])
def test_failed_download_leaves_nothing(name: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, folder = make_copy(name, tmp_path, monkeypatch), tmp_path / "new"
    reason = {"refused": "403", "unreachable": "refused"}.get(fault, "corrupted")
    what = {"cifar10": "cifar-10-batches-py or cifar-10-python.tar.gz", "mnist": "MNIST"}.get(
        name, "train_.* and test_"
    )
    with serving(copy, monkeypatch, fault):
        match = (
            rf"{name} must be downloaded once, but .*{reason}.*; put {what}.* into '.*/new', .* --data digits or a fo"
        )
        refused(match, name, folder)
    assert list(folder.iterdir()) == []
    with serving(copy, monkeypatch):
        assert as_bytes(named(name, folder).train) == expected(copy.train)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn"])
def test_stopped_download_leaves_nothing(
    name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, folder = make_copy(name, tmp_path, monkeypatch), tmp_path / "new"

    def stop(url: str, path: str, *_: object) -> None:
        Path(path).write_bytes(b"half")
        raise error

    with serving(copy, monkeypatch), monkeypatch.context() as patch:
        patch.setattr("torchvision.datasets.utils._urlretrieve", stop)
        if isinstance(error, OSError):
            refused("No space left on device", name, folder)
        else:
            with pytest.raises(KeyboardInterrupt):
                named(name, folder)
    assert list(folder.iterdir()) == []
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_archives_are_unpacked_without_a_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    copy = make_copy(name, tmp_path, monkeypatch)
    folder = tmp_path / "new"
    shutil.copytree(copy.downloads, folder if name == "cifar10" else folder / "MNIST" / "raw")
    assert as_bytes(named(name, folder).train) == expected(copy.train)


def test_a_users_files_are_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = make_copy("cifar10", tmp_path, monkeypatch)
    archive, other, missing = (
        copy.folder / "cifar-10-python.tar.gz",
        copy.folder / "cifar-10-batches-py" / "data_batch_1",
        copy.folder / "cifar-10-batches-py" / "test_batch",
    )
    archive.write_bytes(b"damaged")
    other.write_bytes(b"mine")
    missing.unlink()
    with serving(copy, monkeypatch):
        refused("data_batch_1: it is not the original's.*; remove '.*/cifar-10-batches-py'", "cifar10", copy.folder)
    assert archive.read_bytes() == b"damaged" and other.read_bytes() == b"mine" and missing.exists()


def test_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused("must be downloaded once, but .*exists", "mnist", tmp_path / "file")
    refused("must be downloaded once, but .*null", "mnist", tmp_path / "a\0b")


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "meant"), [("CIFAR-10", "cifar10"), ("fashion_mnist", "fashion-mnist"), ("Digits", "digits")]
)
def test_misspelt_names(name: str, meant: str, offline: None) -> None:
    rejected(f"but got '{name}'; give --data {meant}$", name)


@pytest.mark.parametrize("name", ["imagenet", "STL-10", "emnist"])
def test_names_that_are_not_offered(name: str, offline: None) -> None:
    rejected(f"digits, cifar10, .* but got '{name}', which is not downloaded; unpack its images into", name)


def test_a_folder_of_the_same_name(offline: None) -> None:
    """A name is the data set's; a path is the folder's; and a run that is resumed elsewhere means the same."""
    make_folder(Path("digits"), {"a": 3, "b": 3}, {"a": 1})
    assert load(DataConfig(name="digits"), CPU).num_classes == 10
    assert load(DataConfig(name="./digits"), CPU).classes == ("a", "b")
    assert places(DataConfig(name="digits")) == {"name": "digits", "folder": None}
    assert places(DataConfig(name="./digits", folder="x")) == {
        "name": str(Path("digits").absolute()),
        "folder": str(Path("x").absolute()),
    }


def test_help_names_all_sets() -> None:
    for field in ("name", "flip"):
        help = DataConfig.__dataclass_fields__[field].metadata["help"]
        for name, known in SETS.items():
            assert (name in help) == (field == "name" or not known.flip)
    updated = plain.update(SearchConfig(), {"data": {"name": "svhn", "folder": "x"}})
    assert updated.data == DataConfig(name="svhn", folder="x")


def test_commands_take_names_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training with TrivialAugment and evaluation, through the command line."""
    data = ["--data", "fashion-mnist", "--data-folder", str(make_copy("fashion-mnist", tmp_path, monkeypatch).folder)]

    def enas(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, *data, "--device", "cpu"])
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ("--epochs", "1", "--width", "2", "--batch-size", "5", "--trivial-augment", "--output", "run")
    accuracy = enas("retrain", "macro:0", *options).partition("test")[2].split()[0]
    assert f"{accuracy} accuracy" in enas("evaluate", "run")
    assert json.loads(Path("run/config.json").read_text())["data"]["trivial_augment"]
