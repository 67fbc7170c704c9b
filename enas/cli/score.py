"""`enas score`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from enas import spaces
from enas.cli import options
from enas.cli.output import print_table
from enas.config import SearchConfig, SpaceOptions
from enas.errors import UserError
from enas.jobs.lines import data_line, runtime_line
from enas.jobs.targets import restored, with_shared_weights
from enas.spaces import Architecture
from enas.words import counted


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("archs", nargs=-1, metavar="[ARCH]...")
@click.option(
    "--file", type=click.Path(path_type=Path, allow_dash=True), help="more of them, one a line (-: standard input)"
)
@click.option("--random", "num_random", type=click.IntRange(2), metavar="N", help="N uniform ones beside them")
@click.option("--data", help="where the run's images are now, if they have moved")
@click.option("--data-folder", help="where the run's data set lies now, as for search")
@click.option("--device", help="auto, cpu, cuda, cuda:N or mps (default: the run's)")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@options.own_space
def score(
    run: Path,
    archs: tuple[str, ...],
    file: Path | None,
    num_random: int | None,
    data: str | None,
    data_folder: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Score architectures of a search's space under its shared weights, on its whole validation set.

    RUN is the folder of a search, finished or not; nothing in it changes. The scores are proxy accuracies, computed
    as when the search chose its finalists.
    """
    from enas.runs import RunFolder

    run_config = with_shared_weights(run, data, data_folder)
    wanted = list(dict.fromkeys(_parsed([*_typed(archs), *_listed(file)], run_config.space)))
    if not wanted and num_random is None:
        raise UserError("there must be something to score: give architectures, --file or --random")
    result = _scored(run_config, RunFolder(run), wanted, num_random or 0, device)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        _print(result)


def _typed(archs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(where, text) of the architectures on the command line."""
    for position, text in enumerate(archs, start=1):
        yield f"architecture {position}", text


def _listed(file: Path | None) -> Iterator[tuple[str, str]]:
    """(where, text) of the lines of a file that are not empty."""
    if file is None:
        return
    name = "standard input" if str(file) == "-" else str(file)
    try:
        with click.open_file(str(file), "rb") as opened:
            lines = opened.read().decode().splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"--file must be readable text, but {name}: {error}") from None
    for position, line in enumerate(lines, start=1):
        if line.strip():
            yield f"line {position} of {name}", line.strip()


def _parsed(found: list[tuple[str, str]], options: SpaceOptions) -> Iterator[Architecture]:
    """The architectures, or UserError with the place of the first that is none of the space."""
    # which architectures there are depends on the space's options alone, so any images do
    space = spaces.build(options, (3, 64, 64), 2)
    for where, text in found:
        try:
            yield spaces.parse(space, text)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def _scored(
    run_config: SearchConfig, folder: Any, archs: list[Architecture], num_random: int, device: str | None
) -> dict[str, Any]:
    """Restore the search and score; nothing in its folder changes."""
    from enas.records import finite
    from enas.scoring import compare
    from enas.tracking import Progress

    state = restored(run_config, folder, device)
    click.echo(f"{data_line(state.data)} | {runtime_line(state.runtime)}", err=True)
    with Progress((len(archs) + num_random) * len(state.validation), "score") as progress:
        state.on_work = progress.work
        result = compare(state, archs, num_random)
    return {"run": str(folder.path), **finite(result)}


def _print(result: dict[str, Any]) -> None:
    random = result.get("random")
    titles = ["above random"] if random else []
    rows = [("proxy accuracy", "proxy loss", *titles, "parameters", "MACs", "architecture")]
    for row in result["architectures"]:
        above = [f"{row['above_random']:.0%}"] if random else []
        loss = "-" if row["proxy_loss"] is None else f"{row['proxy_loss']:.4f}"
        costs = f"{row['params']:,}", f"{row['macs']:,}"
        rows.append((f"{row['proxy_accuracy']:.4f}", loss, *above, *costs, row["text"]))
    if result["architectures"]:
        print_table(rows)
    if random:
        accuracy, loss = random["proxy_accuracy"], random["proxy_loss"]
        click.echo(
            f"{random['count']} uniform random architectures: proxy accuracy {accuracy['mean']:.4f} "
            f"(sd {accuracy['sd']:.4f}), proxy loss {loss['mean']:.4f} (sd {loss['sd']:.4f})"
        )
    click.echo(
        f"under the weights after {result['epoch']:,} of {counted(result['epochs'], 'epoch')}, on {result['images']:,} "
        "validation images; proxy accuracy is no network's own accuracy"
    )
