"""`enas search`."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import click

from enas import config, spaces
from enas.cli import options
from enas.cli.output import data_line, duration, print_search_result, runtime_line
from enas.cli.targets import default_folder, read_result, start
from enas.config import PRESETS, SEARCHABLE, SearchConfig
from enas.errors import UserError


@click.command()
@options.settings(SearchConfig)
@click.option("--space", type=click.Choice(SEARCHABLE), help="search space (default: macro)")
@click.option("--output", type=click.Path(path_type=Path), help="run folder (default: runs/<date>-<space>)")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="continue the run in this folder")
def search(
    preset: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    print_config: bool,
    space: str | None,
    output: Path | None,
    resume: Path | None,
    **fields: Any,
) -> None:
    """Search an architecture: alternate between shared weights and controller, then choose.

    Without any option: the embedded digits with the quick preset, in a few minutes.
    """
    if resume is not None:
        if config_file or assignments or preset or space or output or any(v is not None for v in fields.values()):
            raise UserError("--resume takes all settings from the run and goes with no other option; leave them out")
        from enas.runs import RunFolder

        run_config = RunFolder(resume).config(SearchConfig())
    else:
        base = PRESETS[options.preset_name(preset, config_file)](space)[0]
        run_config = options.apply(base, config_file, fields, assignments)
    if print_config:
        click.echo(options.to_toml(config.to_dict(run_config)))
        return
    if run_config.space.name not in SEARCHABLE:
        raise UserError(f"space must be one of {', '.join(SEARCHABLE)}, but {run_config.space.name} has no decisions")
    folder = resume or output or default_folder(run_config.space.name)
    _search(run_config, folder, resume is not None)


def _search(run_config: SearchConfig, path: Path, resuming: bool) -> None:
    from enas import budget
    from enas.interrupts import StopRequest
    from enas.plan import total_work
    from enas.records import EpochRecord, FinalistRecord, to_dict
    from enas.runs import RunFolder
    from enas.search import search as run
    from enas.tracking import Progress, TensorBoard

    began = time.perf_counter()
    folder = RunFolder(path)
    if resuming and folder.result.exists():
        click.echo(f"{path} is finished.")
        print_search_result(path, read_result(path).values)
        return
    if not resuming:
        folder.check_new()
    run_config, runtime, data = start(run_config)
    space = spaces.build(run_config.space, data.input_shape, data.num_classes)
    validation = round(len(data.train) * run_config.data.validation_fraction)
    plan = budget.plan(run_config, data, folder, runtime, began, sized=resuming)
    run_config = plan.config
    if not resuming:
        folder.create(run_config)
    click.echo(
        f"{data_line(data)} | {space.name}: {spaces.size(space):.2g} architectures | {runtime_line(runtime)} | "
        f"about {duration(plan.forecast_s)}" + (" in all" if resuming else ""),
        err=True,
    )
    sizes = len(data.train) - validation, validation
    if run_config.budget is not None:
        click.echo(f"budget {run_config.budget}: {budget.describe(run_config, sizes[0])}", err=True)
    progress = Progress(total_work(run_config, *sizes).units, "search")
    warned = False
    with StopRequest() as stop, progress, TensorBoard(path / "tensorboard", folder.records(), space) as board:
        for record in run(run_config, data, folder, runtime, progress.work, progress.skip, stop, plan.rates, began):
            board.write(to_dict(record))
            if isinstance(record, EpochRecord):
                if record.epochs != run_config.epochs:  # a time budget asked for more or fewer
                    run_config = dataclasses.replace(run_config, epochs=record.epochs)
                    progress.resize(total_work(run_config, *sizes).units)
                gap = record.controller_minus_random
                progress.show(
                    f"epoch {record.epoch + 1}/{run_config.epochs} loss {record.train_loss:.3f} "
                    f"proxy {record.controller_proxy_accuracy:.3f} minus random {gap.mean:+.3f} "
                    f"entropy {record.entropy_share:.0%}"
                )
                if record.warning and not warned:
                    warned = True  # every record has it; one line is enough here
                    progress.say(f"warning: epoch {record.epoch + 1}: {record.warning}")
            elif isinstance(record, FinalistRecord):
                progress.show(f"finalist {record.rank} standalone {record.standalone_accuracy or math.nan:.3f}")
        board.finish(read_result(path).values)
    print_search_result(path, read_result(path).values)
