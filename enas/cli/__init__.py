"""The command line: parse, call, print. Torch is imported when a command needs it, so `--help` is instant."""

from __future__ import annotations

import sys
import warnings
from importlib import metadata
from typing import Any

import click

from enas.cli.audit import audit
from enas.cli.derive import derive
from enas.cli.export import export
from enas.cli.profile import profile
from enas.cli.report import report
from enas.cli.retrain import retrain
from enas.cli.run import run
from enas.cli.score import score
from enas.cli.search import search
from enas.cli.show import evaluate, show
from enas.cli.stopping import heard
from enas.errors import UserError
from enas.interrupts import terminable


class Group(click.Group):
    """Prints UserError as one line and exits with 2; a signal ends a command that has nothing to save at once."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with terminable():
                return super().invoke(context)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt as error:
            text, code = heard(error)
            click.echo(text, err=True)
            sys.exit(code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(metadata.version("enas"), prog_name="enas")
def main() -> None:
    """Neural architecture search with shared weights: give it images, get back a network."""
    warnings.showwarning = lambda message, *rest, **more: click.echo(f"warning: {message}", err=True)
    warnings.filterwarnings("ignore", category=FutureWarning)


for command in (search, retrain, run, evaluate, derive, score, audit, show, profile, export, report):
    main.add_command(command)
