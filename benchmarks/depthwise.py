"""What `enas.depthwise` gains over torch's own backward pass, for the shapes of the spaces.

    python benchmarks/depthwise.py

Forward and backward pass of one depthwise convolution of 128 images in bfloat16 on a CPU, the median
of 10 runs. Run nothing else meanwhile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from enas.config import RunConfig
from enas.depthwise import depthwise, depthwise_plain
from enas.runtime import start, versions

SHAPES = ((16, 32), (32, 16), (64, 8), (20, 32), (36, 32))  # channels, side
REPEATS = 10


def main() -> None:
    """Measure and print the table."""
    runtime = start(RunConfig(device="cpu"))
    print(" | ".join(f"{name} {value}" for name, value in versions().items()), f"| {runtime.threads} threads")
    print("| shape | kernel | stride | torch, ms | enas, ms |\n|---|--:|--:|--:|--:|")
    draws = torch.Generator().manual_seed(0)
    for channels, side in SHAPES:
        for kernel in (3, 5):
            for stride in (1, 2):
                x = torch.randn(128, channels, side, side, generator=draws).bfloat16()
                x = x.to(memory_format=torch.channels_last).requires_grad_()
                weight = torch.randn(channels, 1, kernel, kernel, generator=draws).bfloat16().requires_grad_()
                plain, ours = (milliseconds(run, x, weight, stride) for run in (depthwise_plain, depthwise))
                print(f"| {channels}x{side}x{side} | {kernel} | {stride} | {plain:.1f} | {ours:.1f} |")


def milliseconds(run: Callable[[Tensor, Tensor, int], Tensor], x: Tensor, weight: Tensor, stride: int) -> float:
    """The median time of a forward and backward pass."""
    grad = torch.ones_like(run(x, weight, stride))
    times = []
    for _ in range(REPEATS + 1):
        start_s = time.perf_counter()
        run(x, weight, stride).backward(grad)  # type: ignore[no-untyped-call]
        times.append(1e3 * (time.perf_counter() - start_s))
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
