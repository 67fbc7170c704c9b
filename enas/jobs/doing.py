"""What everything that trains does with a run folder: begin or continue, forecast, progress, records."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from enas import config
from enas.config import SearchConfig
from enas.errors import UserError
from enas.interrupts import Stopped, StopRequest
from enas.jobs.lines import data_line, reading, runtime_line
from enas.jobs.targets import Config, read_result, start
from enas.words import duration

if TYPE_CHECKING:
    from enas.data import DataSet
    from enas.records import Record
    from enas.runs import RunFolder
    from enas.runtime import Runtime
    from enas.spaces import SearchSpace
    from enas.tables import TrueAccuracies
    from enas.tracking import Progress

OnWork = Callable[[int], None]


@dataclass(frozen=True)
class Ready(Generic[Config]):
    """What a search or a retraining will do, before it does it.

    config: with all sizes. space: of the architectures. name: what the progress bar is called.
    headline: what is searched or trained, in a few words.
    extent: how much that is, such as "12 epochs", as planned by now (a time budget changes it on the way).
    forecast_s: seconds of the whole run, where that can be said; units: its work as the progress bar counts it.
    records: begins or continues; the call itself checks that the folder's checkpoint belongs to the configuration.
    show: tells the user of one record. note: a further line about the sizes.
    beside: further JSON files of a new folder, by name.
    """

    config: Config
    space: SearchSpace
    name: str
    headline: str
    extent: str
    forecast_s: float | None
    units: int
    records: Callable[[OnWork, OnWork, StopRequest], Iterator[Record]]
    show: Callable[[Record, Progress], None]
    note: str | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place(Generic[Config]):
    """Where and with what a job is to work.

    data: images, or the table that judges. began: time.perf_counter() when it was asked for.
    """

    config: Config
    data: DataSet | TrueAccuracies
    folder: RunFolder
    runtime: Runtime
    resuming: bool
    began: float

    @property
    def images(self) -> DataSet:
        """The data of a job that is done on images."""
        from enas.data import DataSet

        assert isinstance(self.data, DataSet), f"a job on images was given {type(self.data).__name__}"
        return self.data


Job = Callable[[Place[Config]], Ready[Config]]  # raises UserError where settings and images disagree


def work(
    job: Job[Config],
    run_config: Config,
    path: Path,
    *,
    resuming: bool,
    images: str | None = None,
    shown: bool = True,
) -> dict[str, Any]:
    """Do the whole job in the folder `path`, or what is left of it, and return what its result file holds.

    images: the fingerprint that they must have. shown: whether standard error hears of it, with a progress bar.
    Nobody else can work there meanwhile. Raises UserError, see the parts; Stopped after a signal, also
    where the job came to its end before the signal was heeded.
    """
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
        say(f"{path} is finished.", shown)
        return values
    if not resuming:
        folder.check_new()
    with folder.working():
        run_config, runtime, data = start(run_config)
        if images is not None:
            check_images(data, images, path)
        ready = job(Place(run_config, data, folder, runtime, resuming, began))
        if not resuming:
            folder.create(ready.config, ready.beside)
        say(
            f"{data_line(data)} | {ready.headline} | {runtime_line(runtime)} | {ready.extent}"
            + ("" if ready.forecast_s is None else f", about {duration(ready.forecast_s)}")
            + (" in all" if resuming else ""),
            shown,
        )
        if ready.note is not None:
            say(ready.note, shown)
        with StopRequest() as stop, Progress(ready.units, ready.name, shown) as progress:
            records = ready.records(progress.work, progress.skip, stop)
            if resuming:
                folder.store(ready.config)  # the images may have moved; by now the checkpoint has agreed to them
            with TensorBoard(path / "tensorboard", folder.records(), ready.space) as board:
                for record in records:
                    board.write(to_dict(record))
                    ready.show(record, progress)
                board.finish(read_result(path).values)
        if stop.number is not None:  # it came after the last step, and nothing may begin after it
            raise Stopped(stop.number)
    return read_result(path).values


def say(text: str, shown: bool) -> None:
    """A line on standard error, if it is to be shown."""
    if shown:
        print(text, file=sys.stderr, flush=True)


def begun(default: Config, path: Path, like: SearchConfig) -> Config | None:
    """The stored configuration of the run in this folder, in places as `like` has them; None where none was begun."""
    from enas.runs import RunFolder

    folder = RunFolder(path)
    return in_places_of(like, folder.config(default)) if folder.begun else None


def in_places_of(like: SearchConfig, run_config: Config) -> Config:
    """The configuration with its images, its table and its profile where `like` says they are."""
    from enas.runs import PLACES

    places: dict[str, Any] = {"data": {name: getattr(like.data, name) for name in PLACES}}
    if isinstance(run_config, SearchConfig):
        places["table"] = like.table
        if None not in (like.objective.profile, run_config.objective.profile):
            places["objective"] = {"profile": like.objective.profile}
    return config.update(run_config, places)  # type: ignore[no-any-return]


def check_images(data: DataSet | TrueAccuracies, fingerprint: str, path: Path) -> None:
    """Raise UserError unless the images, or the table, are those that the run in `path` has had so far."""
    from enas.tables import TrueAccuracies

    if data.fingerprint() != fingerprint:
        words, option = ("table", "--table") if isinstance(data, TrueAccuracies) else ("images", "--data")
        raise UserError(
            f"{path} must go on with the {words} that it began with, but {data.name} is another; "
            f"give the path of the same {words} with {option}"
        )
