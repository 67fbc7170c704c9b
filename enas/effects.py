"""Effects: what each choice adds to a score, whatever the others are.

An architecture's own score under shared weights is a poor witness. Its weights were trained for the average of all
architectures, good ones are all near the same bound, and what choices do for each other there is mostly chance. In
architectures with low scores, small ones for the most part, one choice more or less shows. So the effects are fitted
to the scores of the worst of many uniform architectures, and any architecture is judged by the sum of its choices'
effects. No true accuracy is needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from enas.spaces import Architecture, SearchSpace, active

RIDGE = 1.0  # a choice that was seen n times keeps about n / (n + 1) of its effect
LOW = 0.1  # share of the architectures, those of the lowest scores, that the effects are fitted to
LEAST = 2  # architectures for each choice that there must be among them: else more of the others are taken


class Effects:
    """The sum of a constant and an effect for every choice that an architecture's active decisions make.

    archs: uniform ones; scores: [A], the greater the better, on a scale where effects add up, such as minus the
    logarithm of the loss; those that are not finite are left out. low: the share of them that counts, from the lowest
    score up.
    """

    def __init__(self, space: SearchSpace, archs: Sequence[Architecture], scores: Tensor, low: float = LOW) -> None:
        self.space = space
        made, scores = choices_made(space, archs), scores.to(torch.float64)
        known = torch.isfinite(scores)
        made, scores = made[known], scores[known]
        count = max(math.ceil(low * len(scores)), LEAST * made.shape[1])
        chosen = scores.argsort(stable=True)[:count]
        made, scores = made[chosen], scores[chosen]
        self.count = len(scores)
        self._mean, self._shares = scores.sum() / max(1, self.count), made.sum(0) / max(1, self.count)
        centred = made - self._shares
        gram = centred.T @ centred + RIDGE * torch.eye(made.shape[1], dtype=torch.float64)
        self._effects = torch.linalg.solve(gram, centred.T @ (scores - self._mean))

    def predict(self, archs: Sequence[Architecture]) -> Tensor:
        """The scores [A], float64, that the effects give these architectures, among them ones never seen."""
        scores: Tensor = self._mean + (choices_made(self.space, archs) - self._shares) @ self._effects
        return scores

    def of_choices(self) -> list[list[float]]:
        """The effect of every choice of every decision."""
        sizes = [len(decision.labels) for decision in self.space.decisions]
        return [part.tolist() for part in self._effects.split(sizes)]


def choices_made(space: SearchSpace, archs: Sequence[Architecture]) -> Tensor:
    """float64 [A, sum of K_d]: 1 for each choice that an active decision makes."""
    starts = [0]
    for decision in space.decisions:
        starts.append(starts[-1] + len(decision.labels))
    made = torch.zeros(len(archs), starts[-1], dtype=torch.float64)
    for row, arch in zip(made, archs, strict=True):
        on = active(space, arch.choices)
        row[[starts[d] + choice for d, choice in enumerate(arch.choices) if on[d]]] = 1
    return made
