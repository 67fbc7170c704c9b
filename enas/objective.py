"""From scores to rewards: what the searcher maximises.

A architectures. A failed score (not finite) gives a NaN reward; the searcher decides what that means.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from enas.config import ObjectiveConfig
from enas.errors import UserError


@dataclass(frozen=True)
class Scores:
    """What an evaluator says of A architectures.

    accuracy: [A], share of right answers in 0..1; loss: [A], mean cross-entropy in nats; both on the CPU. The loss
        is None where the evaluator knows none, as a table of trained networks does not.
    images: how many images they were measured on.
    """

    accuracy: Tensor
    loss: Tensor | None
    images: int

    @property
    def failed(self) -> Tensor:
        """bool [A]: the loss, or the accuracy where there is none, is not finite, so the score says nothing."""
        return ~torch.isfinite(self.accuracy if self.loss is None else self.loss)

    @property
    def known_loss(self) -> Tensor:
        """[A]: the loss. Raises UserError where there is none."""
        if self.loss is None:
            raise UserError(
                "the loss must be known for this, but a table of trained networks holds accuracies alone; "
                "give --reward accuracy"
            )
        return self.loss


def rewards(scores: Scores, config: ObjectiveConfig) -> Tensor:
    """[A] in 0..1, the greater the better; NaN where the evaluation failed.

    Raises UserError where the reward is to be the loss and the scores have none.
    """
    values = scores.accuracy if config.metric == "accuracy" else torch.exp(-scores.known_loss)
    return torch.where(scores.failed, torch.nan, values**config.power)
