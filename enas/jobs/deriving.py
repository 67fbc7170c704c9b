"""Searching again with the shared weights of a finished search, which are not trained."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enas import config
from enas.config import COSTS, LIMIT, TARGET, SearchConfig
from enas.errors import UserError
from enas.jobs.settings import costs_of_retrained
from enas.jobs.targets import recipe, with_shared_weights


def derived_from(
    run: Path,
    changed: Callable[[SearchConfig], SearchConfig],
    *,
    other_costs: bool,
    data: str | None = None,
    data_folder: str | None = None,
) -> SearchConfig:
    """The configuration of such a search, checked.

    run: the finished search. changed: applies what the user changes. other_costs: those are other limits or targets,
    beside which the run's do not stay. data, data_folder: where its images are now. Raises UserError for what cannot
    be.
    """
    found = with_shared_weights(run, data, data_folder)
    if not (run / "result.json").exists():
        raise UserError(f"{run} must be a finished search, but it has no result; go on: enas search --resume {run}")
    run_config = changed(_again(found, run, other_costs))
    run_config = costs_of_retrained(run_config, recipe(run_config))
    config.check(run_config)
    return run_config


def derived_folder(run: Path, kind: str = "derive") -> Path:
    """Where the result goes if nothing else is said."""
    return run / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}"


def _again(found: SearchConfig, run: Path, other_costs: bool) -> SearchConfig:
    """The run's configuration for a search with its shared weights. other_costs: its limits and targets do not stay."""
    trained = found.weights.source
    if trained is None or not Path(trained).is_dir():  # where the weights' first run is gone, this one has a copy
        trained = str(run)
    learning = found.epochs - found.controller.warmup_epochs if found.learns else 1
    changes: dict[str, Any] = {
        "budget": None,
        "epochs": max(1, learning),
        "weights": {"source": os.path.abspath(trained), "sampling": "independent"},
        "controller": {"warmup_epochs": 0},
        "audit": {"networks": 0},
    }
    if other_costs:
        changes["objective"] = {prefix + cost: None for prefix in (LIMIT, TARGET) for cost in COSTS}
    return config.update(found, changes)  # type: ignore[no-any-return]
