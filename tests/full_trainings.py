"""Evaluators by full training, for its tests: with workers, and without, their plain twin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enas.config import FullTrainingConfig, StandaloneConfig
from enas.data import DataSet, split
from enas.evaluators import FullTraining, workers
from enas.evaluators.child import Child, Course, Epoch, Train, attempt, decode, encode, train_child
from enas.spaces import SearchSpace
from tests.children import CPU, one_layer
from tests.toys import macro

SGD = StandaloneConfig(batch_size=16, lr_max=0.05, lr_min=0.001, dropout=0.1)
SPACE = macro(1, classes=3)
ALL = [one_layer(op) for op in range(6)]


def full(
    data: DataSet, folder: Path, train: Train = train_child, space: SearchSpace = SPACE, seed: int = 0, **changes: Any
) -> FullTraining:
    config = FullTrainingConfig(**{"epochs": 3, "sgd": SGD, "threads": 1, **changes})
    return FullTraining(space, config, data, *split(data.train, 0.25, 0), CPU, seed, folder, train)


class Here:
    """Workers without processes: the plain twin. Counts the epochs that it was asked to train."""

    def __init__(self, train: Train, course: Course) -> None:
        self.train, self.course, self.epochs = train, course, 0

    def run(self, children: Sequence[Child]) -> Any:
        for position, child in enumerate(children):
            yield None
            for answer in attempt(self.train, self.course, child):
                self.epochs += isinstance(answer, Epoch) and answer.images > 0
                yield position, decode(encode(answer))

    def close(self) -> None:
        pass


def here(data: DataSet, folder: Path, train: Train = train_child, **changes: Any) -> FullTraining:
    """An evaluator that trains in this process."""
    evaluator = full(data, folder, train, **changes)
    assert isinstance(evaluator.workers, workers.LocalWorkers)
    evaluator.workers.close()
    evaluator.workers = Here(train, evaluator.workers.course)
    return evaluator


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "children.jsonl").read_text().splitlines()]
