"""Limits of what an architecture may cost: who searches within them proposes and judges nothing else."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from enas import searchers, spaces
from enas.config import ObjectiveConfig
from enas.cost import Cost, cost
from enas.errors import UserError
from enas.runtime import generator
from enas.spaces import Architecture, LimitedSpace, SearchSpace

STARTS = 20  # uniform architectures, from the cheapest of which the way leads down
KNOWN = 2**16  # architectures whose costs are remembered
WORDS = {"params": "parameters", "macs": "MACs"}


def costed(space: SearchSpace, config: ObjectiveConfig) -> SearchSpace:
    """The space of the networks whose costs count: as searched, or scaled as `config` says.

    Raises UserError where the space does not scale so.
    """
    changes = {name: value for name in ("width", "depth") if (value := getattr(config, name)) is not None}
    return space.scaled(**changes) if changes else space


def limited(space: SearchSpace, config: ObjectiveConfig) -> SearchSpace:
    """The space within the limits that `config` sets; the space itself where it sets none.

    Raises UserError where no architecture is found that stays within all of them.
    """
    limits = config.limits
    if not limits:
        return space
    networks = costed(space, config)

    @functools.lru_cache(maxsize=KNOWN)
    def excess(arch: Architecture) -> float:
        return exceeded(cost(networks.graph(arch)), limits)

    # from a uniform one down, one choice at a time, but no further than needed
    starts = searchers.uniform(space, STARTS, generator(0, "limits"))
    example = searchers.climbed(space, min(starts, key=excess), lambda arch: -max(1.0, excess(arch)))
    if excess(example) > 1:
        raise UserError(
            f"the space must hold an architecture within {described(limits)}, but the smallest one found, "
            f"{spaces.to_text(space, example)}, has {_counts(cost(networks.graph(example)), limits)}; raise the limit, "
            "or search a space of smaller networks"
        )
    return LimitedSpace(space, excess, example)


def report(space: SearchSpace, config: ObjectiveConfig, arch: Architecture) -> dict[str, Any] | None:
    """What the architecture costs beside the limits, as JSON; None where there are none."""
    if not config.limits:
        return None
    costs = cost(costed(space, config).graph(arch))
    found = {name: {"limit": limit, "found": getattr(costs, name)} for name, limit in config.limits.items()}
    return {"width": config.width, "depth": config.depth, "costs": found}


def exceeded(costs: Cost, limits: Mapping[str, float]) -> float:
    """The largest ratio of a cost to its limit."""
    ratios: list[float] = [getattr(costs, name) / limit for name, limit in limits.items()]
    return max(ratios)


def described(limits: Mapping[str, float]) -> str:
    """The limits in words."""
    return " and ".join(f"{limit:,.0f} {WORDS[name]}" for name, limit in limits.items())


def _counts(costs: Cost, limits: Mapping[str, float]) -> str:
    return " and ".join(f"{getattr(costs, name):,} {WORDS[name]}" for name in limits)
