"""Jobs that share the CPU's threads: their results, their reports, and what ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from enas.parallel import run_jobs

Report = Callable[[int], None]


def counting(number: int) -> Callable[[Report], tuple[int, int]]:
    def job(report: Report) -> tuple[int, int]:
        for _ in range(number):
            report(number)
        return number, torch.get_num_threads()

    return job


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_keep_their_order_and_all_work_is_reported(threads: int) -> None:
    before, heard = torch.get_num_threads(), []

    def listen(work: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        heard.append(work)

    results = run_jobs([counting(n) for n in (3, 1, 2)], threads, listen)
    assert [number for number, _ in results] == [3, 1, 2]
    assert sorted(heard) == [1, 2, 2, 3, 3, 3]
    if threads > 1:
        assert {share for _, share in results} == {threads // min(threads, 3)}
    assert torch.get_num_threads() == before


def test_nothing_is_done_without_jobs() -> None:
    assert run_jobs([], 2, lambda work: None) == []


@pytest.mark.parametrize("fault", ["job", "listener"])
def test_what_one_raises_ends_all(fault: str) -> None:
    """A job that would go on for ever hears of it."""
    before, running = torch.get_num_threads(), threading.active_count()
    ended = threading.Event()

    def endless(report: Report) -> None:
        try:
            while True:
                report(1)
        finally:
            ended.set()

    def failing(report: Report) -> None:
        if fault == "job":
            raise ValueError("no")
        endless(report)

    def listen(work: int) -> None:
        if fault == "listener":
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_jobs([endless, failing], 2, listen)
    assert ended.is_set() and threading.active_count() == running
    assert torch.get_num_threads() == before
