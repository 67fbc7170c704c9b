"""`enas derive --sweep`: one search for each of several limits of a cost, all with the same shared weights."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from enas import config
from enas.cli.output import own_space, print_table
from enas.cli.stopping import heard
from enas.config import COSTS, LIMIT, SearchConfig
from enas.errors import UserError
from enas.interrupts import Stopped
from enas.jobs.auditing import with_audit
from enas.jobs.doing import begun, work
from enas.jobs.lines import reading
from enas.jobs.targets import read_result
from enas.jobs.training import searching
from enas.words import duration, in_shell

FRONTS = "fronts.svg"


def parse_sweep(text: str) -> tuple[str, tuple[str, ...]]:
    """The cost and its limits, as typed, the lowest first. Raises UserError for anything but COST=NUMBER,NUMBER,..."""
    cost, _, values = (part.strip() for part in text.partition("="))
    limits = [value.strip() for value in values.split(",")]
    try:
        numbers = [float(limit) for limit in limits]
    except ValueError:
        numbers = []
    if cost not in COSTS or len(set(numbers)) < max(2, len(limits)):
        raise UserError(
            f"--sweep must be {' or '.join(f'{name}=NUMBER,NUMBER,...' for name in COSTS)}, with two different limits "
            f"or more, but got {text!r}"
        )
    return cost, tuple(sorted(limits, key=float))


def sweep(path: Path, text: str, derived: Callable[[str], SearchConfig]) -> None:
    """Do or continue the searches below `path`, from the lowest limit up, and print what they found. Each takes over
    the one before, so that it judges what that one found as well.

    derived: the configuration with one more setting, which is a limit. Each is an ordinary run in its own folder. A
    folder that another call has begun is continued if it has the same settings.
    """
    from enas.limits import limited, objective_of

    cost, limits = parse_sweep(text)
    folders = {path / f"{cost}-{limit}": derived(f"objective.{LIMIT}{cost}={limit}") for limit in limits}
    stored = {folder: begun(SearchConfig(), folder, wanted) for folder, wanted in folders.items()}
    for folder, wanted in folders.items():
        _check_same(folder, stored[folder], wanted)
    for wanted in folders.values():  # before the first search, since each of them takes minutes
        space = read_result(Path(wanted.weights.source or "")).space
        limited(space, objective_of(space, wanted.objective))
    results: dict[str, dict[str, Any]] = {}
    try:
        for number, (folder, wanted) in enumerate(folders.items(), start=1):
            click.echo(f"{folder.name}, {number} of {len(folders)}: {folder}", err=True)
            earlier = stored[folder]
            if results:
                before = os.path.abspath(path / list(results)[-1])
                wanted = config.update(wanted, {"weights": {"source": before}})
            found = work(searching, earlier or wanted, folder, resuming=earlier is not None)
            results[folder.name] = with_audit(folder, found)
    except (Stopped, KeyboardInterrupt) as error:
        words, code = heard(error)
        click.echo(f"{words}: go on with the same command and --output {in_shell(path)}", err=True)
        sys.exit(code)
    _print(path, cost, limits, results)


def _check_same(folder: Path, stored: SearchConfig | None, wanted: SearchConfig) -> None:
    """Raise UserError where the folder was begun with other settings; what circumstances settled is the run's own."""
    if stored is None:
        return
    settled: dict[str, Any] = {name: getattr(stored, name) for name in ("device", "precision", "threads")}
    settled["weights"] = {"source": stored.weights.source}  # the folder before
    ours, theirs = (config.to_dict(config.update(one, settled)) for one in (wanted, stored))
    other = [name for name in ours if ours[name] != theirs[name]]
    if other:
        raise UserError(
            f"{folder} must have been begun with the same settings to go on, but differs in {' and '.join(other)}; "
            "give another --output"
        )


def _print(path: Path, cost: str, limits: Sequence[str], results: Mapping[str, dict[str, Any]]) -> None:
    """A line for each limit, and the picture of all that was scored."""
    from enas import draw
    from enas.objective import number

    rows = [(f"{cost} at most", "found", "proxy", "standalone", "time", "architecture")]
    with reading(path):
        for limit, result in zip(limits, results.values(), strict=True):
            best = result["finalists"][0]
            alone = best["standalone_accuracy"]
            figures = number(result["costs"]["costs"][cost]["found"]), f"{best['proxy_accuracy']:.4f}"
            trained = "-" if alone is None else f"{alone:.4f}"
            rows.append((limit, *figures, trained, duration(result["elapsed_s"]), result["text"]))
        everything = {row["text"]: row for result in results.values() for row in result["archive"]}
        found = [result["text"] for result in results.values()]
        draw.draw_fronts(list(everything.values()), found, path / FRONTS)
    print_table(rows)
    click.echo(f"fronts        {path / FRONTS}")
    for name, result in results.items():
        click.echo(f"next          enas retrain {in_shell(path / name)}{own_space(result)}")
