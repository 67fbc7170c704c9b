"""What every command that trains does with a run folder: begin or continue, forecast, progress, records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import click

from enas import config
from enas.cli.output import data_line, duration, reading, runtime_line
from enas.cli.targets import Config, read_result, start
from enas.config import DataConfig
from enas.errors import UserError

if TYPE_CHECKING:
    from enas.data import DataSet
    from enas.interrupts import StopRequest
    from enas.records import Record
    from enas.runs import RunFolder
    from enas.runtime import Runtime
    from enas.spaces import SearchSpace
    from enas.tracking import Progress

OnWork = Callable[[int], None]


@dataclass(frozen=True)
class Ready(Generic[Config]):
    """What a search or a retraining will do, before it does it.

    config: with all sizes. space: of the architectures. name: what the progress bar is called.
    headline: what is searched or trained, in a few words.
    forecast_s: seconds of the whole run; units: its work as the progress bar counts it.
    records: begins or continues; the call itself checks that the folder's checkpoint belongs to the configuration.
    show: tells the user of one record. note: a further line about the sizes.
    """

    config: Config
    space: SearchSpace
    name: str
    headline: str
    forecast_s: float
    units: int
    records: Callable[[OnWork, OnWork, StopRequest], Iterator[Record]]
    show: Callable[[Record, Progress], None]
    note: str | None = None


@dataclass(frozen=True)
class Place(Generic[Config]):
    """Where and with what a job is to work. began: time.perf_counter() when it was asked for."""

    config: Config
    data: DataSet
    folder: RunFolder
    runtime: Runtime
    resuming: bool
    began: float


Job = Callable[[Place[Config]], Ready[Config]]  # raises UserError where settings and images disagree


def resumed(default: Config, path: Path, fields: Mapping[str, Any], others: Iterable[Any]) -> Config:
    """The configuration of a run that goes on, with its images where --data or --data-folder says.

    fields: the options that settings have. others: whatever else was typed. Raises UserError for any
    other option, and where there is no such run.
    """
    from enas.runs import PLACES, RunFolder

    given: dict[str, Any] = dict(fields)
    moved = {name: given.pop(f"data__{name}") for name in PLACES if given.get(f"data__{name}") is not None}
    if any(other not in (None, ()) for other in (*given.values(), *others)):
        raise UserError(
            "--resume takes all settings from the folder and goes with no other option but --data and "
            "--data-folder, for images that have moved; leave them out"
        )
    stored: Config = RunFolder(path).config(default)
    return config.update(stored, {"data": moved})  # type: ignore[no-any-return]


def work(
    job: Job[Config],
    run_config: Config,
    path: Path,
    *,
    resuming: bool,
    images: str | None = None,
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Do the whole job in the folder `path`, or what is left of it, and return what its result file holds.

    images: the fingerprint that they must have. beside: further JSON files of a new folder.
    Nobody else can work there meanwhile. Raises UserError, see the parts; Stopped after a signal.
    """
    from enas.interrupts import StopRequest
    from enas.records import to_dict
    from enas.runs import RunFolder
    from enas.tracking import Progress, TensorBoard

    began = time.perf_counter()
    folder = RunFolder(path)
    if resuming and folder.result.exists():
        values = read_result(path).values
        if folder.config(type(run_config)()) != run_config:  # which only --data and --data-folder can bring about
            with folder.working(), reading(path):
                run_config, _, data = start(run_config)
                check_images(data, values["images"], path)
                folder.store(run_config)
        click.echo(f"{path} is finished.")
        return values
    if not resuming:
        folder.check_new()
    with folder.working():
        run_config, runtime, data = start(run_config)
        if images is not None:
            check_images(data, images, path)
        ready = job(Place(run_config, data, folder, runtime, resuming, began))
        if not resuming:
            folder.create(ready.config, beside or {})
        click.echo(
            f"{data_line(data)} | {ready.headline} | {runtime_line(runtime)} | {ready.config.epochs} epochs, "
            f"about {duration(ready.forecast_s)}" + (" in all" if resuming else ""),
            err=True,
        )
        if ready.note is not None:
            click.echo(ready.note, err=True)
        with StopRequest() as stop, Progress(ready.units, ready.name) as progress:
            records = ready.records(progress.work, progress.skip, stop)
            if resuming:
                folder.store(ready.config)  # the images may have moved; by now the checkpoint has agreed to them
            with TensorBoard(path / "tensorboard", folder.records(), ready.space) as board:
                for record in records:
                    board.write(to_dict(record))
                    ready.show(record, progress)
                board.finish(read_result(path).values)
    return read_result(path).values


def begun(default: Config, path: Path, images: DataConfig) -> Config | None:
    """The stored configuration of the run in this folder, its images where `images` says; None where none was begun."""
    from enas.runs import CONFIG, RunFolder

    return with_images_at(images, RunFolder(path).config(default)) if (path / CONFIG).exists() else None


def with_images_at(images: DataConfig, run_config: Config) -> Config:
    """The configuration with its images where `images` says they are."""
    from enas.runs import PLACES

    return config.update(run_config, {"data": {name: getattr(images, name) for name in PLACES}})  # type: ignore[no-any-return]


def check_images(data: DataSet, fingerprint: str, path: Path) -> None:
    """Raise UserError unless the images are those that the run in `path` has had so far."""
    if data.fingerprint() != fingerprint:
        raise UserError(
            f"{path} must go on with the images that it began with, but those of {data.name} are others; "
            "give the path of the same images with --data"
        )
