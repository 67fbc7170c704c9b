"""Children on a Ray cluster: the same as in processes of this machine, with the same failures.

The images are put into Ray's object store once. Each child runs in a process of its own (`max_calls=1`), which streams
its answers. `enas` must be installed on every node; a child that is trained in several stretches (successive halving)
is kept in the run folder, which all nodes should see: where one does not, the child begins again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from enas.data import ImageSet
from enas.errors import UserError
from enas.evaluators.child import Answer, Answers, Child, Course, End, Failure, Train, attempt, decode, encode
from enas.interrupts import SIGNALS

TICK_S = 0.25  # how long a signal may wait
STARTED = b""  # a child's first word: until then it waits for a place on the cluster


@dataclass
class _Running:
    """A child's task. answers: Ray's generator of references. deadline: time.monotonic(), once it has started."""

    answers: Any
    deadline: float | None = None


class RayWorkers:
    """At most `count` children at a time, each ended after `timeout_s` seconds of running.

    address: the cluster's, as ray.init takes it; None starts Ray on this machine and stops it in the end. Raises
    UserError where Ray is not installed or not reached.
    """

    def __init__(self, train: Train, course: Course, count: int, timeout_s: float, address: str | None) -> None:
        self.ray = _ray()
        self.count, self.timeout_s = count, timeout_s
        self.running: dict[int, _Running] = {}
        threads, gpu = course.run.threads, course.run.device.startswith("cuda")
        self.began = not self.ray.is_initialized()
        if self.began:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports to others about the user's runs
            local: dict[str, Any] = {"num_cpus": count * threads, "include_dashboard": False} if address is None else {}
            try:
                with _own_signals():
                    self.ray.init(address=address or "local", log_to_driver=False, **local)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                text = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise UserError(
                    f"full_training.ray_address must be that of a Ray cluster that can be reached, but {address}: "
                    f"{text}; start it with ray start --head, or use --set full_training.executor=local"
                ) from None
        self.task = self.ray.remote(
            num_cpus=threads, num_gpus=int(gpu), max_retries=0, max_calls=1, num_returns="streaming"
        )(_serve)
        self.train, data = train, course.data
        self.arrays = [
            self.ray.put(tensor.cpu().numpy())
            for tensor in (data.train.images, data.train.labels, data.test.images, data.test.labels)
        ]
        self.course = replace(course, data=replace(data, train=_none(data.train), test=_none(data.test)))

    def close(self) -> None:
        self._end_all()
        if self.began:
            self.ray.shutdown()

    def _end_all(self) -> None:
        while self.running:
            self._end(self.running.popitem()[1])

    def _end(self, running: _Running) -> None:
        self.ray.cancel(running.answers, force=True)

    def run(self, children: Sequence[Child]) -> Answers:
        waiting = deque(enumerate(children))
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.count:
                    position, child = waiting.popleft()
                    self.running[position] = _Running(self.task.remote(self.train, self.course, child, *self.arrays))
                tasks = {running.answers: position for position, running in self.running.items()}
                ready, _ = self.ray.wait(list(tasks), num_returns=1, timeout=TICK_S)
                yield None
                for task in ready:
                    answer = self._next(self.running[tasks[task]])
                    if answer is not None:
                        yield tasks[task], answer
                    if isinstance(answer, End):
                        self._end(self.running.pop(tasks[task]))
                for position in self._late():
                    failure = Failure(
                        "timeout", f"it was not done after child_timeout_minutes = {self.timeout_s / 60:g}"
                    )
                    yield position, End(failure)
                    self._end(self.running.pop(position))
        finally:
            self._end_all()

    def _next(self, running: _Running) -> Answer | None:
        """The next answer of a task that has one, or the failure that ended it; None: it has started."""
        try:
            message: bytes = self.ray.get(next(running.answers))
        except StopIteration:
            return End(Failure("exit", "its task ended without a word"))
        except self.ray.exceptions.OutOfMemoryError:
            return End(Failure("memory", "Ray ended its worker because the node ran out of memory"))
        except self.ray.exceptions.RayError as error:
            text = (str(error).strip().splitlines() or [""])[-1][:200]
            if isinstance(error, self.ray.exceptions.RayTaskError):  # before it came to the child: a node without enas
                return End(Failure("exception", f"its task failed ({text})"))
            return End(Failure("killed", f"its worker was lost ({type(error).__name__}: {text})"))
        if message == STARTED:
            running.deadline = time.monotonic() + self.timeout_s
            return None
        return decode(message)

    def _late(self) -> list[int]:
        now = time.monotonic()
        return [p for p, running in self.running.items() if running.deadline is not None and now >= running.deadline]


def _serve(train: Train, course: Course, child: Child, *arrays: Any) -> Iterator[bytes]:
    """What the task does. arrays: images and labels of both parts, read where they lie in the object store."""
    yield STARTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the store cannot be written to, and nobody tries
        tensors = [torch.from_numpy(array) for array in arrays]
    data = replace(course.data, train=ImageSet(*tensors[:2]), test=ImageSet(*tensors[2:]))
    for answer in attempt(train, replace(course, data=data), child):
        yield encode(answer)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of signals: Ray installs one of its own, which exits without saving."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _none(images: ImageSet) -> ImageSet:
    """No images of this shape. A copy: a view would bring along all that it is a view of."""
    return ImageSet(images.images[:0].cpu().clone(), images.labels[:0].cpu().clone())


def _ray() -> Any:
    """Ray's module."""
    try:
        import ray
    except ImportError:
        raise UserError(
            "full_training.executor=ray needs Ray, which is not installed; run pip install 'enas[ray]', or use "
            "--set full_training.executor=local"
        ) from None
    return ray
