"""Judging architectures by a table of trained networks: a full training each, without the training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from enas.objective import Scores
from enas.spaces import Architecture
from enas.tables import TrueAccuracies


class Table:
    """Scores architectures by the validation accuracies of a table, which knows no loss.

    What the picked architecture is worth, `accuracies.test` says; how many different networks were asked for,
    `accuracies.network`.
    """

    def __init__(self, accuracies: TrueAccuracies) -> None:
        self.accuracies = accuracies

    def score(self, archs: Sequence[Architecture]) -> Scores:
        """Scores of all architectures. Raises UserError unless they are the table's."""
        found = self.accuracies.validation[self.accuracies.positions(archs)]
        return Scores(torch.from_numpy(found).float(), None, self.accuracies.images)
