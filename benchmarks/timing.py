"""What the benchmarks of speed share: children, batches, rounds, and their figures."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from enas.config import MacroOptions, MicroOptions, NasBench201Options, RunConfig, SpaceOptions
from enas.errors import UserError
from enas.kernels import plain_kernels, python_kernels
from enas.runtime import Runtime, generator, start, versions
from enas.spaces import Architecture, SearchSpace
from enas.training import Batch

CLASSES = 10
Run = Callable[[], Any]
SPACES: dict[str, Callable[..., SpaceOptions]] = {
    "macro": MacroOptions,
    "micro": MicroOptions,
    "nasbench201": NasBench201Options,
}


@dataclass(frozen=True)
class Figure:
    """One measurement: seconds of a round (median, smallest, largest) and what a round does.

    children: forward or training passes of single architectures; flops: of one round, two for a multiply-accumulate,
    three passes' worth in training.
    """

    space: str
    what: str
    median_s: float
    least_s: float
    most_s: float
    rounds: int
    children: int
    images: int
    flops: float

    @property
    def child_images_per_s(self) -> float:
        return self.children * self.images / self.median_s

    @property
    def children_per_s(self) -> float:
        return self.children / self.median_s

    @property
    def gflops(self) -> float:
        """Useful floating-point operations a second, in 10^9."""
        return self.flops / self.median_s / 1e9

    def record(self) -> dict[str, Any]:
        rates = {name: getattr(self, name) for name in ("child_images_per_s", "children_per_s", "gflops")}
        return asdict(self) | rates


def started(device: str, precision: str) -> Runtime:
    """The runtime. Raises UsageError where the device is not to be had."""
    try:
        return start(RunConfig(device=device, precision=precision))
    except UserError as error:
        raise click.UsageError(str(error)) from None


def earlier(path: Path) -> dict[str, Any]:
    """What an earlier call wrote; nothing where there was none. Raises UsageError where it is something else, and
    where its folder cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--output must be a folder, new or of this script, but {path} fails: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(
            f"{path} must hold results of this script, but holds something else; give another folder"
        )
    return found


def environment(runtime: Runtime) -> dict[str, Any]:
    """Versions and machine."""
    precision = str(runtime.precision).removeprefix("torch.")
    return {**versions(runtime), "device": str(runtime.device), "precision": precision, "threads": runtime.threads}


def random_batch(count: int, size: int, runtime: Runtime) -> Batch:
    """Normal noise and uniform labels."""
    draws = generator(0, "images")
    images = torch.randn(count, 3, size, size, generator=draws).to(runtime.device, memory_format=torch.channels_last)
    return images, torch.randint(0, CLASSES, (count,), generator=draws).to(runtime.device)


def alternate(runs: Sequence[Callable[[], Any]], repeats: int, runtime: Runtime) -> list[tuple[float, float, float]]:
    """Median, smallest and largest seconds of each after a first round that does not count. They take turns, so that
    a machine that slows down slows all of them down."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, seconds in zip(runs, times, strict=True):
            start_s = time.perf_counter()
            run()
            runtime.wait()
            seconds.append(time.perf_counter() - start_s)
    return [(statistics.median(seconds[1:]), min(seconds[1:]), max(seconds[1:])) for seconds in times]


def together(runs: Sequence[Run]) -> Run:
    """Runs one after the other."""

    def run() -> None:
        for each in runs:
            each()

    return run


def plainly(run: Run) -> Run:
    """A run with torch's own kernels."""
    return _within(plain_kernels, run)


def uncompiled(run: Run) -> Run:
    """A run with the kernels in Python, as where there is no compiler."""
    return _within(python_kernels, run)


def _within(context: Callable[[], contextlib.AbstractContextManager[None]], run: Run) -> Run:
    def changed() -> None:
        with context():
            run()

    return changed


def sharp(space: SearchSpace, n: int, entropy_share: float, draws: torch.Generator) -> list[Architecture]:
    """n architectures of a policy that has so much of the uniform policy's entropy left, in every decision.

    Each decision has one preferred choice, drawn uniformly; all others are equally likely. Only for spaces whose
    decisions are always active.
    """
    columns = []
    for decision in space.decisions:
        k = len(decision.labels)
        preferred = torch.randint(k, (1,), generator=draws)
        other = (preferred + torch.randint(1, max(2, k), (n,), generator=draws)) % k
        strays = torch.rand(n, generator=draws) < _stray_probability(k, entropy_share)
        columns.append(torch.where(strays, other, preferred))
    return [Architecture(space.name, tuple(choices)) for choices in torch.stack(columns, 1).tolist()]


def _stray_probability(k: int, entropy_share: float) -> float:
    """How likely a decision of k choices leaves its preferred one: by bisection, as entropy rises with it."""
    if k == 1:
        return 0.0
    low, high = 0.0, (k - 1) / k
    for _ in range(60):
        middle = (low + high) / 2
        entropy = -(1 - middle) * math.log1p(-middle) - middle * math.log(middle / (k - 1))
        low, high = (middle, high) if entropy < entropy_share * math.log(k) else (low, middle)
    return low
