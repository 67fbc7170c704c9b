"""The configuration of a search from a preset, a space and what the user changes, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from enas import config
from enas.config import (
    PRESETS,
    SEARCHABLE,
    CustomOptions,
    RetrainConfig,
    SearchConfig,
    SpaceOptions,
    judged_alone,
)
from enas.errors import UserError
from enas.spaces import source

# The settings that an evaluator does not heed, by the beginning of their path.
UNHEEDED = {
    "shared-weights": ("evaluations", "generation", "full_training."),
    "full-training": ("epochs", "weights.", "derive.", "audit."),
    "table": ("epochs", "weights.", "derive.", "audit.", "full_training.", "data.", "space."),
}
# those of a training of shared weights that finalists do not heed either: idle where the weights are trained already
IDLE = tuple(
    f"weights.{name}"
    for name in ("steps", "architectures_per_step", "schedule", "restart_period", "restart_factor", "max_nonfinite")
)


def composed(
    preset: str,
    space: str | None,
    own: CustomOptions | None,
    changed: Callable[[SearchConfig], SearchConfig],
    typed: Mapping[str, str],
    *,
    from_user: bool = True,
) -> SearchConfig:
    """A preset's search in a space, with what the user changes.

    space: as named, None for the preset's. own: the user's space, if it is one. changed: applies what the user changes.
    typed: what that is, in the user's words, by the path of the setting. A file that the user's settings name for a
    space is run, and one with a table read. from_user: whether the settings are the user's; those of a run folder are
    taken as they are, and no file that they name is touched. Raises UserError for what cannot be, and for settings that
    this search does not heed.
    """
    base, _ = PRESETS[preset](space if own is None else own.name)
    if own is not None:
        base = config.update(base, {"space": config.to_dict(own)})
    run_config = changed(base)
    if run_config.evaluator != "shared-weights":
        run_config = changed(judged_alone(base, run_config.evaluator))
    check_heeded(typed, run_config)
    check_compared(run_config, base)
    if "epochs" in typed and run_config.budget is not None:
        raise UserError(
            "epochs and a budget must not be given together, because a budget decides the number of epochs, but got "
            f"{run_config.epochs} and {run_config.budget}; leave one out"
        )
    if run_config.evaluator == "table":
        options = _table_space(run_config, space) if from_user else run_config.space
        run_config = config.update(run_config, {"space": config.to_dict(options), "data": {"name": None}})
    options = run_config.space
    if not from_user:
        source.check(options)
        return run_config
    if isinstance(options, CustomOptions):
        settled = config.to_dict(source.settled(options))
        return config.update(run_config, {"space": settled})  # type: ignore[no-any-return]
    if options.name not in SEARCHABLE:
        raise UserError(f"space must be one of {', '.join(SEARCHABLE)}, but {options.name} has no decisions")
    return run_config


def folder_name(options: SpaceOptions) -> str:
    """What the folder of a search in this space is called after."""
    return options.class_name if isinstance(options, CustomOptions) else options.name


def costs_of_retrained(run_config: SearchConfig, retrained: RetrainConfig) -> SearchConfig:
    """The configuration with costs that are those of networks as retrained: of width and depth each where it does not
    say otherwise itself, as retraining does (`recipe`)."""
    objective = run_config.objective
    if not objective.heeds_costs:
        return run_config
    sizes = {name: getattr(retrained, name) for name in ("width", "depth") if getattr(objective, name) is None}
    return config.update(run_config, {"objective": sizes})  # type: ignore[no-any-return]


def check_heeded(typed: Mapping[str, str], run_config: SearchConfig) -> None:
    """Raise UserError for what this search does not heed. typed: options and --set, by the path of the setting."""
    unheeded = UNHEEDED[run_config.evaluator]
    if run_config.evaluator == "shared-weights" and run_config.audit.networks:
        unheeded = tuple(path for path in unheeded if path != "full_training.")  # they are the audit's too
    for path, option in typed.items():
        if run_config.weights.source is not None and path in IDLE:
            raise UserError(
                f"{option} must be left out with weights.source, whose shared weights are trained: it does nothing"
            )
        if path.startswith(unheeded):
            raise UserError(
                f"{option} must be left out with --evaluator {run_config.evaluator}, where it does nothing"
                + (" without --audit" if run_config.evaluator == "shared-weights" and "full_training." in path else "")
            )


def check_compared(run_config: SearchConfig, base: SearchConfig) -> None:
    """Raise UserError for a figure to compare finalists by where they are not trained.

    base: before the user's changes. What a preset has, or the run that is derived from, is nobody's mistake.
    """
    figure, derive = run_config.derive.finalist_criterion, run_config.derive
    if run_config.evaluator != "shared-weights" or run_config.budget is not None or derive.finalist_epochs:
        return
    if figure not in ("accuracy", base.derive.finalist_criterion):
        raise UserError(
            f"derive.finalist_criterion {figure} is about the finalists' training, but derive.finalist_epochs is 0; "
            "give it more, or leave derive.finalist_criterion out"
        )


def _table_space(run_config: SearchConfig, wanted: str | None) -> SpaceOptions:
    """The space of the search's table. Raises UserError where another one was named."""
    from enas.tables import load_table

    config.check(run_config)
    table = load_table(Path(run_config.table or ""))
    if wanted not in (None, table.space.name):
        raise UserError(f"--space must be the table's, {table.space.name}, but got {wanted}; leave it out")
    return table.space.options
