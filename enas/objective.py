"""From scores to rewards: what the searcher maximises.

A architectures. A failed score (not finite) gives a NaN reward; the searcher decides what that means.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from enas.config import ObjectiveConfig


@dataclass(frozen=True)
class Scores:
    """What an evaluator says of A architectures.

    accuracy: [A], share of right answers in 0..1; loss: [A], mean cross-entropy in nats; both on the CPU.
    images: how many images they were measured on.
    """

    accuracy: Tensor
    loss: Tensor
    images: int

    @property
    def failed(self) -> Tensor:
        """bool [A]: the loss is not finite, so the score says nothing."""
        return ~torch.isfinite(self.loss)


def rewards(scores: Scores, config: ObjectiveConfig) -> Tensor:
    """[A] in 0..1, the greater the better; NaN where the evaluation failed."""
    values = scores.accuracy if config.metric == "accuracy" else torch.exp(-scores.loss)
    return torch.where(scores.failed, torch.nan, values**config.power)
