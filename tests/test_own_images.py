"""A folder of the user's images, a few, of many sizes, grey and colour, classes of unlike sizes: split and reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from enas.config import DataConfig
from enas.data import load, split
from enas.objective import Scores
from enas.results import class_report
from enas.training import evaluate
from tests.children import CPU
from tests.test_cli import enas
from tests.unbalanced import CLASSES, unbalanced_folder

SIZES = ["--set", "device=cpu", "--precision", "float32", "--batch-size", "32", "--image-size", "16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unbalanced_folder(tmp_path_factory.mktemp("images"))


def test_every_part_has_every_class_in_proportion(folder: Path) -> None:
    data = load(DataConfig(name=str(folder)), torch.device("cpu"))
    assert data.classes == tuple(sorted(CLASSES))
    assert data.input_shape == (3, 64, 64)  # some are in colour, and they have many sizes
    train, validation = split(data.train, 0.2, 0, classes=data.classes)
    assert sum(map(len, (train, validation, data.test))) == sum(CLASSES.values())
    for part, share in ((data.test, 0.15), (validation, 0.85 * 0.2), (train, 0.85 * 0.8)):
        counts = torch.bincount(part.labels, minlength=3).tolist()
        for count, whole in zip(counts, CLASSES.values(), strict=True):
            assert abs(count - share * whole) <= 1 <= count


def test_accuracy_by_class_is_counted() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    logits = torch.eye(4)[torch.tensor([[0, 0, 1, 1, 2, 0], [1, 1, 1, 1, 1, 1]])]  # [A, N, K]
    parts = iter([logits[:, :4], logits[:, 4:]])
    batches = [(torch.zeros(4, 1), labels[:4]), (torch.zeros(2, 1), labels[4:])]
    scores = evaluate(lambda images: next(parts), batches, CPU, by_class=True)
    assert scores.by_class is not None
    assert scores.by_class.tolist() == [[[3, 1, 2, 0]] * 2, [[2, 1, 1, 0], [0, 1, 0, 0]]]
    first = Scores(scores.accuracy[:1], scores.loss, 6, scores.by_class[:, :1])
    report = class_report(first, ("a", "b", "c", "d"))
    assert [row["accuracy"] for row in report["per_class"]] == [2 / 3, 1.0, 0.5, None]
    assert report["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0.5) / 3)


def test_retrain_and_evaluate_tell_of_each_class(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [*SIZES, "--data", folder, "--width", "4", "--epochs", "3", "--output", out]
    result = enas("retrain", "macro:0-20", *options)
    assert result.exit_code == 0, result.output
    values = json.loads((out / "result.json").read_text())
    rows = {row["class"]: row for row in values["per_class"]}
    assert list(rows) == sorted(CLASSES)
    assert sum(row["images"] for row in rows.values()) == values["test_images"]
    right = sum(row["images"] * row["accuracy"] for row in rows.values())
    assert right / values["test_images"] == pytest.approx(values["test_accuracy"])
    assert values["balanced_accuracy"] == pytest.approx(sum(row["accuracy"] for row in rows.values()) / 3)
    assert "by class      " in result.output and f"bolt {rows['bolt']['accuracy']:.4f} (14)" in result.output
    assert f"balanced      {values['balanced_accuracy']:.4f}" in result.output
    evaluated = enas("evaluate", out, "--data", folder, "--precision", "float32", "--device", "cpu", "--json")
    assert json.loads(evaluated.output)["per_class"] == values["per_class"]
    assert (
        f"balanced      {values['balanced_accuracy']:.4f}"
        in enas("evaluate", out, "--data", folder, "--precision", "float32", "--device", "cpu").output
    )
