"""What proposes architectures.

base.py          the interface, and what searchers share
reinforce.py     the LSTM controller trained by REINFORCE
random.py        uniform random choice
evolution.py     regularised evolution
local_search.py  from neighbour to neighbour
tpe.py           optuna's tree-structured Parzen estimator

`sample` has no side effect and feeds weight training. `ask` and `tell` are the search: proposals go
out with the log-probability and policy version of their time, rewards come back.
"""

from __future__ import annotations

import dataclasses

import torch

from enas.config import EvolutionConfig, SearchConfig
from enas.searchers.base import (
    Network,
    Policy,
    Proposal,
    Searcher,
    Told,
    allowed,
    alternatives,
    below,
    climbed,
    fair,
    mutated,
    near,
    observed,
    sandwich,
    uniform,
)
from enas.searchers.evolution import POPULATION, Evolution
from enas.searchers.local_search import LocalSearch
from enas.searchers.random import Random
from enas.searchers.reinforce import Reinforce, advantages, reinforce_loss, skip_penalty
from enas.searchers.tpe import Tpe
from enas.spaces import SearchSpace

__all__ = [
    "Evolution",
    "LocalSearch",
    "Network",
    "Policy",
    "Proposal",
    "Random",
    "Reinforce",
    "Searcher",
    "Told",
    "Tpe",
    "advantages",
    "allowed",
    "alternatives",
    "below",
    "build",
    "climbed",
    "fair",
    "mutated",
    "near",
    "observed",
    "reinforce_loss",
    "sandwich",
    "skip_penalty",
    "uniform",
]


def build(
    space: SearchSpace, config: SearchConfig, generator: torch.Generator, network: Network | None = None
) -> Searcher:
    """The searcher that the configuration names.

    network: equal for architectures that are the same network, where the evaluator always gives it the same
        score: then none is proposed twice, as long as there are others. None: scores differ from time to time.
    Raises UserError where an optional package is missing.
    """
    if config.searcher == "random":
        return Random(space, generator, network)
    if config.searcher == "evolution":
        return Evolution(space, _population(config), generator, network)
    if config.searcher == "local-search":
        return LocalSearch(space, config.local_search, generator, network)
    if config.searcher == "tpe":
        return Tpe(space, config.tpe, generator, network)
    return Reinforce(space, config.controller, generator, network)


def _population(config: SearchConfig) -> EvolutionConfig:
    """Evolution's settings, with a population that a short search has filled soon."""
    size = config.evolution.population
    if size is None and config.evaluator != "shared-weights":
        size = max(2, min(POPULATION, config.evaluations // 4))
    return dataclasses.replace(config.evolution, population=size)
