"""One run is one folder: resolved configuration, records, checkpoint, result."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from enas import checkpoint, config
from enas.config import CustomOptions, RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.records import Record, to_dict

CONFIG, RECORDS, CHECKPOINT, RESULT = "config.json", "records.jsonl", "checkpoint.pt", "result.json"
LOCK = ".lock"
STEPS = "steps.json"  # beside the configuration of a command that does several runs: which ones
STEPS_SCHEMA = 1
PLACES = ("name", "folder")  # settings of the data that say where images lie, which may change
FREE_BYTES = 64 * 2**20  # what a run may need before anybody notices a full disk
# settings that runs of earlier versions do not name, as those have them
NEWER: dict[str, dict[str, Any]] = {
    "weights": dict(image_size=None, ema_decay=0.0, distillation=0.0, shrinks=0, splits=0, split_after=0.5),
    "derive": dict(
        finalist_criterion="accuracy",
        finalist_image_size=None,
        finalist_batch_size=None,
        finalist_lr_max=None,
        finalist_rounds=1,
    ),
}
MOST_NAMED = 8  # runs in a message
C = TypeVar("C", SearchConfig, RetrainConfig)


def identity(run_config: SearchConfig | RetrainConfig, images: str, augmentation: object = "") -> dict[str, str]:
    """What a checkpoint must agree with: all settings but where images, a table or a profile lie, and what these hold.

    augmentation: of the images; a data set's name decides what the settings leave open.
    """
    settings = config.to_dict(run_config)
    for name in PLACES:
        del settings["data"][name]
    settings.pop("table", None)
    drop_newer(settings)
    profile = settings.get("objective", {}).get("profile")
    if profile is not None:
        settings["objective"]["profile"] = checkpoint.fingerprint(Path(profile))
    if isinstance(run_config.space, CustomOptions):
        settings["space"]["source"] = run_config.space.class_name  # the file is told by its sha256, wherever it lies
    return {"settings": f"{json.dumps(settings)} {augmentation}", "images": images}


def drop_newer(settings: Mapping[str, Any]) -> None:
    """Take out of settings, as JSON, what those of earlier versions do not name, where it is as they had it."""
    for section, newer in NEWER.items():
        given = settings.get(section, {})
        for name in [name for name, before in newer.items() if name in given and given[name] == before]:
            del given[name]


def check_identity(path: Path, state: Mapping[str, Any], wanted: dict[str, str]) -> None:
    """Raise UserError unless the state read from the checkpoint at `path` belongs to this identity."""
    found = state.get("identity")
    if found != wanted:
        images_alone = isinstance(found, dict) and found.get("settings") == wanted["settings"]
        raise UserError(
            f"{path} must belong to this run's configuration and images, but its "
            f"{'images' if images_alone else 'settings'} are others; bring back "
            f"{'the images' if images_alone else 'the config.json'} that the run began with, or start a new run"
        )


class RunFolder:
    """The files of one run below `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    @property
    def result(self) -> Path:
        return self.path / RESULT

    @property
    def begun(self) -> bool:
        """Whether there is a run: the configuration is the last file that `create` writes."""
        return (self.path / CONFIG).exists()

    @property
    def kind(self) -> str | None:
        """Of what the stored configuration is, "search" or "retrain"; None where there is none, or one of others."""
        try:
            stored = checkpoint.read_json(self.path / CONFIG)
        except UserError:
            return None
        sections = stored if isinstance(stored, dict) else {}
        return "retrain" if "sgd" in sections else "search" if "evaluator" in sections else None

    def check_run(self) -> None:
        """Raise UserError where the folder holds no run."""
        if (self.path / CONFIG).is_file():
            return
        below = [path for path in sorted(self.path.glob("*")) if RunFolder(path).kind]
        more = f" and {len(below) - MOST_NAMED} more" if len(below) > MOST_NAMED else ""
        names = ", ".join(map(str, below[:MOST_NAMED])) + more
        what = f"give one of the runs that it holds: {names}" if below else "check the path"
        raise UserError(f"{self.path} must be a run folder with a {CONFIG}, but it has none; {what}")

    def check_new(self) -> None:
        """Make the folder. Raises UserError where it already holds a run, or where it cannot hold one.

        What a process leaves that was killed while it began a run does not count.
        """
        if self.begun:
            raise UserError(
                f"the output folder must not hold a run, but {self.path} does; resume that one or give another --output"
            )
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"the output must be a folder, but {self.path} is a file; give another --output")
        try:
            if self.path.exists() and not all(_is_leftover(file) for file in self.path.iterdir()):
                raise UserError(
                    f"the output folder must be new or empty, but {self.path} holds other files; give another --output"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            free = os.statvfs(self.path)
        except OSError as error:
            raise UserError(
                f"the output folder must be writable, but {self.path}: {error.strerror}; give another --output"
            ) from None
        if free.f_bavail * free.f_frsize < FREE_BYTES:
            raise UserError(
                f"the output folder must have {FREE_BYTES >> 20} MiB of free space, but {self.path} has "
                f"{free.f_bavail * free.f_frsize >> 20} MiB; free some or give another --output"
            )

    def create(
        self, run_config: SearchConfig | RetrainConfig, beside: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Make the folder and store the configuration; raises UserError as `check_new`.

        `beside`: further JSON files by name. The configuration comes last: with it the folder is a run.
        Whoever calls has the folder to himself (`working`).
        """
        self.check_new()
        (self.path / STEPS).unlink(missing_ok=True)  # of a run that was never begun
        for name, value in beside.items():
            checkpoint.write_json(self.path / name, value)
        self.store(run_config)

    def store(self, run_config: SearchConfig | RetrainConfig) -> None:
        """Write the configuration, also over an earlier one."""
        checkpoint.write_json(self.path / CONFIG, config.to_dict(run_config))

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the folder for this process alone and clear what a killed one left half-written.

        The kernel lets go of it however the process ends. Raises UserError where another process holds it.
        """
        try:
            file = open(self.path / LOCK, "a")
        except OSError as error:
            raise UserError(
                f"{self.path} must be a folder to write in, but: {error.strerror}; mend the permissions or the path"
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another enas is working on {self.path}; wait for its end or stop it, then go on with --resume"
                ) from None
            except OSError as error:  # some network file systems have no locks, and a run there is still worth having
                warnings.warn(
                    f"{self.path} cannot be locked ({error.strerror}): start no second run there", stacklevel=3
                )
            checkpoint.remove_temporary(self.path)
            yield

    def config(self, default: C) -> C:
        """The stored configuration. Raises UserError where the folder holds no run or a broken one."""
        self.check_run()
        try:
            stored: C = config.update(default, checkpoint.read_json(self.path / CONFIG))
        except UserError as error:
            kind = "search" if isinstance(default, SearchConfig) else "retraining"
            raise UserError(f"{self.path} must be the folder of a {kind}, but its {CONFIG} is none: {error}") from None
        return stored

    def steps(self, kind: str) -> dict[str, Any] | None:
        """What a command of this kind, which does several runs, wrote down of them; None where none did."""
        path = self.path / STEPS
        if not path.is_file():
            return None
        values = checkpoint.read_json(path)
        if not isinstance(values, dict) or values.get("schema") != STEPS_SCHEMA:
            raise UserError(f"{path} must be of schema {STEPS_SCHEMA}, but it is not; restore the file")
        return values if values.get("kind") == kind else None

    def planned_epochs(self, default: int) -> int:
        """Epochs of a search as its last record has them: a time budget changes them on the way."""
        found = [record.get("epochs") for record in self.records() if record["kind"] == "epoch"]
        return found[-1] if found and type(found[-1]) is int else default

    def append(self, record: Record) -> None:
        """Add one line to the records and see it onto the disk."""
        line = json.dumps(to_dict(record), allow_nan=False) + "\n"
        try:
            with open(self.path / RECORDS, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path / RECORDS} must be writable, but: {error.strerror}; "
                "free some space and go on with --resume"
            ) from None

    def truncate_records(self, count: int) -> None:
        """Keep the first `count` records: those that the checkpoint knows of."""
        kept = [line for line, _ in zip(self._lines(), range(count), strict=False)]
        checkpoint.write(self.path / RECORDS, lambda file: file.write("".join(kept).encode()))

    def records(self) -> list[dict[str, Any]]:
        """All complete records, as dictionaries. A last line that a crash cut short is left out."""
        found = []
        for line in self._lines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                break
            if isinstance(record, dict) and isinstance(record.get("kind"), str):
                found.append(record)
        return found

    def _lines(self) -> Iterator[str]:
        path = self.path / RECORDS
        if path.exists():
            with open(path, encoding="utf-8", errors="replace") as file:
                yield from file


def _is_leftover(path: Path) -> bool:
    """Whether a process that was killed while it began a run may have left this file."""
    if path.name == STEPS:
        try:
            values = checkpoint.read_json(path)
        except UserError:
            return False
        return isinstance(values, dict) and {"schema", "kind"} <= values.keys()
    half_written = checkpoint.TEMPORARY.fullmatch(path.name) is not None
    return path.name == LOCK or (half_written and path.name.startswith((f".{CONFIG}.", f".{STEPS}.")))
