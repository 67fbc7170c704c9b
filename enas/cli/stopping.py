"""Going on with a run that was stopped, and what a command says when a signal stops it."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from enas import config
from enas.errors import UserError
from enas.interrupts import Stopped, Terminated
from enas.jobs.auditing import audit_is_due
from enas.jobs.targets import Config
from enas.words import in_shell


def resumed(default: Config, path: Path, fields: Mapping[str, Any], others: Iterable[Any]) -> Config:
    """The configuration of a run that goes on, with its images where --data or --data-folder says.

    fields: the options that settings have. others: whatever else was typed. Raises UserError for any
    other option, and where there is no such run. (A table may have moved too.)
    """
    from enas.runs import PLACES, RunFolder

    given: dict[str, Any] = dict(fields)
    moved = {name: given.pop(f"data__{name}") for name in PLACES if given.get(f"data__{name}") is not None}
    table = {"table": given.pop("table")} if given.get("table") is not None else {}
    if any(other not in (None, ()) for other in (*given.values(), *others)):
        raise UserError(
            "--resume takes all settings from the folder and goes with no other option but --data, --data-folder "
            "and --table, for what has moved; leave them out"
        )
    stored: Config = RunFolder(path).config(default)
    return config.update(stored, {"data": moved, **table})  # type: ignore[no-any-return]


@contextlib.contextmanager
def interruptible(path: Path, last: Path | None = None) -> Iterator[None]:
    """Where a signal ends the work in the run folder `path`, say what is left of it and exit.

    last: the folder whose result is the end of all work there (default: `path`).
    """
    from enas.runs import RunFolder

    try:
        yield
    except (Stopped, KeyboardInterrupt) as error:
        text, code = heard(error)
        if RunFolder(last or path).result.exists() and not audit_is_due(path):
            click.echo(f"{text}, but {path} is finished; see enas show {in_shell(last or path)}", err=True)
        elif not RunFolder(path).begun:
            click.echo(f"{text}: no run was begun in {path}; start again", err=True)
        else:
            kept = [RunFolder(folder).checkpoint.exists() for folder in (path, *path.iterdir())]
            saved = "the state is saved" if isinstance(error, Stopped) else "the last checkpoint is intact"
            saved = saved if any(kept) else "there is no checkpoint yet"
            click.echo(f"{text}: {saved}; go on with --resume and the run's folder, {path}", err=True)
        sys.exit(code)


def heard(error: Stopped | KeyboardInterrupt) -> tuple[str, int]:
    """What ended a command, in words, and its exit code: 128 and the signal's number."""
    if isinstance(error, Stopped):
        return str(error), 128 + error.number
    if isinstance(error, Terminated):
        return str(Stopped(signal.SIGTERM)), 128 + signal.SIGTERM
    return "interrupted", 128 + signal.SIGINT
