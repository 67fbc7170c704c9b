"""The convolutions of children by themselves: what the time of their passes is measured against."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas.network import Network
from enas.runtime import Runtime

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class Convolution:
    """Shape of the input [N, C, H, W] and of the weight, stride and groups."""

    shape: tuple[int, ...]
    weight: tuple[int, ...]
    stride: int
    groups: int

    @property
    def flops(self) -> float:
        """Of a forward pass."""
        n, _, height, width = self.shape
        pixels = n * -(-height // self.stride) * -(-width // self.stride)
        out, channels, rows, columns = self.weight
        return 2.0 * pixels * out * channels * rows * columns


def convolutions(network: Network, images: Tensor, runtime: Runtime) -> Counter[Convolution]:
    """All convolutions of a forward pass, and how often each comes."""
    found: Counter[Convolution] = Counter()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        kind = Convolution(tuple(inputs[0].shape), tuple(module.weight.shape), module.stride[0], module.groups)
        found[kind] += 1

    hooks = [part.register_forward_hook(note) for part in network.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad(), runtime.autocast():
        network(images)
    for hook in hooks:
        hook.remove()
    return found


def alone(found: Counter[Convolution], training: bool, runtime: Runtime) -> Callable[[], None]:
    """All these convolutions one after the other, and nothing else; with their gradients where `training`, but for
    that of the images."""
    runs = [((_both if training else _forward)(kind, runtime), count) for kind, count in found.items()]

    def run() -> None:
        for convolve, count in runs:
            for _ in range(count):
                convolve()

    return run


def _tensors(kind: Convolution, runtime: Runtime) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"device": runtime.device, "dtype": runtime.precision}
    x = torch.randn(kind.shape, generator=draws).to(**options).to(memory_format=torch.channels_last)
    weight = torch.randn(kind.weight, generator=draws).to(**options).to(memory_format=torch.channels_last)
    return x, weight


def _forward(kind: Convolution, runtime: Runtime) -> Callable[[], Any]:
    x, weight = _tensors(kind, runtime)
    padding = kind.weight[-1] // 2
    return functools.partial(_conv, x, weight, kind.stride, padding, kind.groups)


@torch.no_grad()
def _conv(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, padding, 1, groups)


def _both(kind: Convolution, runtime: Runtime) -> Callable[[], Any]:
    x, weight = _tensors(kind, runtime)
    padding = kind.weight[-1] // 2
    grad = torch.ones_like(_conv(x, weight, kind.stride, padding, kind.groups))

    def run() -> Any:
        _conv(x, weight, kind.stride, padding, kind.groups)
        with torch.no_grad():
            return torch.ops.aten.convolution_backward(
                grad, x, weight, None, [kind.stride] * 2, [padding] * 2, [1, 1], False, [0, 0], kind.groups,
                [kind.shape[1] != IMAGE_CHANNELS, True, False],
            )  # fmt: skip

    return run
