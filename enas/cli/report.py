"""`enas report`: a run as one page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from enas.cli import options, repeat
from enas.cli.output import space_option
from enas.cli.run import DERIVED, begun_run
from enas.cli.run import KIND as RUN
from enas.cli.searches import KIND as SEARCHES
from enas.cli.searches import begun_seeds
from enas.config import RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.jobs.auditing import audit_is_due
from enas.jobs.lines import reading
from enas.jobs.targets import Config, read_result
from enas.report.what import Searched, Several, Trained
from enas.spaces import source
from enas.words import in_shell

if TYPE_CHECKING:
    from enas.runs import RunFolder

NAME = "report.html"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help=f"the page (default: RUN/{NAME})")
@options.own_space
def report(run: Path, output: Path | None) -> None:
    """Write what a run has found, how sure that is and how to repeat it as one HTML page that needs no network.

    RUN is the folder of enas search, run, derive or retrain, or of search --seeds; also of one that is not finished,
    of which the page shows what there is so far. An earlier page is replaced, any other file never.
    """
    from enas import checkpoint
    from enas.report.page import html

    output = output or run / NAME
    found = read(run, output)
    _check_output(output)
    with reading(run):
        text = html(found)
    checkpoint.write(output, lambda file: file.write(text.encode(errors="replace")))
    click.echo(f"report  {output}")


def read(path: Path, output: Path) -> Searched | Several | Trained:
    """What is known of the run in a folder. Raises UserError where there is none or where it is damaged.

    output: where the page will be, from which links to other pages lead.
    """
    from enas.runs import STEPS, RunFolder

    if not path.is_dir():
        raise UserError(f"{path} must be the folder of a run, but it is {'a file' if path.exists() else 'missing'}")
    folder = RunFolder(path)
    with reading(path):
        if folder.kind == "retrain":
            return _training(path, path.resolve().name)
        if begun_seeds(path) is not None:
            return _several(path, output)
        _config(folder, SearchConfig())  # says so where it is no run
        if (path / STEPS).is_file() and folder.steps(RUN) is None:
            raise UserError(f"{path / STEPS} must be of enas run or search --seeds, but it is not; restore the file")
        return _search(path)


def _config(folder: RunFolder, default: Config) -> Config:
    """The stored configuration. Raises UserError where it is of a space whose file the user has not named.

    The folder may come from a stranger, so this stands before anything that is done with its settings.
    """
    run_config = folder.config(default)
    source.check(run_config.space)
    return run_config


def _search(path: Path) -> Searched:
    from enas.runs import RunFolder

    folder = RunFolder(path)
    run_config, steps = _config(folder, SearchConfig()), folder.steps(RUN)
    found = read_result(path) if folder.result.exists() else None
    planned: list[str] = []
    if steps is None:
        again = repeat.of_search(run_config)
    else:
        retrained, reference = begun_run(path)
        planned = [DERIVED] if reference is None else [DERIVED, reference]
        again = repeat.of_run(run_config, retrained, reference, None if found is None else found.space.input_shape[1])
    return Searched(
        name=path.resolve().name,
        config=run_config,
        records=folder.records(),
        result=None if found is None else found.values,
        resume=f"enas {'search' if steps is None else 'run'} --resume {in_shell(path)}{space_option(run_config.space)}",
        epochs=folder.planned_epochs(run_config.epochs),
        repeat=again,
        space=None if found is None else found.space,
        arch=None if found is None else found.arch,
        audit_due=audit_is_due(path),
        planned=planned,
        trained=[_training(below, below.name) for below in _trainings(path)],
    )


def _trainings(path: Path) -> list[Path]:
    """The folders below a search that hold trainings of networks, the found one's first."""
    from enas.runs import RunFolder

    found = [below for below in sorted(path.iterdir()) if RunFolder(below).kind == "retrain"]
    return sorted(found, key=lambda below: below.name != DERIVED)


def _training(path: Path, name: str) -> Trained:
    from enas.runs import RunFolder

    folder = RunFolder(path)
    run_config = _config(folder, RetrainConfig())
    found = read_result(path) if folder.result.exists() else None
    return Trained(
        name=name,
        config=run_config,
        records=[record for record in folder.records() if record["kind"] == "retrain"],
        result=None if found is None else found.values,
        resume=f"enas retrain --resume {in_shell(path)}{space_option(run_config.space)}",
        repeat=repeat.of_training(run_config),
        space=None if found is None else found.space,
        arch=None if found is None else found.arch,
    )


def _several(path: Path, output: Path) -> Several:
    from enas import checkpoint
    from enas.runs import RunFolder

    folder = RunFolder(path)
    run_config, seeds = _config(folder, SearchConfig()), begun_seeds(path) or 0
    result = checkpoint.read_json(folder.result) if folder.result.exists() else None
    if result is not None and (not isinstance(result, dict) or result.get("kind") != SEARCHES):
        raise UserError(f"{folder.result} must be the result of several searches, but it is not; restore the file")
    begun = [path / f"seed-{seed}" for seed in range(run_config.seed, run_config.seed + seeds)]
    begun = [below for below in begun if RunFolder(below).begun]
    return Several(
        name=path.resolve().name,
        config=run_config,
        result=result,
        searches={below.name: _search(below) for below in begun},
        planned=seeds,
        resume=f"enas search --resume {in_shell(path)}{space_option(run_config.space)}",
        repeat=repeat.of_search(run_config, seeds),
        links={
            below.name: quote(os.fsencode(os.path.relpath(below / NAME, output.parent)))
            for below in begun
            if (below / NAME).is_file()
        },
    )


def _check_output(path: Path) -> None:
    """Raise UserError unless the page can be written there without loss of anything but an earlier page."""
    from enas.report.page import MARK

    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"the page's name must end in .html, but got {str(path)!r}; give another --output")
    if not path.parent.is_dir():
        raise UserError(f"the page's folder must exist, but {path.parent} does not; make it or give another --output")
    if path.is_dir():
        raise UserError(f"the page must be a file, but {path} is a folder; give another --output")
    if path.exists() and MARK not in _beginning(path):
        raise UserError(f"only an earlier page of enas report is replaced, but {path} is another file; move it away")


def _beginning(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(2000)
    except OSError as error:
        raise UserError(f"{path} must be readable to see what would be replaced, but: {error.strerror}") from None
