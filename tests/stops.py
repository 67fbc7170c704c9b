"""Small settings, and ways to interrupt a command at a chosen point, for several test files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enas.phases import Search
from enas.standalone import Standalone
from tests.test_cli import TINY_OPTIONS

# fewer and smaller steps than TINY, for tests in which whole commands are repeated
TINIER = ("epochs=2", "space.layers=2", "controller.updates=1", "weights.batch_size=299", "derive.finalists=1")
TINIER_OPTIONS = [*TINY_OPTIONS, *(part for text in TINIER for part in ("--set", text))]


@contextlib.contextmanager
def stopping(owner: type, method: str, when: Callable[[Any], bool]) -> Iterator[None]:
    """Within this, `owner.method` raises KeyboardInterrupt instead of running when its object says so."""
    original = getattr(owner, method)

    def stopped(self: Any, *arguments: Any) -> Any:
        if when(self):
            raise KeyboardInterrupt
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, stopped)
        yield


@contextlib.contextmanager
def signalled(owner: Any, method: str, number: int) -> Iterator[None]:
    """Within this, the process gets a signal when `owner.method` is called for the first time, which then goes on."""
    original, calls = getattr(owner, method), []

    def called(*arguments: Any, **named: Any) -> Any:
        calls.append(method)
        if len(calls) == 1:
            os.kill(os.getpid(), number)
        return original(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, called)
        yield
    assert calls


def search_stops(epoch: int, seed: int = 0) -> contextlib.AbstractContextManager[None]:
    """A search with this seed stops in the controller's phase of this epoch."""
    return stopping(Search, "train_searcher", lambda search: search.epoch == epoch and search.config.seed == seed)


def retraining_stops(epoch: int, reference: bool) -> contextlib.AbstractContextManager[None]:
    """The training of the reference, or of another network on all digits, stops at this epoch."""

    def when(training: Standalone) -> bool:
        resnet = sum(parameter.numel() for parameter in training.network.parameters()) > 100_000
        return len(training.images) == 1197 and resnet == reference and training.epoch == epoch

    return stopping(Standalone, "train_epoch", when)
