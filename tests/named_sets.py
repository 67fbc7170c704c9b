"""Tiny copies of the named data sets in their real formats, and a server that offers them for download.

torchvision's classes get the copies' checksums and the server's addresses; all else is their own.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import pickle
import socket
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision import datasets

from enas.config import DataConfig
from enas.data import DataSet, load
from enas.data.named import SETS
from tests.images import CPU, rejected

Part = tuple[NDArray[np.uint8], list[int]]  # images [N, H, W, C], labels


@dataclass(frozen=True)
class Copy:
    """A data set's copy: `folder` as torchvision lays it out, `downloads` as its server has it."""

    folder: Path
    downloads: Path
    dataset: Any
    train: Part
    test: Part


def make_copy(name: str, root: Path, patch: pytest.MonkeyPatch) -> Copy:
    """Make the set `name` with 15 training and 6 test images, and patch torchvision's class for it."""
    known = SETS[name]
    dataset = getattr(datasets, known.dataset)
    random = np.random.default_rng(0)
    classes = 100 if name == "cifar100" else 10
    train, test = (
        (random.integers(0, 256, (n, known.size, known.size, known.channels), dtype=np.uint8), labels)
        for n, labels in ((15, [*range(10), *range(classes - 5, classes)]), (6, [0, 1, 2, 3, 4, classes - 1]))
    )
    copy = Copy(root / "folder", root / "downloads", dataset, train, test)
    copy.folder.mkdir(parents=True)
    copy.downloads.mkdir()
    if name.startswith("cifar"):
        _cifar(copy, patch)
    elif name == "svhn":
        _svhn(copy, patch)
    else:
        _mnist(copy, patch)
    return copy


def named(name: str, folder: Path | None, **changes: Any) -> DataSet:
    return load(DataConfig(name=name, folder=str(folder) if folder else None, **changes), CPU)


def refused(match: str, name: str, folder: Path, **changes: Any) -> None:
    rejected(match, name, folder=str(folder), **changes)


def expected(part: Part) -> list[tuple[bytes, int]]:
    return sorted((image.tobytes(), label) for image, label in zip(*part, strict=True))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def forbid_network(patch: pytest.MonkeyPatch) -> None:
    """Fail the test as soon as anything wants to connect."""

    def forbidden(*_: object) -> None:
        pytest.fail("the network was used")

    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, forbidden)
    patch.setattr(socket, "getaddrinfo", forbidden)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def pack_cifar(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    """Make the archive from the folder, with its own checksum right, whatever its files' are."""
    archive = copy.downloads / copy.dataset.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(copy.folder / copy.dataset.base_folder, copy.dataset.base_folder)
    patch.setattr(copy.dataset, "tgz_md5", md5(archive))


def _cifar(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    dataset, base = copy.dataset, copy.folder / copy.dataset.base_folder
    base.mkdir()
    key = "labels" if dataset.meta["key"] == "label_names" else "fine_labels"

    def write(names: list[str], part: Part) -> list[list[str]]:
        rows = part[0].transpose(0, 3, 1, 2).reshape(len(part[0]), -1)
        each = len(rows) // len(names)
        for i, name in enumerate(names):
            span = slice(i * each, (i + 1) * each)
            (base / name).write_bytes(pickle.dumps({"data": rows[span], key: part[1][span]}))
        return [[name, md5(base / name)] for name in names]

    for listed, part in (("train_list", copy.train), ("test_list", copy.test)):
        patch.setattr(dataset, listed, write([name for name, _ in getattr(dataset, listed)], part))
    meta = base / dataset.meta["filename"]
    meta.write_bytes(pickle.dumps({dataset.meta["key"]: [f"class {i}" for i in range(max(copy.train[1]) + 1)]}))
    patch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(meta)})
    pack_cifar(copy, patch)


def _mnist(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    raw = copy.folder / copy.dataset.__name__ / "raw"
    raw.mkdir(parents=True)
    for stem, (images, labels) in (("train", copy.train), ("t10k", copy.test)):
        head = struct.pack(">4i", 0x803, *images.shape[:3])
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(labels)) + bytes(labels))
    resources = []
    for file, _ in copy.dataset.resources:
        (copy.downloads / file).write_bytes(gzip.compress((raw / file.removesuffix(".gz")).read_bytes()))
        resources.append((file, md5(copy.downloads / file)))
    patch.setattr(copy.dataset, "resources", resources)


def _svhn(copy: Copy, patch: pytest.MonkeyPatch) -> None:
    savemat = pytest.importorskip("scipy.io").savemat

    listed = dict(copy.dataset.split_list)
    for split, (images, labels) in (("train", copy.train), ("test", copy.test)):
        url, file, _ = listed[split]
        # digit 0 has label 10 there
        columns = np.array([[label or 10] for label in labels], np.uint8)
        savemat(copy.folder / file, {"X": images.transpose(1, 2, 3, 0), "y": columns})
        (copy.downloads / file).write_bytes((copy.folder / file).read_bytes())
        listed[split] = [url, file, md5(copy.folder / file)]
    patch.setattr(copy.dataset, "split_list", listed)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files; or, for what `fault` says, refuses them, cuts them short or changes them."""

    fault = ""

    def do_GET(self) -> None:
        if self.fault == "refused":
            self.send_error(403)
            return
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.fault == "cut short":
            content = content[: len(content) // 2]
        elif self.fault == "changed":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(copy: Copy, patch: pytest.MonkeyPatch, fault: str = "") -> Iterator[None]:
    """Serve the copy's downloads on this machine, and send torchvision's class there."""
    handler = type("Faulty", (Handler,), {"fault": fault})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=copy.downloads)
    ) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        _redirect(copy.dataset, address, patch)
        if fault == "unreachable":
            server.server_close()
            yield
            return
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _redirect(dataset: Any, address: str, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("NO_PROXY", "*")
    if hasattr(dataset, "mirrors"):
        patch.setattr(dataset, "mirrors", [address])
    elif hasattr(dataset, "split_list"):
        moved = {split: [address + file, file, sum_] for split, (_, file, sum_) in dataset.split_list.items()}
        patch.setattr(dataset, "split_list", moved)
    else:
        patch.setattr(dataset, "url", address + dataset.filename)
