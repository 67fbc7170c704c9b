"""Which operators take the time of a pass, by torch's profiler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from enas.kernels import compiled

MOST = 10  # operators that are listed
Run = Callable[[], Any]


def measure_operators(space: str, runs: Sequence[tuple[str, int, Run]]) -> list[dict[str, Any]]:
    """The operators of runs, each of them named and of a number of children, that take most time by themselves: rows
    of milliseconds a child, and their share in all operators' time. A first call of each does not count."""
    rows = []
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    for what, children, run in runs:
        run()
        with _compiled_kernels_named(), profile(activities=activities) as profiler:
            run()
        events = profiler.key_averages()
        times = {event.key: event.self_cpu_time_total + event.self_device_time_total for event in events}
        calls = {event.key: event.count for event in events}
        total_us = sum(times.values())
        for operator in sorted(times, key=times.__getitem__, reverse=True)[:MOST]:
            share, ms = times[operator] / total_us, times[operator] / children / 1e3
            row = {"operator": operator, "share": share, "ms_per_child": ms, "calls": calls[operator]}
            rows.append({"space": space, "what": what, **row})
    return rows


@contextlib.contextmanager
def _compiled_kernels_named() -> Iterator[None]:
    """Let the profiler see the compiled kernels, of which torch knows nothing."""
    original = compiled.call

    def named(name: str, x: Tensor, *arguments: Tensor | float | None) -> None:
        with record_function(f"enas::{name}"):
            original(name, x, *arguments)

    compiled.call = named
    try:
        yield
    finally:
        compiled.call = original
