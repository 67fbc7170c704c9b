"""Several passes at once, each on its share of the CPU's threads.

Two threads that share the work of every operation wait for each other at each; many operations are too short for
that. Two threads with a pass each do not. torch's operations run without Python's lock.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
Job = Callable[[Callable[[int], None]], T]  # is given what to call with the work it did


class _Cancelled(Exception):
    """Another job failed, or the caller was stopped."""


def run_jobs(jobs: Sequence[Job[T]], threads: int, on_work: Callable[[int], None]) -> list[T]:
    """What the jobs return, in their order; at most `threads` of them at a time. `on_work` is called in this thread.

    What a job or `on_work` raises ends all jobs, each when it next reports work, and is raised here.
    """
    together = min(threads, len(jobs))
    if together <= 1:
        return [job(on_work) for job in jobs]
    heard: queue.SimpleQueue[int | Future[T]] = queue.SimpleQueue()
    over = threading.Event()

    def report(work: int) -> None:
        if over.is_set():
            raise _Cancelled
        heard.put(work)

    with _shared_threads(threads, together) as pool:
        try:
            futures = [pool.submit(job, report) for job in jobs]
            for future in futures:
                future.add_done_callback(heard.put)
            waiting = len(futures)
            while waiting:
                item = heard.get()
                if isinstance(item, Future):
                    item.result()  # raises what the job raised
                    waiting -= 1
                else:
                    on_work(item)
            return [future.result() for future in futures]
        finally:
            over.set()
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _shared_threads(threads: int, together: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for Python of which each has its share of torch's."""
    before = torch.get_num_threads()
    with ThreadPoolExecutor(together, initializer=torch.set_num_threads, initargs=(threads // together,)) as pool:
        try:
            yield pool
        finally:
            torch.set_num_threads(before)  # new threads begin with the last number that anybody set
