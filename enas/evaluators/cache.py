"""What children have been trained to, on the disk: one JSON line for each stretch of training.

Lines are only ever appended, each in one write and seen onto the disk; a line that a killed process cut short, or
that anything else damaged, is skipped.

A result is a child's own doing or circumstance. That a child diverged is settled. That its process was killed, hung,
ran out of memory or failed by an exception may be different another time: such a failure counts for the session that
saw it, and a later session tries again, so that a run goes on once the cause is mended.
"""

from __future__ import annotations

import errno
import json
import math
import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from enas.errors import UserError
from enas.evaluators.child import Failure

SCHEMA = 1
SETTLED = ("diverged",)  # kinds of failures that no later session tries again
Key = tuple[str, int, str]  # the network's signature, the run's seed, the settings' hash


@dataclass(frozen=True)
class Curve:
    """Validation accuracy and loss (nan: not finite) after each epoch that a child was trained."""

    accuracy: tuple[float, ...] = ()
    loss: tuple[float, ...] = ()
    failure: Failure | None = None

    @property
    def epochs(self) -> int:
        return len(self.accuracy)

    def best(self, until: int, last: int) -> tuple[float, float] | None:
        """The highest accuracy of the `last` epochs up to `until`, with the loss there; None where none is finite."""
        part = slice(max(0, until - last), until)
        pairs = [p for p in zip(self.accuracy[part], self.loss[part], strict=True) if math.isfinite(p[1])]
        return max(pairs, key=lambda pair: pair[0], default=None)


class Cache:
    """The curves of all children in the file at `path`, as far as it can be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._curves: dict[Key, Curve] = {}
        try:
            lines = path.read_bytes().split(b"\n") if path.exists() else []
        except OSError as error:
            raise UserError(f"{path} must be a readable file, but: {error.strerror}; mend or remove it") from None
        self._complete = not lines or not lines[-1]  # whether the last line has an end
        damaged = [number for number, line in enumerate(lines, start=1) if line and not self._take(line)]
        if damaged:
            warnings.warn(
                f"{path}: {len(damaged)} damaged lines were skipped (the first is line {damaged[0]}); their children "
                "are trained again",
                stacklevel=3,
            )

    def get(self, key: Key) -> Curve:
        """What is known of the child; an empty curve where nothing is."""
        return self._curves.get(key, Curve())

    def any_success(self, seed: int, settings: str) -> bool:
        """Whether any child of this seed and these settings has been trained."""
        return any(key[1:] == (seed, settings) and not curve.failure for key, curve in self._curves.items())

    def add(self, key: Key, curve: Curve, **about: Any) -> None:
        """Remember what a child was trained to. about: further values for whoever reads the file.

        Raises UserError where the disk refuses.
        """
        self._curves[key] = curve
        signature, seed, settings = key
        values = {
            "schema": SCHEMA,
            "signature": signature,
            "seed": seed,
            "settings": settings,
            "epochs": curve.epochs,
            "accuracy": curve.accuracy,
            "loss": [value if math.isfinite(value) else None for value in curve.loss],
            "failure": None if curve.failure is None else asdict(curve.failure),
            **about,
        }
        line = json.dumps(values, allow_nan=False).encode() + b"\n"
        try:
            with open(self.path, "ab", buffering=0) as file:
                # nothing is ever appended to the rest of a line that was cut short
                wanted = line if self._complete else b"\n" + line
                self._complete = False
                if file.write(wanted) != len(wanted):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._complete = True
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path} must be writable, but: {error.strerror}; free some space and go on with --resume"
            ) from None

    def _take(self, line: bytes) -> bool:
        """Take over what a line says; False where it says nothing that makes sense."""
        try:
            key, curve = parse(line)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return False
        known = self.get(key)
        settled = curve.failure is not None and curve.failure.kind in SETTLED
        if known.failure is None and (settled or (curve.failure is None and curve.epochs > known.epochs)):
            self._curves[key] = curve
        return True


def parse(line: bytes) -> tuple[Key, Curve]:
    """Read one line. Raises ValueError, KeyError, TypeError, OverflowError or RecursionError where it is none."""
    values = json.loads(line, parse_constant=_no_constant)
    if values["schema"] != SCHEMA:
        raise ValueError("schema")
    signature, seed, settings = values["signature"], values["seed"], values["settings"]
    if type(signature) is not str or type(seed) is not int or type(settings) is not str:
        raise TypeError("key")
    accuracy = tuple(_number(value) for value in values["accuracy"])
    loss = tuple(math.nan if value is None else _number(value) for value in values["loss"])
    if not len(accuracy) == len(loss) == values["epochs"] or not all(0 <= value <= 1 for value in accuracy):
        raise ValueError("curve")
    failure = values["failure"]
    if failure is not None:
        kind, reason = failure["kind"], failure["reason"]
        if type(kind) is not str or type(reason) is not str:
            raise TypeError("failure")
        failure = Failure(kind, reason)
    return (signature, seed, settings), Curve(accuracy, loss, failure)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("number")
    return float(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
