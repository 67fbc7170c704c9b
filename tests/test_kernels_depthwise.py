"""The depthwise convolution with a backward pass of its own, against torch's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from enas.kernels import depthwise, depthwise_plain
from enas.kernels.depthwise import _Depthwise
from enas.ops.layers import Depthwise
from tests.toys import seeded

pytestmark = pytest.mark.usefixtures("language")
Convolution = Callable[[Tensor, Tensor, int], Tensor]
SIZES = [(8, 8), (9, 7), (7, 10), (2, 2), (5, 3), (1, 1), (3, 1)]
# Nothing halves a width of 1: images have 4 pixels at least. There torch's bfloat16 weight gradient at stride 2 reads
# what lies beside the images in memory (torch 2.14).
each_case = pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [(kernel, stride, size) for kernel in (3, 5) for stride in (1, 2) for size in SIZES if stride < 2 or size[1] > 1],
)


def case(kernel: int, size: tuple[int, int], dtype: torch.dtype, images: int = 4) -> tuple[Tensor, Tensor]:
    """Images and weights that differ by channel and place; channels last, as everywhere."""
    x = torch.randn(images, 6, *size, generator=seeded(), dtype=torch.float64)
    weight = torch.randn(6, 1, kernel, kernel, generator=seeded(1), dtype=torch.float64)
    weight = weight * torch.linspace(0.5, 2, 6, dtype=torch.float64)[:, None, None, None]
    return x.to(dtype).to(memory_format=torch.channels_last), weight.to(dtype)


def run(convolution: Convolution, x: Tensor, weight: Tensor, stride: int) -> list[Tensor]:
    """The output and both gradients, of a loss that weighs every output differently; in float64."""
    x, weight = x.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    y = convolution(x, weight, stride)
    factors = torch.randn(y.shape, generator=seeded(2))
    (y.float() * factors).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and weight.grad is not None
    return [y.detach().double(), x.grad.double(), weight.grad.double()]


def own(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The backward pass under test, whatever the number format."""
    result: Tensor = _Depthwise.apply(x, weight, stride)
    return result


def close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    """Equal to a share of each tensor's largest value."""
    for name, a, b in zip(("output", "input gradient", "weight gradient"), ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1e-30), name


@each_case
def test_the_formula_is_exact(kernel: int, stride: int, size: tuple[int, int]) -> None:
    """In float64, where only the order of the sums differs."""
    x, weight = case(kernel, size, torch.float64)
    close(run(own, x, weight, stride), run(depthwise_plain, x, weight, stride), 1e-12)


@each_case
def test_bfloat16_is_as_exact_as_torchs(kernel: int, stride: int, size: tuple[int, int]) -> None:
    """Both get the same numbers, and sum in float32; a result in bfloat16 is off by up to 2^-9 of itself.
    The gradient of the output is rounded too before either sees it. 2^-7 leaves room for the two together, where the
    processor has instructions for it; elsewhere torch rounds on the way, in its own backward pass too."""
    exact = 2**-7 if torch.cpu._is_avx512_bf16_supported() else 2**-5
    x, weight = case(kernel, size, torch.bfloat16)
    ours = run(depthwise, x, weight, stride)
    close(ours, run(depthwise_plain, x, weight, stride), 2**-7)
    close(ours, run(depthwise_plain, x.double(), weight.double(), stride), exact)


@each_case
def test_autocast_gives_the_same(kernel: int, stride: int, size: tuple[int, int]) -> None:
    x, weight = case(kernel, size, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = run(depthwise, x, weight, stride), run(depthwise_plain, x, weight, stride)
        assert depthwise(x, weight, stride).dtype == torch.bfloat16
    close(ours, theirs, 2**-7)
    close(ours, run(depthwise_plain, x, weight, stride), 2**-6)  # x and weight are rounded as well


def test_number_formats_are_those_of_torch() -> None:
    x, weight = case(5, (6, 6), torch.float32)
    assert depthwise(x, weight).dtype == torch.float32
    assert depthwise(x.double(), weight.double()).dtype == torch.float64
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(depthwise(x, weight), depthwise_plain(x.bfloat16(), weight.bfloat16()))
    with torch.autocast("cpu", enabled=False):
        assert depthwise(x, weight).dtype == torch.float32


@pytest.mark.parametrize("frozen", ["input", "weight"])
def test_only_the_wanted_gradient_is_made(frozen: str) -> None:
    x, weight = case(5, (7, 6), torch.bfloat16)
    expected = run(depthwise, x, weight, 2)
    x.requires_grad_(frozen != "input"), weight.requires_grad_(frozen != "weight")
    y = depthwise(x, weight, 2)
    (y.float() * torch.randn(y.shape, generator=seeded(2))).sum().backward()  # type: ignore[no-untyped-call]
    for tensor, gradient in ((x, expected[1]), (weight, expected[2])):
        assert (tensor.grad is None) != tensor.requires_grad
        assert tensor.grad is None or torch.equal(tensor.grad.double(), gradient)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_layer_is_torchs_grouped_convolution(kernel: int, stride: int) -> None:
    layer = Depthwise(6, kernel, stride)
    plain = torch.nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    plain.load_state_dict(layer.state_dict())
    x, _ = case(kernel, (9, 7), torch.float32)
    assert torch.equal(layer(x), plain(x))
    assert layer(x).shape[2:] == (-(-9 // stride), -(-7 // stride))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "images"), [(1, 3), (16, 2), (20, 18), (36, 1)])
def test_the_relu_before_it(dtype: torch.dtype, kernel: int, stride: int, channels: int, images: int) -> None:
    """Against torch's ReLU and convolution, in float32 or better; for channels that fill vectors and that do not."""
    x = torch.randn(images, channels, 9, 7, generator=seeded()).to(dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, kernel, kernel, generator=seeded(1))
    ours = run(lambda x, w, stride: depthwise(x, w, stride, relu=True), x, weight, stride)
    exact = run(lambda x, w, stride: depthwise_plain(F.relu(x), w, stride), x.double(), weight.double(), stride)
    close(ours, exact, 1e-5 if dtype == torch.float32 else 2**-6)
    assert torch.equal(ours[1] == 0, exact[1] == 0) or dtype == torch.bfloat16
    with torch.inference_mode():
        y = depthwise(x, weight, stride, relu=True)
        assert torch.equal(y.double(), ours[0])
