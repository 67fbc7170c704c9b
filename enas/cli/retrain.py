"""`enas retrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from enas import config
from enas.cli import options
from enas.cli.output import print_retrain_result
from enas.cli.stopping import interruptible, resumed
from enas.config import RetrainConfig
from enas.jobs.doing import work
from enas.jobs.targets import REFERENCES, retrain_base
from enas.jobs.training import retraining


@click.command()
@click.argument("target", required=False)
@options.settings(RetrainConfig)
@click.option("--reference", type=click.Choice(REFERENCES), help="train this hand-drawn network instead")
@click.option("--output", type=click.Path(path_type=Path), help="folder (default: RUN/retrain, or runs/<date>-retrain)")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="continue the training in this folder"
)
@options.own_space
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
        given = (target, config_file, assignments, preset, reference, output)
        run_config, folder = resumed(RetrainConfig(), resume, fields, given), resume
    else:
        base, default = retrain_base(target, reference, preset)
        run_config = options.apply(base, options.read_toml(config_file), fields, assignments)
        folder = output or default
    if print_config:
        click.echo(options.to_toml(config.to_dict(run_config)))
        return
    with interruptible(folder):
        print_retrain_result(folder, work(retraining, run_config, folder, resuming=resume is not None))
