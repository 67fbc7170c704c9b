"""Judging architectures by a table of trained networks: a full training each, without the training."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from enas.evaluators.base import OnWork
from enas.objective import Scores
from enas.plan import TRAINING_COST
from enas.spaces import Architecture, SearchSpace
from enas.tables import TrueAccuracies


class Table:
    """Scores architectures by the validation accuracies of a table, which knows no loss.

    What the picked architecture is worth is the table's test accuracy; a search never sees it.
    """

    def __init__(self, accuracies: TrueAccuracies) -> None:
        self.accuracies = accuracies
        self.fingerprint = accuracies.fingerprint()
        self.seen: set[int] = set()  # networks, for the progress bar

    @property
    def space(self) -> SearchSpace:
        """The table's."""
        return self.accuracies.space

    @property
    def classes(self) -> Sequence[str]:
        """Of the images that the networks were trained on."""
        return self.accuracies.classes

    def network(self, arch: Architecture) -> int:
        """Equal for architectures that are the same network: the position of the one that stands for it."""
        return int(self.accuracies.network[self._position(arch)])

    def score(self, archs: Sequence[Architecture], on_work: OnWork = lambda units: None) -> Scores:
        """Scores of all architectures. Raises UserError unless they are the table's."""
        found = self.accuracies.validation[self.accuracies.positions(archs)]
        known, self.seen = len(self.seen), self.seen | {self.network(arch) for arch in archs}
        on_work(len(self.seen) - known)
        return Scores(torch.from_numpy(found).float(), None, self.accuracies.images)

    def flops(self, arch: Architecture) -> float:
        """Floating-point operations of the network's published training."""
        macs = int(self.accuracies.macs[self._position(arch)])
        return 2.0 * TRAINING_COST * macs * self.accuracies.trained_on

    def work_units(self, evaluations: int) -> int:
        """One each."""
        return evaluations

    def forecast_s(self, evaluations: int) -> None:
        """Next to nothing, so not worth saying."""

    def facts(self, arch: Architecture) -> dict[str, Any]:
        """The true accuracy, its rank among those of all architectures (1: none is better), how many there are."""
        test = self.accuracies.test
        truth = test[self._position(arch)]
        rank = 1 + int(np.count_nonzero(test > truth))
        return {"true_accuracy": float(truth), "true_rank": rank, "ranked": len(test)}

    def _position(self, arch: Architecture) -> int:
        (position,) = self.accuracies.positions([arch])
        return int(position)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...
