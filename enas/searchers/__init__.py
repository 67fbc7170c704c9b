"""What proposes architectures.

base.py       the interface, and uniform random architectures
reinforce.py  the LSTM controller trained by REINFORCE
random.py     uniform random choice

`sample` has no side effect and feeds weight training. `ask` and `tell` are the search: proposals go
out with the log-probability and policy version of their time, rewards come back.
"""

from __future__ import annotations

import torch

from enas.config import SearchConfig
from enas.searchers.base import Policy, Proposal, Searcher, Told, uniform
from enas.searchers.random import Random
from enas.searchers.reinforce import Reinforce, advantages, reinforce_loss, skip_penalty
from enas.spaces import SearchSpace

__all__ = [
    "Policy",
    "Proposal",
    "Random",
    "Reinforce",
    "Searcher",
    "Told",
    "advantages",
    "build",
    "reinforce_loss",
    "skip_penalty",
    "uniform",
]


def build(space: SearchSpace, config: SearchConfig, generator: torch.Generator) -> Searcher:
    """The searcher that the configuration names."""
    if config.searcher == "random":
        return Random(space, generator)
    return Reinforce(space, config.controller, generator)
