"""`enas audit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from enas import config
from enas.cli import options
from enas.cli.output import print_audit
from enas.cli.stopping import heard
from enas.errors import UserError
from enas.interrupts import Stopped
from enas.jobs.auditing import audited
from enas.jobs.targets import with_shared_weights
from enas.words import in_shell

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
@options.own_space
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
        raise UserError(
            f"{run} must be a finished search, but it has no result; go on: enas search --resume {in_shell(run)}"
        )
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
