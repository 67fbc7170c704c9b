"""Moving averages of weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """module: a copy of one that is trained, whose weights and running statistics follow it slowly."""

    def __init__(self, trained: M, decay: float) -> None:
        """decay: share of the average that a step leaves."""
        self.module, self.decay = copy.deepcopy(trained), decay

    @torch.no_grad()
    def update(self, trained: M, steps: int) -> None:
        """Move towards the trained one, which has done so many steps."""
        # a short training must not end with an average of mostly its first steps
        decay = min(self.decay, (1 + steps) / (10 + steps))
        pairs = zip(self.module.state_dict().values(), trained.state_dict().values(), strict=True)
        averages, present = zip(*pairs, strict=True)
        torch._foreach_lerp_(averages, present, 1 - decay)
