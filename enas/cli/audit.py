"""`enas audit`, and the audit at the end of a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from enas import config
from enas.cli.output import data_line, print_audit, runtime_line
from enas.cli.targets import read_result, restored
from enas.cli.work import heard
from enas.config import SearchConfig
from enas.errors import UserError
from enas.interrupts import Stopped, StopRequest

NETWORKS = 16  # where the search was not asked for an audit


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--networks", type=int, help=f"uniform architectures to train (default: the run's, or {NETWORKS})")
@click.option("--child-epochs", "epochs", type=int, help="epochs of each (default: the run's full_training.epochs)")
@click.option("--repeats", type=int, help="trainings of the found architecture (default: the run's)")
@click.option("--workers", type=int, help="trainings at the same time, each by a process of its own")
@click.option("--data", help="where the run's images are now, if they have moved")
@click.option("--data-folder", help="where the run's data set lies now, as for search")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def audit(
    run: Path,
    networks: int | None,
    epochs: int | None,
    repeats: int | None,
    workers: int | None,
    data: str | None,
    data_folder: str | None,
    as_json: bool,
) -> None:
    """Say whether a finished search can be trusted: does its proxy rank, and is what it found better than chance?

    RUN is the folder of a search with shared weights. Uniform architectures, spread over the range of their proxy
    scores, are trained on their own for a short time, and the found one several times. What was trained is kept in
    RUN/audit, so the same command goes on where it was stopped. The report is added to the run's result.
    """
    from enas.runs import RunFolder

    folder = RunFolder(run)
    run_config = folder.config(SearchConfig())
    if run_config.evaluator != "shared-weights":
        raise UserError(f"{run} must be a search with shared weights, but its evaluator is {run_config.evaluator}")
    if not folder.result.exists():
        raise UserError(f"{run} must be a finished search, but it has no result; enas search --resume {run}")
    places = {"name": data or run_config.data.name, "folder": data_folder or run_config.data.folder}
    run_config = config.update(run_config, {"data": places})
    count = networks if networks is not None else run_config.audit.networks or NETWORKS
    if count < 1:
        raise UserError(f"--networks must be at least 5, but got {count}")
    given = {
        "audit": {"networks": count, "repeats": repeats},
        "full_training": {"epochs": epochs, "workers": workers},
    }
    wanted = config.update(run_config, {k: {n: v for n, v in s.items() if v is not None} for k, s in given.items()})
    values = audited(run, run_config, wanted)
    if as_json:
        click.echo(json.dumps(values["audit"], indent=2))
    else:
        print_audit(values["audit"])


def with_audit(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """What the result file of the finished search in `path` holds, after the audit if it was to have one.

    values: what it holds now.
    """
    from enas.runs import RunFolder

    run_config = RunFolder(path).config(SearchConfig())
    if run_config.audit.networks == 0 or "audit" in values:
        return values
    return audited(path, run_config, run_config)


def audited(path: Path, run_config: SearchConfig, wanted: SearchConfig) -> dict[str, Any]:
    """Audit the finished search in the folder and add the report to its result; returns what that file holds.

    run_config: the search's. wanted: its settings with those of the audit. Raises Stopped after a signal.
    """
    from enas import audit, checkpoint
    from enas.data import training_images
    from enas.records import finite
    from enas.runs import RunFolder
    from enas.tracking import Progress

    folder, found = RunFolder(path), read_result(path).arch
    with folder.working():
        state = restored(run_config, folder)
        work = audit.Audit(state, found, wanted)
        count, epochs = wanted.audit.networks + wanted.audit.repeats, work.training.epochs
        click.echo(
            f"{data_line(state.data)} | {runtime_line(state.runtime)} | audit: {count} trainings of {epochs} epochs",
            err=True,
        )
        units = work.proxy_images + count * epochs * training_images(len(state.train), work.training.sgd.batch_size)
        try:
            with StopRequest() as stop, Progress(units, "audit") as progress:

                def on_work(images: int) -> None:
                    progress.work(images)
                    if stop.number is not None:
                        raise Stopped(stop.number)

                report = work.run(on_work)
        except (Stopped, KeyboardInterrupt) as error:
            text, code = heard(error)
            click.echo(f"{text}: what was trained is kept; go on with enas audit {path}", err=True)
            raise SystemExit(code) from None
        values: dict[str, Any] = {**read_result(path).values, "audit": finite(report)}
        checkpoint.write_json(folder.result, values)
    return values
