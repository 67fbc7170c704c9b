"""Searching again with the shared weights of a finished search, which are not trained."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from enas import config
from enas.config import COSTS, LIMIT, OF_FINALISTS, PRESETS, TARGET, SearchConfig
from enas.errors import UserError
from enas.jobs.settings import check_compared, check_heeded, costs_of_retrained
from enas.jobs.targets import recipe, with_shared_weights
from enas.words import in_shell

# What a search with trained weights does nothing with, by the beginning of the setting's path; the exceptions.
UNHEEDED = ("budget", "evaluator", "weights.")
HEEDED = ("weights.scoring_memory_gib",)


def derived_from(
    run: Path,
    changed: Callable[[SearchConfig], SearchConfig],
    typed: Mapping[str, str],
    *,
    other_costs: bool,
    data: str | None = None,
    data_folder: str | None = None,
) -> SearchConfig:
    """The configuration of such a search, checked.

    run: the finished search. changed: applies what the user changes. typed: what that is, in the user's words, by the
    path of the setting. other_costs: those are other limits or targets, beside which the run's do not stay. data,
    data_folder: where its images are now. Raises UserError for what cannot be, and for what would do nothing.
    """
    found = with_shared_weights(run, data, data_folder)
    if not (run / "result.json").exists():
        raise UserError(
            f"{run} must be a finished search, but it has no result; go on: enas search --resume {in_shell(run)}"
        )
    for path, words in typed.items():
        if path.startswith(UNHEEDED) and path not in HEEDED:
            raise UserError(f"{words} must be left out: the shared weights of {run} are trained, and it does nothing")
    base = _again(found, run, other_costs, 1)
    if changed(base).learns:
        base = _again(found, run, other_costs, max(1, _learning_epochs(found, run)))
    if changed(base).derive.finalist_epochs == 0:  # as a budget may have left: what the run says of it is idle
        usual = config.to_dict(config.DeriveConfig())
        base = config.update(base, {"derive": {name: usual[name] for name in (*OF_FINALISTS, "halving_eta")}})
    run_config = changed(base)
    check_heeded(typed, run_config)
    check_compared(run_config, base)
    run_config = costs_of_retrained(run_config, recipe(run_config))
    config.check(run_config)
    return run_config


def derived_folder(run: Path, kind: str = "derive") -> Path:
    """Where the result goes if nothing else is said."""
    return run / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}"


def _again(found: SearchConfig, run: Path, other_costs: bool, epochs: int) -> SearchConfig:
    """The run's configuration for a search with its shared weights. other_costs: its limits and targets do not stay.
    epochs: where the user does not say."""
    changes: dict[str, Any] = {
        "budget": None,
        "epochs": epochs,
        "weights": {"source": os.path.abspath(run), "sampling": "independent", "distillation": 0.0, "shrinks": 0},
        "controller": {"warmup_epochs": 0},
        "audit": {"networks": 0},
    }
    if other_costs:
        changes["objective"] = {prefix + cost: None for prefix in (LIMIT, TARGET) for cost in COSTS}
    return config.update(found, changes)  # type: ignore[no-any-return]


def _learning_epochs(found: SearchConfig, run: Path) -> int:
    """Epochs in which the run's controller learned, or would have in its preset, where it had none."""
    from enas.runs import RunFolder

    if found.learns:
        return sum(record["kind"] == "epoch" and not record["warmup"] for record in RunFolder(run).records())
    preset, _ = PRESETS[found.preset if found.preset in PRESETS else "quick"](found.space.name)
    return preset.epochs - preset.controller.warmup_epochs
