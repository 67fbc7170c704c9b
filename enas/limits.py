"""What a search is to find: its objective, and its space within the limits of cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from enas import searchers, spaces
from enas.config import ObjectiveConfig
from enas.errors import UserError
from enas.latency import Estimated, read_profile
from enas.objective import Objective, number
from enas.runtime import generator
from enas.spaces import LimitedSpace, SearchSpace

STARTS = 20  # uniform architectures, from the cheapest of which the way leads down
WORDS = {"params": "parameters", "macs": "MACs", "latency_ms": "ms"}
SAMPLE = 20  # uniform architectures whose nodes a profile should know before a search begins
FEW = 5  # of them may have a node that it lacks; of a profile of another space or size nearly all have


def objective_of(space: SearchSpace, config: ObjectiveConfig) -> Objective:
    """The objective of a search in this space. Raises UserError where its profile is unreadable or another space's.

    A rare node that it lacks is no error, now or later: its time is estimated.
    """
    if config.profile is None:
        return Objective(space, config)
    profile = read_profile(Path(config.profile))
    objective = Objective(space, config, Estimated(profile))
    archs = searchers.uniform(space, SAMPLE, generator(0, "profile"))
    lacking = [graph for graph in map(objective.networks.graph, archs) if profile.missing([graph])]
    if len(lacking) > FEW:
        profile.latency(lacking[0])
    objective.costs(archs[0])  # that it is not finished should be known before the search begins, too
    return objective


def limited(space: SearchSpace, objective: Objective) -> SearchSpace:
    """The space within the limits of the objective; the space itself where there are none.

    Raises UserError where no architecture is found that stays within all of them.
    """
    limits, excess = objective.config.limits, objective.excess
    if not limits:
        return space
    # from a uniform one down, one choice at a time, but no further than needed
    starts = searchers.uniform(space, STARTS, generator(0, "limits"))
    start = min(starts, key=excess)
    example = searchers.climbed(space, start, lambda archs: [-max(1.0, excess(arch)) for arch in archs])
    if excess(example) > 1:
        costs = {name: objective.costs(example)[name] for name in limits}
        raise UserError(
            f"the space must hold an architecture within {_described(limits)}, but the smallest one found, "
            f"{spaces.to_text(space, example)}, has {_described(costs)}; raise the limit, or search a space of smaller "
            "networks"
        )
    return LimitedSpace(space, excess, example)


def _described(costs: Mapping[str, float]) -> str:
    return " and ".join(f"{number(value)} {WORDS[name]}" for name, value in costs.items())
