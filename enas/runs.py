"""One run is one folder: resolved configuration, records, checkpoint, result."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from enas import checkpoint, config
from enas.config import RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.records import Record, to_dict

CONFIG, RECORDS, CHECKPOINT, RESULT = "config.json", "records.jsonl", "checkpoint.pt", "result.json"
FREE_BYTES = 64 * 2**20  # what a run may need before anybody notices a full disk
C = TypeVar("C", SearchConfig, RetrainConfig)


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

    def check_new(self) -> None:
        """Make the folder. Raises UserError where it already holds a run, or where it cannot hold one."""
        if (self.path / CONFIG).exists():
            raise UserError(
                f"the output folder must not hold a run, but {self.path} does; resume that one or give another --output"
            )
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"the output must be a folder, but {self.path} is a file; give another --output")
        try:
            if self.path.exists() and any(self.path.iterdir()):
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

    def create(self, run_config: SearchConfig | RetrainConfig) -> None:
        """Make the folder and store the configuration; raises UserError as `check_new`."""
        self.check_new()
        checkpoint.write_json(self.path / CONFIG, config.to_dict(run_config))

    def config(self, default: C) -> C:
        """The stored configuration. Raises UserError where the folder holds no run or a broken one."""
        if not (self.path / CONFIG).is_file():
            raise UserError(f"{self.path} must be a run folder with a {CONFIG}, but it has none; check the path")
        try:
            stored: C = config.update(default, checkpoint.read_json(self.path / CONFIG))
        except UserError as error:
            kind = "search" if isinstance(default, SearchConfig) else "retraining"
            raise UserError(f"{self.path} must be the folder of a {kind}, but its {CONFIG} is none: {error}") from None
        return stored

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
