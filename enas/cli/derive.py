"""`enas derive`: other architectures from the shared weights of a search, for instance within another limit."""

from __future__ import annotations

from pathlib import Path

import click

from enas import config
from enas.cli import options
from enas.cli.output import print_search_result
from enas.cli.search import cost_options, of_costs
from enas.cli.stopping import interruptible
from enas.cli.sweep import parse_sweep, sweep
from enas.config import CRITERIA, SEARCHERS, SearchConfig
from enas.errors import UserError
from enas.jobs.auditing import with_audit
from enas.jobs.deriving import derived_folder, derived_from
from enas.jobs.doing import work
from enas.jobs.training import searching


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@cost_options
@click.option(
    "--sweep",
    "swept",
    metavar="COST=N,N,...",
    help="a search for each of several limits of a cost, below --output; with the same --output it goes on",
)
@click.option("--profile", help="file of enas profile, by which latencies are predicted (default: the run's)")
@click.option("--searcher", type=click.Choice(SEARCHERS), help="what proposes architectures (default: the run's)")
@click.option("--criterion", type=click.Choice(CRITERIA), help="what the best are chosen by (default: the run's)")
@click.option("--epochs", type=int, help="epochs of the controller (default: as many as it had in the run)")
@click.option("--seed", type=int, help="seed of every random draw (default: the run's)")
@click.option("--device", help="auto, cpu, cuda, cuda:N or mps (default: the run's)")
@click.option("--data", help="where the run's images are now, if they have moved")
@click.option("--data-folder", help="where the run's data set lies now, as for search")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="any other setting of a search")
@click.option("--output", type=click.Path(path_type=Path), help="folder (default: RUN/derive-<date>)")
@click.option("--print-config", is_flag=True, help="print all settings as TOML and stop")
@options.own_space
def derive(
    run: Path,
    limits: tuple[str, ...],
    targets: tuple[str, ...],
    swept: str | None,
    profile: str | None,
    searcher: str | None,
    criterion: str | None,
    epochs: int | None,
    seed: int | None,
    device: str | None,
    data: str | None,
    data_folder: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    print_config: bool,
) -> None:
    """Search again with the shared weights of RUN, which are not trained: by other limits, targets or settings.

    RUN is a finished search with shared weights. A new controller learns from their rewards; what RUN found to be best
    for its cost is judged too. The result is a run of its own: enas show, retrain, audit and search --resume take it.
    """
    given = {"searcher": searcher, "epochs": epochs, "seed": seed, "device": device}
    given |= {"objective.profile": profile, "derive.criterion": criterion}
    typed = [f"{path}={value}" for path, value in given.items() if value is not None]
    typed = [*of_costs(limits, targets), *typed, *assignments]

    def derived(*more: str) -> SearchConfig:
        return derived_from(
            run,
            lambda begin: config.from_text(begin, [*typed, *more]),
            {text.partition("=")[0].strip(): f"--set {text}" for text in assignments},
            other_costs=bool(limits or targets or swept),
            data=data,
            data_folder=data_folder,
        )

    if swept is not None and (cost := parse_sweep(swept)[0]) in (of.partition("=")[0].strip() for of in limits):
        raise UserError(f"--sweep must be of another cost than --limit, but both are of {cost}; leave one out")
    if print_config and swept is not None:
        raise UserError("--print-config must be given with one limit, but got --sweep; give one by --limit")
    if print_config:
        click.echo(options.to_toml(config.to_dict(derived())))
        return
    path = output or derived_folder(run, "derive" if swept is None else "sweep")
    if swept is not None:
        sweep(path, swept, derived)
        return
    with interruptible(path):
        print_search_result(path, with_audit(path, work(searching, derived(), path, resuming=False)))
