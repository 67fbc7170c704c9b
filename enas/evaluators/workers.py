"""Children in processes of this machine: each in one of its own, some at a time.

The processes are forked from a server that has torch loaded and nothing else running, so that one starts in a tenth
of a second; it has no thread of torch's, and the server never touches a GPU. Images lie in shared memory. A process
that dies, hangs or fails is one failed child. None outlives its parent, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

import torch.multiprocessing  # noqa: F401  # importing it lets tensors travel as shared memory

from enas.data import DataSet, ImageSet
from enas.errors import UserError
from enas.evaluators.child import Answer, Answers, Child, Course, End, Epoch, Failure, Train, attempt, decode, encode
from enas.interrupts import SIGNALS

TICK_S = 0.25  # how long a signal may wait
PRELOADED = ["enas.evaluators.child", "torch._dynamo"]  # torch loads the latter, in a second, with an optimiser
SHARED_MEMORY = Path("/dev/shm")
GIB = 2**30


class Workers(Protocol):
    """Where children are trained."""

    def run(self, children: Sequence[Child]) -> Answers:
        """Train the children; yields (position, answer) as answers come, one `End` for each child.

        Yields None at least a few times a second: a chance to stop, which ends what is running.
        """

    def close(self) -> None:
        """End what is running."""


@dataclass
class _Running:
    """A child's process. pipe: where it tells how far it is. deadline: time.monotonic() at which it is ended."""

    process: ForkServerProcess
    pipe: connection.Connection
    deadline: float

    def end(self) -> None:
        """End the process and clear up after it. It has nothing to save, so it is not asked."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


class LocalWorkers:
    """At most `count` processes at a time, each ended after `timeout_s` seconds."""

    def __init__(self, train: Train, course: Course, count: int, timeout_s: float) -> None:
        self.train, self.count, self.timeout_s = train, count, timeout_s
        self.course = replace(course, data=shared(course.data))
        self.running: dict[int, _Running] = {}
        # Before multiprocessing's own exit handler, which would wait for processes that ignore its SIGTERM.
        atexit.register(self.close)

    def close(self) -> None:
        self._end_all()
        atexit.unregister(self.close)

    def _end_all(self) -> None:
        for process in [running.process for running in self.running.values()]:
            process.kill()  # all of them before waiting for any
        while self.running:
            self.running.popitem()[1].end()

    def run(self, children: Sequence[Child]) -> Answers:
        waiting = deque(enumerate(children))
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.count:
                    position, child = waiting.popleft()
                    failure = self._start(position, child)
                    if failure is not None:
                        yield position, End(failure)
                self._wait()
                yield None
                for position in sorted(self.running):
                    for answer in self._listen(position):
                        if isinstance(answer, End) and answer.failure is not None:
                            yield None  # a signal to all processes stops the run and is no failure of a child
                        yield position, answer
        finally:
            self._end_all()

    def _start(self, position: int, child: Child) -> Failure | None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(self.train, self.course, child, writer), daemon=True)
        try:
            with _unsignalled(), _without_main():
                process.start()
                self.running[position] = _Running(process, reader, time.monotonic() + self.timeout_s)
        except (OSError, EOFError) as error:  # too many open files, no memory to fork, the server killed
            reader.close()
            return Failure("start", f"its process could not be started ({type(error).__name__}: {error})")
        finally:
            writer.close()
        return None

    def _wait(self) -> None:
        """Wait a little while for any process to say something or to die."""
        until = min((running.deadline for running in self.running.values()), default=0.0)
        timeout = min(TICK_S, max(0.0, until - time.monotonic()))
        pipes = [running.pipe for running in self.running.values()]
        connection.wait([*pipes, *(running.process.sentinel for running in self.running.values())], timeout)

    def _listen(self, position: int) -> Iterator[Answer]:
        """What a child has said since the last time; its end too, where it came without a word."""
        running = self.running[position]
        # looked at before the pipe: what a process says before it dies is there once it is dead
        dead = bool(connection.wait([running.process.sentinel], 0))
        late = time.monotonic() >= running.deadline
        end: End | None = None
        with contextlib.suppress(EOFError, OSError):  # a pipe whose other end is gone has nothing more to say
            while end is None and running.pipe.poll():
                answer = decode(running.pipe.recv_bytes())
                if isinstance(answer, Epoch):
                    yield answer
                else:
                    end = answer
        if end is None and dead:
            end = End(_death(running.process.exitcode))
        if end is None and late:
            minutes = self.timeout_s / 60
            end = End(Failure("timeout", f"it was not done after child_timeout_minutes = {minutes:g}"))
        if end is not None:
            yield end
            self.running.pop(position).end()


def _death(exitcode: int | None) -> Failure:
    """Why a process ended that said nothing."""
    if exitcode is None or exitcode >= 0:
        return Failure("exit", f"its process ended by itself, with exit code {exitcode}")
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hint = ", as the kernel does where memory runs out" if name == "SIGKILL" else ""
    return Failure("killed", f"its process was killed by {name}{hint}")


def _serve(train: Train, course: Course, child: Child, pipe: connection.Connection) -> None:
    """What the process does."""
    # Ctrl-C and a service manager's SIGTERM go to all processes at once. The parent decides; it ends this one.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for answer in attempt(train, course, child):
        if isinstance(answer, End):
            sys.stdout.flush()
            sys.stderr.flush()
        pipe.send_bytes(encode(answer))


def _end_with_parent() -> None:
    """End this process when its parent is gone, or the server, without which the parent cannot end it."""
    parent, server = multiprocessing.parent_process(), os.getppid()
    assert parent is not None, "only a process that multiprocessing started has a parent to watch"
    while not connection.wait([parent.sentinel], 1.0) and os.getppid() == server:
        pass
    os._exit(1)


@contextlib.contextmanager
def _unsignalled() -> Iterator[None]:
    """Hold signals back: a process that starts inherits this, and one half started would be nobody's."""
    resource_tracker.ensure_running()  # its start, which else came within this, lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program that runs: multiprocessing would run it again in every process, which needs none of it.

    A script then needs no `if __name__ == "__main__"` either.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def shared(data: DataSet) -> DataSet:
    """The data set with its images in shared memory. Raises UserError where there is not enough of it."""
    tensors = [tensor.cpu() for part in (data.train, data.test) for tensor in (part.images, part.labels)]
    needed = sum(tensor.nbytes for tensor in tensors if not tensor.is_shared())  # type: ignore[no-untyped-call, misc]
    if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < needed:
        raise UserError(
            f"the workers share the images, for which {SHARED_MEMORY} must have {needed / GIB:.3g} GiB, but "
            f"{free / GIB:.3g} GiB are free; free some, or enlarge it (docker run --shm-size)"
        )
    for tensor in tensors:
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    return replace(data, train=ImageSet(*tensors[:2]), test=ImageSet(*tensors[2:]))
