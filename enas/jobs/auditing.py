"""The audit of a finished search, by a command of its own or at the search's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enas.config import SearchConfig
from enas.interrupts import Stopped, StopRequest
from enas.jobs.doing import say
from enas.jobs.lines import data_line, runtime_line
from enas.jobs.targets import read_result, restored
from enas.words import counted


def audit_is_due(path: Path) -> bool:
    """Whether the finished search in the folder is to have a trust report and has none yet."""
    from enas.runs import RunFolder

    folder = RunFolder(path)
    if folder.steps("searches") is not None or not folder.result.exists():
        return False
    return folder.config(SearchConfig()).audit.networks > 0 and "audit" not in read_result(path).values


def with_audit(path: Path, values: dict[str, Any], shown: bool = True) -> dict[str, Any]:
    """What the result file of the finished search in `path` holds, after the audit if it was to have one.

    values: what it holds now. shown: as for `work`. Raises Stopped after a signal; the resumed search then goes on.
    """
    from enas.runs import RunFolder

    if not audit_is_due(path):
        return values
    run_config = RunFolder(path).config(SearchConfig())
    return audited(path, run_config, run_config, shown=shown)


def audited(
    path: Path, run_config: SearchConfig, settings: SearchConfig, device: str | None = None, shown: bool = True
) -> dict[str, Any]:
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
        say(
            f"{data_line(state.data)} | {runtime_line(state.runtime)} | audit: {work.trainings} trainings of "
            f"{counted(work.training.epochs, 'epoch')}",
            shown,
        )
        with Progress(work.units, "audit", shown) as progress:

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
