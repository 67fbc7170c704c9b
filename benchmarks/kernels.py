"""What `enas.kernels` gains over torch's own kernels, for the shapes of the spaces: in Python, as where there is no
compiler, and compiled.

    python benchmarks/kernels.py

Each on 64 images on a CPU, the median of --repeats runs; forward pass alone, without gradients, and forward and
backward pass. The three take turns. Run nothing else meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor

from enas import kernels
from enas.config import RunConfig
from enas.runtime import start, versions

SHAPES = ((36, 32), (36, 16), (20, 32), (40, 16), (16, 32))  # channels, side
IMAGES = 64
Kernel = Callable[..., Tensor]
KERNELS: dict[str, Kernel] = {
    "batch norm": kernels.batch_norm,
    "batch norm, ReLU": functools.partial(kernels.batch_norm, relu=True),
    "average 3x3": kernels.average_pool,
    "maximum 3x3": kernels.maximum_pool,
    "depthwise 3x3": kernels.depthwise,
    "depthwise 5x5": kernels.depthwise,
    "ReLU, depthwise 5x5": functools.partial(kernels.depthwise, relu=True),
    "depthwise 3x3, stride 2": functools.partial(kernels.depthwise, stride=2),
    "pixels at stride 2": functools.partial(kernels.strided_pixels, stride=2),
}
Way = Callable[[], contextlib.AbstractContextManager[None]]
WAYS: tuple[Way, ...] = (kernels.plain_kernels, kernels.python_kernels, contextlib.nullcontext)


@click.command()
@click.option("--precision", default="auto", type=click.Choice(["auto", "float32", "bfloat16"]), help="number format")
@click.option("--repeats", default=20, type=click.IntRange(3), help="runs of each")
def main(precision: str, repeats: int) -> None:
    """Measure and print the table."""
    runtime = start(RunConfig(device="cpu", precision=precision))
    words = [*(f"{name} {value}" for name, value in versions(runtime).items()), f"{runtime.threads} threads"]
    print(" | ".join([*words, str(runtime.precision).removeprefix("torch."), f"n {repeats}"]))
    print("| kernel | shape | forward, torch | Python | C++ | forward and backward, torch | Python | C++ |")
    print("|---|---|" + "--:|" * 2 * len(WAYS))
    draws = torch.Generator().manual_seed(0)
    for name, kernel in KERNELS.items():
        for channels, side in SHAPES:
            x = torch.randn(IMAGES, channels, side, side, generator=draws).to(runtime.precision)
            x = x.to(memory_format=torch.channels_last)
            inputs = [x, *weights(name, channels)]
            figures = [t for gradient in (False, True) for t in milliseconds(kernel, inputs, gradient, repeats)]
            cells = " | ".join(f"{median:.2f} ({low:.2f} to {high:.2f})" for low, median, high in figures)
            print(f"| {name} | {channels}x{side}x{side} | {cells} |", flush=True)


def weights(name: str, channels: int) -> list[Tensor]:
    """What a kernel needs beside the images."""
    if name.startswith("batch norm"):
        return [torch.ones(channels), torch.zeros(channels)]
    if "depthwise" in name:
        side = int(name.split("x")[1][0])
        return [torch.randn(channels, 1, side, side, generator=torch.Generator().manual_seed(1))]
    return []


def milliseconds(
    kernel: Kernel, inputs: list[Tensor], gradient: bool, repeats: int
) -> list[tuple[float, float, float]]:
    """Of every way the 10 % quantile, the median and the 90 % quantile."""
    inputs = [tensor.detach().requires_grad_(gradient) for tensor in inputs]
    times: list[list[float]] = [[] for _ in WAYS]
    for _ in range(repeats + 1):
        for way, found in zip(WAYS, times, strict=True):
            start_s = time.perf_counter()
            with way(), torch.set_grad_enabled(gradient):
                y = kernel(*inputs)
                if gradient:
                    torch.autograd.grad(y, inputs, y.detach())
            found.append(1e3 * (time.perf_counter() - start_s))
    tenths = [statistics.quantiles(found[1:], n=10) for found in times]
    return [(t[0], statistics.median(found[1:]), t[-1]) for t, found in zip(tenths, times, strict=True)]


if __name__ == "__main__":
    main()
