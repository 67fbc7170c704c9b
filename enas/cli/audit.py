"""`enas audit`, and the audit at the end of a search."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from enas import config
from enas.cli.output import data_line, print_audit, runtime_line
from enas.cli.targets import read_result, restored, with_shared_weights
from enas.cli.work import audit_is_due, heard
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
@click.option("--device", help="auto, cpu, cuda, cuda:N or mps (default: the run's)")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def audit(
    run: Path,
    networks: int | None,
    epochs: int | None,
    repeats: int | None,
    workers: int | None,
    data: str | None,
    data_folder: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Say whether a finished search can be trusted: does its proxy rank, and is what it found better than chance?

    RUN is the folder of a search with shared weights. Uniform architectures, spread over the range of their proxy
    scores, are trained on their own for a short time, and the found one several times. What was trained is kept in
    RUN/audit, so the same command goes on where it was stopped. The report is added to the run's result.
    """
    run_config = with_shared_weights(run, data, data_folder)
    if not (run / "result.json").exists():
        raise UserError(f"{run} must be a finished search, but it has no result; go on: enas search --resume {run}")
    wanted = run_config.audit.networks or NETWORKS if networks is None else networks
    if networks == 0:
        raise UserError("--networks must not be 0: there would be nothing to tell; leave it out or give more")
    given = {
        "audit": {"networks": wanted, "repeats": repeats},
        "full_training": {"epochs": epochs, "workers": workers},
    }
    known = {section: {k: v for k, v in values.items() if v is not None} for section, values in given.items()}
    settings = config.update(run_config, known)
    config.check(settings)
    try:
        values = audited(run, run_config, settings, device)
    except (Stopped, KeyboardInterrupt) as error:
        text, code = heard(error)
        click.echo(f"{text}: what was trained is kept; the same command goes on", err=True)
        sys.exit(code)
    if as_json:
        click.echo(json.dumps(values["audit"], indent=2))
    else:
        print_audit(values["audit"])


def with_audit(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """What the result file of the finished search in `path` holds, after the audit if it was to have one.

    values: what it holds now. Raises Stopped after a signal; `--resume` of the search then goes on.
    """
    from enas.runs import RunFolder

    if not audit_is_due(path):
        return values
    run_config = RunFolder(path).config(SearchConfig())
    return audited(path, run_config, run_config)


def audited(path: Path, run_config: SearchConfig, settings: SearchConfig, device: str | None = None) -> dict[str, Any]:
    """Audit the finished search in the folder and add the report to its result; returns what that file holds.

    run_config: the search's. settings: the same with those of the audit. Raises Stopped after a signal.
    """
    from enas import checkpoint
    from enas.audit import Audit
    from enas.records import finite
    from enas.runs import RunFolder
    from enas.tracking import Progress

    folder, found = RunFolder(path), read_result(path).arch
    with folder.working(), StopRequest() as stop:
        state = restored(run_config, folder, device, stop)
        work = Audit(state, found, settings)
        click.echo(
            f"{data_line(state.data)} | {runtime_line(state.runtime)} | audit: {work.trainings} trainings of "
            f"{work.training.epochs} epochs",
            err=True,
        )
        with Progress(work.units, "audit") as progress:

            def on_work(units: int) -> None:
                progress.work(units)
                if stop.number is not None:
                    raise Stopped(stop.number)

            report = work.run(on_work)
        values: dict[str, Any] = {**read_result(path).values, "audit": finite(report)}
        checkpoint.write_json(folder.result, values)
        if stop.number is not None:  # it came after the last training, and nothing may begin after it
            raise Stopped(stop.number)
    return values
