"""Stopping in good order, and saving now and then.

The first SIGINT or SIGTERM lets the step at hand finish; the state is saved and `Stopped` raised. A
second one stops at once, which loses what came after the last checkpoint and nothing else.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run was asked to stop and has saved its state. number: the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Terminated(KeyboardInterrupt):
    """SIGTERM where no `StopRequest` listens: it ends the command at once, but in good order, as Ctrl-C does."""


class StopRequest:
    """Listens for signals while it is entered (in the main thread; elsewhere signals are not ours).

    A signal may come after the last tick: whoever enters this looks at `number` afterwards.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Within this SIGTERM raises Terminated, where a process would otherwise end without a word."""

    def hear(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Keeper:
    """Saves every few minutes, and when a stop is requested. `tick` is called after each step."""

    def __init__(self, save: Callable[[], None], every_s: float, stop: StopRequest | None = None) -> None:
        self._save, self._every_s, self._stop = save, every_s, stop
        self._last = time.monotonic()

    def saved(self) -> None:
        """Somebody saved just now."""
        self._last = time.monotonic()

    def tick(self) -> None:
        """Save if it is time to. Raises Stopped, after saving, where a stop was requested."""
        number = self._stop.number if self._stop is not None else None
        if number is None and time.monotonic() - self._last < self._every_s:
            return
        self._save()
        self.saved()
        if number is not None:
            raise Stopped(number)
