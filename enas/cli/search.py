"""`enas search`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from enas import config
from enas.cli import options
from enas.cli.output import print_search_result
from enas.cli.searches import begun_seeds, search_seeds
from enas.cli.stopping import interruptible, resumed
from enas.config import COSTS, LIMIT, SEARCHABLE, TARGET, SearchConfig
from enas.errors import UserError
from enas.jobs.auditing import with_audit
from enas.jobs.doing import work
from enas.jobs.settings import composed, costs_of_retrained, folder_name
from enas.jobs.targets import default_folder, recipe
from enas.jobs.training import searching
from enas.spaces import source


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
            click.option(
                "--space",
                type=options.SpaceName(),
                metavar=f"[{'|'.join(SEARCHABLE)}|FILE.py:CLASS]",
                help="search space: a name, or FILE.py:CLASS for one of your own, whose file is then run (default: "
                "macro)",
            ),
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
    from_user: bool = True,
    **fields: Any,
) -> tuple[SearchConfig, Path]:
    """Configuration and folder of a new search, or of the one to resume. others: further options that were given.

    from_user: whether the user asks for it, see `composed`.
    """
    if resume is not None:
        if space is not None and ":" in space:
            source.load(space)  # the run's own, which its folder alone does not let run
            space = None
        given = (config_file, assignments, preset, space, limits, targets, output, *others)
        return resumed(SearchConfig(), resume, fields, given), resume
    own = source.load(space) if space is not None and ":" in space else None
    name, values = options.preset_and_file(preset, space if own is None else own.name, options.read_toml(config_file))
    assignments = (*of_costs(limits, targets), *assignments)
    for assignment in assignments:
        if assignment.partition("=")[0].strip() == "preset":
            raise UserError(f"a preset must be given with --preset, but got --set {assignment}; --set changes no sizes")
    typed = {assignment.partition("=")[0].strip(): assignment for assignment in assignments}

    def changed(base: SearchConfig) -> SearchConfig:
        return options.apply(base, values, fields, assignments)  # type: ignore[no-any-return]

    typed = {**options.typed(SearchConfig, fields), **typed}
    run_config = composed(name, space, own, changed, typed, from_user=from_user)
    return run_config, output or default_folder(folder_name(run_config.space))


def _of_cost(option: str, prefix: str, text: str) -> str:
    """The setting that a --limit or --target stands for."""
    name, _, value = (part.strip() for part in text.partition("="))
    if name not in COSTS or not value:
        raise UserError(f"{option} must be one of {', '.join(f'{cost}=NUMBER' for cost in COSTS)}, but got {text!r}")
    return f"objective.{prefix}{name}={value}"


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
