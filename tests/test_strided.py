"""Convolutions at a stride, against torch's in float64, where oneDNN has no part."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from enas.ops.layers import StridedConv
from tests.toys import seeded


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 1), (3, 5)])
@pytest.mark.parametrize("channels", [(2, 4), (8, 16), (5, 3)])
@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_it_equals_torchs_convolution(
    kernel: tuple[int, int], channels: tuple[int, int], size: tuple[int, int]
) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2)
    convolution = StridedConv(*channels, kernel, 2, padding, bias=False)
    with torch.no_grad():
        convolution.weight.normal_(generator=seeded(1))
    convolution.to(memory_format=torch.channels_last)
    x = torch.randn(3, channels[0], *size, generator=seeded()).to(memory_format=torch.channels_last)
    exact_x, exact_weight = x.double().requires_grad_(), convolution.weight.detach().double().requires_grad_()
    expected = F.conv2d(exact_x, exact_weight, None, 2, padding)
    factors = torch.randn(expected.shape, generator=seeded(2))
    (expected * factors).sum().backward()  # type: ignore[no-untyped-call]
    y = convolution(x.requires_grad_())
    (y * factors).sum().backward()
    for ours, theirs in ((y, expected), (x.grad, exact_x.grad), (convolution.weight.grad, exact_weight.grad)):
        assert ours is not None and theirs is not None
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)
