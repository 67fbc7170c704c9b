"""`enas search`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from enas import config
from enas.cli import options
from enas.cli.audit import with_audit
from enas.cli.jobs import searching
from enas.cli.output import print_search_result
from enas.cli.searches import begun_seeds, search_seeds
from enas.cli.targets import default_folder, recipe
from enas.cli.work import interruptible, resumed, work
from enas.config import COSTS, LIMIT, PRESETS, SEARCHABLE, TARGET, RetrainConfig, SearchConfig, judged_alone
from enas.errors import UserError

# The settings that an evaluator does not heed, by the beginning of their path.
UNHEEDED = {
    "shared-weights": ("evaluations", "generation", "full_training."),
    "full-training": ("epochs", "weights.", "derive.", "audit."),
    "table": ("epochs", "weights.", "derive.", "audit.", "full_training.", "data.", "space."),
}


def cost_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: --limit and --target, for `of_costs`."""
    helps = {
        "--limit": "most that a network may cost, of {}: nothing above it is proposed or judged",
        "--target": "what a network should cost, of {}: the reward falls with the distance from it",
    }
    for option, help in reversed(helps.items()):
        names = (option, f"{option[2:]}s")
        costs = help.format(", ".join(COSTS))
        command = click.option(*names, multiple=True, metavar="COST=NUMBER", help=costs)(command)
    return command


def of_costs(limits: tuple[str, ...], targets: tuple[str, ...]) -> list[str]:
    """The settings that --limit and --target stand for, as --set has them."""
    costs = {"--limit": (LIMIT, limits), "--target": (TARGET, targets)}
    return [_of_cost(option, prefix, text) for option, (prefix, texts) in costs.items() for text in texts]


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of every command that searches, for `search_settings`."""
    for decorator in reversed(
        (
            options.settings(SearchConfig),
            click.option("--space", type=click.Choice(SEARCHABLE), help="search space (default: macro)"),
            cost_options,
            click.option("--output", type=click.Path(path_type=Path), help="run folder (default: runs/<date>-<space>)"),
            click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="continue the run in RUN"),
        )
    ):
        command = decorator(command)
    return command


def search_settings(
    *,
    preset: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    space: str | None,
    limits: tuple[str, ...],
    targets: tuple[str, ...],
    output: Path | None,
    resume: Path | None,
    others: tuple[Any, ...] = (),
    **fields: Any,
) -> tuple[SearchConfig, Path]:
    """Configuration and folder of a new search, or of the one to resume. others: further options that were given."""
    if resume is not None:
        given = (config_file, assignments, preset, space, limits, targets, output, *others)
        return resumed(SearchConfig(), resume, fields, given), resume
    name, values = options.preset_and_file(preset, space, options.read_toml(config_file))
    assignments = (*of_costs(limits, targets), *assignments)
    for assignment in assignments:
        if assignment.partition("=")[0].strip() == "preset":
            raise UserError(f"a preset must be given with --preset, but got --set {assignment}; --set changes no sizes")
    base, _ = PRESETS[name](space)
    run_config: SearchConfig = options.apply(base, values, fields, assignments)
    if run_config.evaluator != "shared-weights":
        run_config = options.apply(judged_alone(base, run_config.evaluator), values, fields, assignments)
    if fields.get("epochs") is not None and run_config.budget is not None:
        raise UserError(
            f"--epochs and --budget must not be given together, because a budget decides the number of epochs, but got "
            f"{fields['epochs']} and {run_config.budget}; leave one out"
        )
    typed = {assignment.partition("=")[0].strip(): assignment for assignment in assignments}
    _check_heeded({**options.typed(SearchConfig, fields), **typed}, run_config)
    if run_config.evaluator == "table":
        run_config = _in_table_space(run_config, space)
    if run_config.space.name not in SEARCHABLE:
        raise UserError(f"space must be one of {', '.join(SEARCHABLE)}, but {run_config.space.name} has no decisions")
    return run_config, output or default_folder(run_config.space.name)


def costs_of_retrained(run_config: SearchConfig, retrained: RetrainConfig) -> SearchConfig:
    """The configuration with costs that are those of networks as retrained, where it does not say otherwise."""
    objective = run_config.objective
    if (
        not (objective.limits or objective.targets or objective.profile)
        or objective.width is not None
        or objective.depth is not None
    ):
        return run_config
    sizes = {"width": retrained.width, "depth": retrained.depth}
    return config.update(run_config, {"objective": sizes})  # type: ignore[no-any-return]


def _of_cost(option: str, prefix: str, text: str) -> str:
    """The setting that a --limit or --target stands for."""
    name, _, value = (part.strip() for part in text.partition("="))
    if name not in COSTS or not value:
        raise UserError(f"{option} must be one of {', '.join(f'{cost}=NUMBER' for cost in COSTS)}, but got {text!r}")
    return f"objective.{prefix}{name}={value}"


def _check_heeded(typed: Mapping[str, str], run_config: SearchConfig) -> None:
    """Raise UserError for what this search does not heed. typed: options and --set, by the path of the setting."""
    unheeded = UNHEEDED[run_config.evaluator]
    if run_config.evaluator == "shared-weights" and run_config.audit.networks:
        unheeded = tuple(path for path in unheeded if path != "full_training.")  # they are the audit's too
    for path, option in typed.items():
        if path.startswith(unheeded):
            raise UserError(
                f"{option} must be left out with --evaluator {run_config.evaluator}, where it does nothing"
                + (" without --audit" if run_config.evaluator == "shared-weights" and "full_training." in path else "")
            )


def _in_table_space(run_config: SearchConfig, wanted: str | None) -> SearchConfig:
    """The configuration with the space of its table and no images. Raises UserError where another space was named."""
    from enas.tables import load_table

    config.check(run_config)
    table = load_table(Path(run_config.table or ""))
    if wanted not in (None, table.space.name):
        raise UserError(f"--space must be the table's, {table.space.name}, but got {wanted}; leave it out")
    found = {"space": config.to_dict(table.space.options), "data": {"name": None}}
    return config.update(run_config, found)  # type: ignore[no-any-return]


@click.command()
@search_options
@click.option(
    "--seeds",
    type=click.IntRange(2, 1000),
    metavar="K",
    help="search K times, with seeds --seed and the next ones; a --budget is each one's, so K times of it in all",
)
def search(print_config: bool, seeds: int | None, resume: Path | None, **given: Any) -> None:
    """Search an architecture: alternate between shared weights and controller, then choose.

    Without any option: the embedded digits with the quick preset, in a few minutes. With --seeds each search has
    its own folder below the output folder, and the result there says what they have in common.
    """
    run_config, path = search_settings(resume=resume, others=(seeds,), **given)
    if resume is None:
        run_config = costs_of_retrained(run_config, recipe(run_config))
    if print_config:
        click.echo(options.to_toml(config.to_dict(run_config)))
        return
    config.check(run_config)  # before anything is written
    if resume is not None:
        seeds = begun_seeds(path)
    with interruptible(path):
        if seeds is not None:
            search_seeds(run_config, seeds, path, resuming=resume is not None)
        else:
            print_search_result(path, with_audit(path, work(searching, run_config, path, resuming=resume is not None)))
