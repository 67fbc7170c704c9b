"""The parts that an exported module may hold, with nothing but torch: its file gets the source of those it uses.

Each computes what the operation of the same name in `enas.ops` does for one network, by torch's own kernels, and names
its weights alike.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def max_pool(x: Tensor, stride: int = 1) -> Tensor:
    """Maxima over 3x3 pixels; padding never counts."""
    return F.max_pool2d(x, 3, stride, padding=1)


def avg_pool(x: Tensor, stride: int = 1) -> Tensor:
    """Means over 3x3 pixels; padding never counts."""
    return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)


class DropPath(nn.Module):
    """In training drops its input for some images and scales it up for the others.

    share: of the network's drop-path rate, that this place has.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.rate = share, 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class ConvNorm(nn.Module):
    """k x k convolution, batch norm, and ReLU where asked for."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1, *, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class Conv(nn.Module):
    """1x1 convolution, batch norm, ReLU; then k x k convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.project = ConvNorm(in_channels, channels, kernel=1, relu=True)
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(self.project(x))))


class SepConv(nn.Module):
    """1x1 convolution, batch norm, ReLU; then depthwise k x k and 1x1, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.project = ConvNorm(in_channels, channels, kernel=1, relu=True)
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.pointwise(self.depthwise(self.project(x)))))


class Pool(nn.Module):
    """1x1 convolution, batch norm, ReLU; then the maximum or the mean over 3x3 pixels."""

    def __init__(self, in_channels: int, channels: int, *, maximum: bool) -> None:
        super().__init__()
        self.project = ConvNorm(in_channels, channels, kernel=1, relu=True)
        self.maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        return max_pool(self.project(x)) if self.maximum else avg_pool(self.project(x))


class Halving(nn.Module):
    """1x1 convolutions of the pixels in even and in odd rows and columns, joined.

    An odd side is rounded up; what the odd pixels then lack is zero.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(in_channels, channels // 2, 1, bias=False)
        self.odd = nn.Conv2d(in_channels, channels - channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        odd = F.pad(x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))
        return torch.cat([self.even(x[:, :, ::2, ::2]), self.odd(odd)], dim=1)


class FactorizedReduction(nn.Module):
    """Halves the resolution without losing every second pixel, then batch norm."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.halve = Halving(in_channels, channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.halve(x))


class CellInput(nn.Module):
    """ReLU, 1x1 convolution (at stride 2 of all pixels), batch norm."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        if stride == 2:
            self.pointwise: nn.Module = Halving(in_channels, channels)
        else:
            self.pointwise = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pointwise(F.relu(x)))


class CellSepConv(nn.Module):
    """(ReLU, depthwise k x k convolution, 1x1 convolution, batch norm) twice."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise1 = nn.Conv2d(
            in_channels, in_channels, kernel, stride, kernel // 2, groups=in_channels, bias=False
        )
        self.pointwise1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.depthwise2 = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.pointwise2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.pointwise1(self.depthwise1(F.relu(x))))
        return self.norm2(self.pointwise2(self.depthwise2(F.relu(x))))


class ReluConvNorm(nn.Module):
    """ReLU, k x k convolution, batch norm."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.relu(x)))


class PooledShortcut(nn.Module):
    """The mean of 2x2 pixels, then a 1x1 convolution."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(F.avg_pool2d(x, 2, 2, ceil_mode=True))


class MobileConv(nn.Module):
    """1x1 to `expansion` times the channels, depthwise k x k, 1x1; batch norm after each."""

    def __init__(self, in_channels: int, channels: int, kernel: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.expand = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.project = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.expand(x)))
        x = F.relu(self.norm2(self.depthwise(x)))
        return self.norm3(self.project(x))


class Bias(nn.Module):
    """Adds a number for each unit: x [N, units], or of one pixel [N, units, 1, 1]."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + self.bias


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file: the length of a JSON header, that header, numbers."""
    data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        first, end = entry["data_offsets"]
        dtype = {"F32": torch.float32, "I64": torch.int64}[entry["dtype"]]
        numbers = torch.frombuffer(bytearray(data[start + first : start + end]), dtype=dtype)
        tensors[name] = numbers.reshape(entry["shape"])
    return tensors
