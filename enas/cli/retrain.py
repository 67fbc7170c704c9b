"""`enas retrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from enas import config
from enas.cli import options
from enas.cli.output import data_line, duration, print_retrain_result, runtime_line
from enas.cli.targets import read_result, retrain_base, start
from enas.config import RetrainConfig
from enas.errors import UserError


@click.command()
@click.argument("target", required=False)
@options.settings(RetrainConfig)
@click.option("--reference", type=click.Choice(["resnet20"]), help="train this hand-drawn network instead")
@click.option("--output", type=click.Path(path_type=Path), help="folder (default: RUN/retrain, or runs/<date>-retrain)")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="continue the training in this folder"
)
def retrain(
    target: str | None,
    preset: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    print_config: bool,
    reference: str | None,
    output: Path | None,
    resume: Path | None,
    **fields: Any,
) -> None:
    """Train one architecture from scratch on all training images and test it once.

    TARGET is a search's run folder, its result.json, or an architecture such as macro:0-31-201.
    Settings start from the search's preset and data where there is one.
    """
    if resume is not None:
        others = (target, config_file, assignments, preset, reference, output, *fields.values())
        if any(other not in (None, ()) for other in others):
            raise UserError("--resume takes all settings from the folder and goes with no other option; leave them out")
        from enas.runs import RunFolder

        run_config, folder = RunFolder(resume).config(RetrainConfig()), resume
    else:
        base, default = retrain_base(target, reference, preset)
        run_config = options.apply(base, config_file, fields, assignments)
        folder = output or default
    if print_config:
        click.echo(options.to_toml(config.to_dict(run_config)))
        return
    _retrain(run_config, folder, resume is not None)


def _retrain(run_config: RetrainConfig, path: Path, resuming: bool) -> None:
    from enas.cost import cost
    from enas.interrupts import StopRequest
    from enas.records import to_dict
    from enas.retrain import forecast_s, network_space
    from enas.retrain import retrain as run
    from enas.runs import RunFolder
    from enas.tracking import Progress, TensorBoard

    folder = RunFolder(path)
    if resuming and folder.result.exists():
        click.echo(f"{path} is finished.")
        print_retrain_result(path, read_result(path).values)
        return
    if not resuming:
        folder.check_new()
    run_config, runtime, data = start(run_config)
    space, arch = network_space(run_config, data)
    counts = cost(space.graph(arch))
    forecast = forecast_s(run_config, data, runtime)
    if not resuming:
        folder.create(run_config)
    click.echo(
        f"{data_line(data)} | {run_config.arch[:60]}: {counts.params:,} parameters, {counts.macs:,} MACs | "
        f"{runtime_line(runtime)} | {run_config.epochs} epochs, about {duration(forecast)}"
        + (" in all" if resuming else ""),
        err=True,
    )
    steps = max(1, len(data.train) // run_config.sgd.batch_size)
    progress = Progress(run_config.epochs * steps * min(len(data.train), run_config.sgd.batch_size), "retrain")
    with StopRequest() as stop, progress, TensorBoard(path / "tensorboard", folder.records(), space) as board:
        for record in run(run_config, data, folder, runtime, progress.work, progress.skip, stop):
            board.write(to_dict(record))
            progress.show(
                f"epoch {record.epoch + 1}/{run_config.epochs} loss {record.train_loss:.3f} "
                f"training accuracy {record.train_accuracy:.3f}"
            )
        board.finish(read_result(path).values)
    print_retrain_result(path, read_result(path).values)
