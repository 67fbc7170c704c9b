"""Main effects: what each choice adds to a score, whatever the others are.

Scores under shared weights say more about single choices than about their combinations: an architecture's own score
also tells how well its weights happen to fit together. Least squares over many architectures keep what its choices
have in common with others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from enas.spaces import Architecture, SearchSpace, active

RIDGE = 1.0  # a choice that was seen n times keeps about n / (n + 1) of its effect


class MainEffects:
    """The sum of a constant and an effect for every choice that an architecture's active decisions make.

    archs, values: what it is fitted to, by ridge regression; values [A] that are not finite are left out.
    """

    def __init__(self, space: SearchSpace, archs: Sequence[Architecture], values: Tensor) -> None:
        self.space = space
        known = torch.isfinite(values)
        rows, wanted = choices_made(space, archs)[known], values[known].to(torch.float64)
        self._mean = wanted.mean() if len(wanted) else torch.tensor(0.0, dtype=torch.float64)
        self._shares = rows.mean(0) if len(wanted) else torch.zeros(rows.shape[1], dtype=torch.float64)
        centred = rows - self._shares
        gram = centred.T @ centred + RIDGE * torch.eye(rows.shape[1], dtype=torch.float64)
        self._effects = torch.linalg.solve(gram, centred.T @ (wanted - self._mean))

    def predict(self, archs: Sequence[Architecture]) -> Tensor:
        """The values [A], float64, that the effects give these architectures, among them ones never seen."""
        values: Tensor = self._mean + (choices_made(self.space, archs) - self._shares) @ self._effects
        return values


def choices_made(space: SearchSpace, archs: Sequence[Architecture]) -> Tensor:
    """float64 [A, sum of K_d]: 1 for each choice that an active decision makes."""
    starts = [0]
    for decision in space.decisions:
        starts.append(starts[-1] + len(decision.labels))
    rows = torch.zeros(len(archs), starts[-1], dtype=torch.float64)
    for row, arch in zip(rows, archs, strict=True):
        on = active(space, arch.choices)
        row[[starts[d] + choice for d, choice in enumerate(arch.choices) if on[d]]] = 1
    return rows
