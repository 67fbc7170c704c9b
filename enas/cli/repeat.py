"""The command that does a run again, and proof that its settings are the run's.

The settings are those of a run folder, which may come from a stranger: nothing that they name is run or read.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from enas import config
from enas.cli import options
from enas.cli.run import planned_retraining
from enas.cli.search import search_settings
from enas.config import CustomOptions, RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.jobs.doing import in_places_of
from enas.jobs.settings import costs_of_retrained
from enas.jobs.targets import base_for_text, recipe
from enas.report.what import Repeat

FILE = "repeat.toml"
Assignments = tuple[str, ...]


def of_search(run_config: SearchConfig, seeds: int | None = None) -> Repeat:
    """How to repeat a search, or several with different seeds."""

    def again(file: Path, assignments: Assignments) -> SearchConfig:
        found = _search_settings(file, assignments)
        return costs_of_retrained(found, recipe(found))

    more = [] if seeds is None else ["--seeds", str(seeds)]
    sets, notes = _checked(run_config, again)
    return _repeat(["enas", "search"], [*more, *_options("--set", sets)], run_config, [*notes, *_of_search(run_config)])


def of_run(run_config: SearchConfig, retrained: RetrainConfig, reference: str | None, side: int | None) -> Repeat:
    """How to repeat what `enas run` did. side: of the images in pixels, where it is known."""

    def plan(assignments: Assignments) -> RetrainConfig:
        return planned_retraining(run_config, assignments, side)

    def again(file: Path, assignments: Assignments) -> SearchConfig:
        return costs_of_retrained(_search_settings(file, assignments), retrained)

    sets, notes = _checked(run_config, again)
    retrained = in_places_of(run_config, retrained)  # as `enas run` trains: what it wrote down has them as typed
    settled = {name: getattr(run_config, name) for name in ("device", "precision", "threads")}  # by circumstances
    of_network, more = _different(config.update(retrained, settled), plan)
    given = _options("--set", sets) + _options("--retrain-set", of_network)
    given += [] if reference is None else ["--reference", reference]
    return _repeat(["enas", "run"], given, run_config, [*notes, *more, *_of_search(run_config)])


def of_training(run_config: RetrainConfig) -> Repeat:
    """How to repeat the training of one network."""

    def again(file: Path, assignments: Assignments) -> RetrainConfig:
        base = base_for_text(run_config.arch)
        found: RetrainConfig = options.apply(base, options.read_toml(file), {}, assignments)
        return found

    sets, notes = _checked(run_config, again)
    given = _options("--set", sets)
    if isinstance(run_config.space, CustomOptions):  # which the architecture's text needs; a search's file names it
        given += ["--space", run_config.space.source]
    return _repeat(["enas", "retrain", run_config.arch], given, run_config, notes)


def _repeat(command: list[str], more: list[str], run_config: SearchConfig | RetrainConfig, notes: list[str]) -> Repeat:
    words = [*command, "--config", FILE, *more, "--output", "NEW"]
    return Repeat(shlex.join(words), _toml(run_config), FILE, notes)


def _toml(run_config: SearchConfig | RetrainConfig) -> str:
    """The settings as text of a file; of a path that is no UTF-8 a file can hold question marks at best."""
    text = options.to_toml(config.to_dict(run_config)) + "\n"
    return text.encode(errors="replace").decode()


def _of_search(run_config: SearchConfig) -> list[str]:
    """What else a repetition depends on."""
    notes = ["Same settings, images, machine and number of threads give the same result on a CPU."]
    if run_config.budget is not None:
        notes.append(
            f"The budget of {run_config.budget} is measured and its sizes are chosen anew, so a repetition may have "
            "other sizes; leave budget out of the file to keep those that it holds."
        )
    if run_config.weights.source is not None:
        notes.append(f"It takes the shared weights that {run_config.weights.source} has.")
    if run_config.table is not None:
        notes.append(f"It looks accuracies up in the table {run_config.table}.")
    return notes


def _search_settings(file: Path, assignments: Assignments) -> SearchConfig:
    given: dict[str, Any] = dict.fromkeys(("preset", "space", "output", "resume"))
    given |= {"limits": (), "targets": (), "from_user": False}
    return search_settings(config_file=file, assignments=assignments, **given)[0]


def _checked(
    wanted: SearchConfig | RetrainConfig, again: Callable[[Path, Assignments], Any]
) -> tuple[Assignments, list[str]]:
    """As `_different`, with the wanted settings in a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        file.write_text(_toml(wanted), encoding="utf-8")
        return _different(wanted, lambda assignments: again(file, assignments))


def _different(wanted: Any, again: Callable[[Assignments], Any]) -> tuple[Assignments, list[str]]:
    """The settings that a command must be given so that it has the wanted configuration, and what is left to say."""
    sets: Assignments = ()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it is not the time for its warnings
            sets = tuple(_assignments(wanted, again(())))
            left = list(_assignments(wanted, again(sets))) if sets else []
    except UserError as error:
        return sets, [f"Whether the command still has all settings could not be checked here: {error}."]
    return sets, [f"These settings must be changed by hand: {', '.join(left)}."] if left else []


def _assignments(wanted: Any, found: Any) -> Iterator[str]:
    ours, theirs = (dict(_flat(config.to_dict(each))) for each in (wanted, found))
    for key, value in ours.items():
        if theirs.get(key) != value:
            text = "none" if value is None else ",".join(map(str, value)) if isinstance(value, list) else value
            yield f"{key}={text if isinstance(text, str) else json.dumps(text)}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _options(name: str, assignments: Assignments) -> list[str]:
    return [part for assignment in assignments for part in (name, assignment)]
